package agent

import (
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"

	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release/wrap"
)

const rsaBits = 3072

// softRecipient is a key in memory that the TEE encrypts. Its private half is kept
// as bytes in locked memory; the form that computes exists only while it opens.
type softRecipient struct {
	kind    RecipientKind
	jwk     []byte
	private *Secret // of the KEM, or PKCS #8; closed by the one Open
}

// newRecipient makes a recipient key for a TEE without a TPM of its own.
func newRecipient(kind RecipientKind) (Recipient, error) {
	r := &softRecipient{kind: kind}
	var err error
	guest.Erasing(func() { err = r.generate() })
	if err != nil {
		return nil, fmt.Errorf("make recipient key: %w", err)
	}
	return r, nil
}

func (r *softRecipient) generate() (err error) {
	var private []byte
	if r.kind == RSA {
		private, r.jwk, err = newRSA()
	} else {
		private, r.jwk, err = newHPKE(r.kind)
	}
	if err != nil {
		return err
	}
	r.private, err = guest.TakeSecret(private)
	return err
}

func kem(kind RecipientKind) (hpke.KEM, error) {
	switch kind {
	case Hybrid:
		return hpke.MLKEM768P256(), nil
	case P256:
		return hpke.DHKEM(ecdh.P256()), nil
	}
	return nil, fmt.Errorf("recipient kind %q: want hybrid, p256 or rsa", kind)
}

func newHPKE(kind RecipientKind) (private, jwk []byte, err error) {
	k, err := kem(kind)
	if err != nil {
		return nil, nil, err
	}
	sk, err := k.GenerateKey()
	if err != nil {
		return nil, nil, err
	}
	pub := sk.PublicKey().Bytes()
	jwk, err = strict.Marshal(struct {
		Kty string `json:"kty"`
		KEM uint16 `json:"kem"`
		KID string `json:"kid"`
		Pub string `json:"pub"`
	}{"HPKE", k.ID(), kid(pub), b64(pub)})
	if err != nil {
		return nil, nil, err
	}
	private, err = sk.Bytes()
	return private, jwk, err
}

func newRSA() (private, jwk []byte, err error) {
	k, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, nil, err
	}
	n := k.N.Bytes()
	jwk, err = strict.Marshal(struct {
		Kty    string   `json:"kty"`
		KID    string   `json:"kid"`
		KeyOps []string `json:"key_ops"`
		N      string   `json:"n"`
		E      string   `json:"e"`
	}{"RSA", kid(n), []string{"encrypt"}, b64(n), b64(big.NewInt(int64(k.E)).Bytes())})
	if err != nil {
		return nil, nil, err
	}
	private, err = x509.MarshalPKCS8PrivateKey(k)
	return private, jwk, err
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// kid is 16 bytes of the public key's hash.
func kid(pub []byte) string {
	h := sha256.Sum256(pub)
	return b64(h[:16])
}

func (r *softRecipient) JWK() []byte { return r.jwk }

// Close erases the key. Closing twice is no error.
func (r *softRecipient) Close() error { return r.private.Close() }

// Open works once, whether or not it succeeds: the key is erased by it.
func (r *softRecipient) Open(_ context.Context, info, aad, ciphertext []byte) ([]byte, error) {
	defer r.private.Close() //nolint:errcheck // Close of the caller says so again
	private := r.private.Bytes()
	if private == nil {
		return nil, guest.ErrRecipientSpent
	}
	if r.kind == RSA {
		return openRSA(private, ciphertext)
	}
	k, err := kem(r.kind)
	if err != nil {
		return nil, err
	}
	sk, err := k.NewPrivateKey(private)
	if err != nil {
		return nil, err
	}
	return wrap.OpenHPKE(sk, info, aad, ciphertext)
}

func openRSA(pkcs8, ciphertext []byte) ([]byte, error) {
	k, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, err
	}
	sk, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("recipient key is a %T", k)
	}
	oaep := func(ct []byte) ([]byte, error) {
		return rsa.DecryptOAEP(wrap.OAEPHash(wrap.EncRSA256).New(), nil, sk, ct, nil)
	}
	return wrap.OpenRSA(oaep, sk.Size(), ciphertext)
}
