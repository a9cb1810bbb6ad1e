package skr

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"
)

const (
	vault      = "openskr.local:8443"
	requestKID = "https://" + vault + "/keys/k"
	keyID      = requestKID + "/0123456789abcdef0123456789abcdef"
	targetKID  = "TpmEphemeralEncryptionKey"
)

// authority is a root and an intermediate that issue signing leaves.
type authority struct {
	root, intermediate *x509.Certificate
	key                *ecdsa.PrivateKey // of the intermediate
	pool               *x509.CertPool
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func certify(t testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der := must(x509.CreateCertificate(rand.Reader, template, parent, pub, signer))(t)
	return must(x509.ParseCertificate(der))(t)
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	ca := func(name string, serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, NotBefore: year(2020), NotAfter: year(2100),
		}
	}
	rootKey, key := newEC(t), newEC(t)
	a := &authority{key: key, pool: x509.NewCertPool()}
	a.root = certify(t, ca("root", 1), ca("root", 1), rootKey.Public(), rootKey)
	a.intermediate = certify(t, ca("intermediate", 2), a.root, key.Public(), rootKey)
	a.pool.AddCert(a.root)
	return a
}

// leaf issues a signing certificate for vault, changed when change is not nil.
func (a *authority) leaf(t testing.TB, pub crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "release"}, DNSNames: []string{"openskr.local", vault},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: year(2020), NotAfter: year(2100),
	}
	if change != nil {
		change(template)
	}
	return certify(t, template, a.intermediate, pub, a.key)
}

func year(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }

func newEC(t testing.TB) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	return must(rsa.GenerateKey(rand.Reader, bits))(t)
}

// answer is a release answer to be made. Tests change one thing and see who minds.
type answer struct {
	alg     string
	signer  crypto.Signer
	x5c     []*x509.Certificate
	enc     string
	oaep    crypto.Hash // of C1, whatever enc says
	target  *rsa.PublicKey
	kek     int // bytes
	kty     string
	plain   []byte
	public  map[string]string
	edit    func(path func(...string) map[string]any) // of the payload; nil leaves it
	members map[string]any                            // of the header, over what belongs there
	encode  func(part string, b []byte) string
	tamper  func(payload []byte) []byte // after signing; nil leaves it
}

// newAnswer is a right answer: an RSA key, for the target.
func newAnswer(t testing.TB, a *authority, signer *rsa.PrivateKey, target *rsa.PublicKey, released *rsa.PrivateKey) answer {
	t.Helper()
	return answer{
		alg: "RS256", signer: signer, x5c: []*x509.Certificate{a.leaf(t, signer.Public(), nil), a.intermediate, a.root},
		enc: "CKM_RSA_AES_KEY_WRAP", oaep: crypto.SHA1, target: target, kek: 32,
		kty: "RSA-HSM", plain: must(x509.MarshalPKCS8PrivateKey(released))(t),
		public: map[string]string{"n": b64u(released.N.Bytes()), "e": "AQAB"},
		encode: func(_ string, b []byte) string { return b64u(b) },
	}
}

func b64u(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (a answer) ciphertext(t testing.TB) []byte {
	t.Helper()
	kek := make([]byte, a.kek)
	rand.Read(kek)
	c1 := must(rsa.EncryptOAEP(a.oaep.New(), rand.Reader, a.target, kek, nil))(t)
	return append(c1, wrapKWP(t, kek, a.plain)...)
}

func (a answer) payload(t testing.TB) []byte {
	t.Helper()
	type object = map[string]any
	hsm := must(json.Marshal(object{
		"schema_version": "1.0", "header": object{"kid": targetKID, "alg": "dir", "enc": a.enc},
		"ciphertext": a.encode("ciphertext", a.ciphertext(t)),
	}))(t)
	key := object{"kid": keyID, "kty": a.kty, "key_ops": []string{"encrypt", "decrypt"}, "key_hsm": a.encode("key_hsm", hsm)}
	for k, v := range a.public {
		key[k] = v
	}
	payload := object{
		"request": object{"api-version": "7.4", "enc": a.enc, "kid": requestKID},
		"response": object{"key": object{
			"key":            key,
			"attributes":     object{"enabled": true, "created": 1, "updated": 1, "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90, "exportable": true},
			"tags":           object{},
			"release_policy": object{"data": "e30", "immutable": false},
		}},
	}
	if a.edit != nil {
		a.edit(func(path ...string) map[string]any {
			at := payload
			for _, p := range path {
				at = at[p].(object)
			}
			return at
		})
	}
	return must(json.Marshal(payload))(t)
}

func (a answer) header(t testing.TB) []byte {
	t.Helper()
	h := map[string]any{"alg": a.alg, "typ": "JWT"}
	var x5c []string
	for _, c := range a.x5c {
		x5c = append(x5c, base64.StdEncoding.EncodeToString(c.Raw))
	}
	if len(a.x5c) > 0 {
		one, two := sha1.Sum(a.x5c[0].Raw), sha256.Sum256(a.x5c[0].Raw)
		h["x5c"], h["kid"] = x5c, strings.ToUpper(hex.EncodeToString(one[:]))
		h["x5t"], h["x5t#S256"] = b64u(one[:]), b64u(two[:])
	}
	maps.Copy(h, a.members)
	return must(json.Marshal(h))(t)
}

// jws makes the answer.
func (a answer) jws(t testing.TB) string {
	t.Helper()
	payload := a.payload(t)
	signed := a.encode("header", a.header(t)) + "." + a.encode("payload", payload)
	digest := sha256.Sum256([]byte(signed))
	var opts crypto.SignerOpts = crypto.SHA256
	if a.alg == "PS256" {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	sig := must(a.signer.Sign(rand.Reader, digest[:], opts))(t)
	if a.tamper != nil {
		head, _, _ := strings.Cut(signed, ".")
		signed = head + "." + a.encode("payload", a.tamper(payload))
	}
	return signed + "." + a.encode("signature", sig)
}

// encodeBroken puts a line break into one part, which encoding/base64 skips.
func encodeBroken(which string) func(part string, b []byte) string {
	return func(part string, b []byte) string {
		s := b64u(b)
		if part == which {
			s = s[:4] + "\n" + s[4:]
		}
		return s
	}
}

// encodePadded is what a broker does that pads one part: JSON gets a space where its
// base64 would have no padding.
func encodePadded(which string) func(part string, b []byte) string {
	return func(part string, b []byte) string {
		if part != which {
			return b64u(b)
		}
		if len(b)%3 == 0 && b[0] == '{' {
			b = append(b, ' ')
		}
		return base64.URLEncoding.EncodeToString(b)
	}
}
