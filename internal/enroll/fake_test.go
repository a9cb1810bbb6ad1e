package enroll

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/releasetest"
)

// fakeTPM is an EK and an AK in software. It opens credentials as a TPM does
// (TPM 2.0 Part 1 §24), so that the broker's half is tested on any machine.
type fakeTPM struct {
	ek   *rsa.PrivateKey
	area tpm2.TPMTPublic // of the EK
	cert []byte
	ak   tpm2.TPMTPublic
}

// maker certifies EKs.
type maker struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newCA(t testing.TB, name string, from, to time.Time) *maker {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: name}}, key.Public(), key))
	return &maker{must[*x509.Certificate](t)(x509.ParseCertificate(der)), key}
}

func (m *maker) newTPM(t testing.TB, from, to time.Time) *fakeTPM {
	t.Helper()
	f := &fakeTPM{ek: must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048)), area: tpm2.RSAEKTemplate}
	f.area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: f.ek.N.Bytes()})
	f.cert = must[[]byte](t)(x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "ek"}, NotBefore: from, NotAfter: to,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageKeyEncipherment,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
	}, m.cert, f.ek.Public(), m.key))
	f.ak = akArea(t)
	return f
}

// akArea is a restricted P-256 signing key whose private half nobody keeps:
// enrolment never signs with it.
func akArea(t testing.TB) tpm2.TPMTPublic {
	t.Helper()
	k := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	raw := must[[]byte](t)(k.PublicKey.Bytes())
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: raw[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: raw[33:]},
		}),
	}
}

func (f *fakeTPM) request() format.EnrollRequest {
	return format.EnrollRequest{EKPublic: tpm2.Marshal(f.area), EKCertificate: f.cert, AK: tpm2.Marshal(f.ak)}
}

// activate is TPM2_ActivateCredential for the AK that lives here.
func (f *fakeTPM) activate(c *format.EnrollChallenge) ([]byte, error) {
	seed, err := rsa.DecryptOAEP(sha256.New(), nil, f.ek, c.Secret, []byte("IDENTITY\x00"))
	if err != nil {
		return nil, err
	}
	ak, err := tpm.ParseAK(tpm2.Marshal(f.ak))
	if err != nil {
		return nil, err
	}
	if len(c.Credential) < 34 {
		return nil, errors.New("short credential")
	}
	outer, inner := c.Credential[2:34], c.Credential[34:]
	mac := hmac.New(sha256.New, tpm2.KDFa(crypto.SHA256, seed, "INTEGRITY", nil, nil, 256))
	mac.Write(inner)
	mac.Write(ak.Name)
	if !hmac.Equal(mac.Sum(nil), outer) {
		return nil, errors.New("TPM_RC_INTEGRITY")
	}
	block, err := aes.NewCipher(tpm2.KDFa(crypto.SHA256, seed, "STORAGE", ak.Name, nil, 128))
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(inner))
	//lint:ignore SA1019 CFB is what TPMs use
	cipher.NewCFBDecrypter(block, make([]byte, 16)).XORKeyStream(plain, inner)
	return plain[2:], nil
}

// world is a Service with its surroundings.
type world struct {
	*Service
	store *releasetest.Store
	maker *maker
	now   time.Time
	allow AllowList
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{store: releasetest.NewStore(), now: time.Unix(1_800_000_000, 0), allow: AllowList{}}
	from, to := w.now.Add(-time.Hour), w.now.Add(1000*time.Hour)
	w.maker = newCA(t, "maker", from, to)
	roots := x509.NewCertPool()
	roots.AddCert(w.maker.cert)
	ca := newCA(t, "ak ca", from, to)
	cfg := Config{
		EKRoots: roots, CA: ca.cert, CAKey: ca.key, Key: make([]byte, 32), Pseudonym: make([]byte, 32), Objects: w.store, Log: w.store,
		AllowList: func(h [32]byte) bool { return w.allow.Allows(h) }, Deployment: "d1", Now: func() time.Time { return w.now },
		Record: func(context.Context, string) *release.Record { return &release.Record{V: 1, Deployment: "d1"} },
	}
	if change != nil {
		change(&cfg)
	}
	w.Service = must[*Service](t)(New(cfg))
	return w
}

func (w *world) tpm(t testing.TB) *fakeTPM {
	return w.maker.newTPM(t, w.now.Add(-time.Hour), w.now.Add(500*time.Hour))
}

// enroll runs both steps.
func (w *world) enroll(t testing.TB, f *fakeTPM) *format.EnrollResult {
	t.Helper()
	return must[*format.EnrollResult](t)(w.Finish(t.Context(), w.proof(t, f)))
}

func (w *world) proof(t testing.TB, f *fakeTPM) format.EnrollProof {
	t.Helper()
	c := must[*format.EnrollChallenge](t)(w.Begin(t.Context(), f.request()))
	return format.EnrollProof{State: c.State, Secret: must[[]byte](t)(f.activate(c))}
}
