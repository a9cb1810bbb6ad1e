package keyprovider

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hpke"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"

	"google.golang.org/grpc/codes"

	agent "github.com/openskr/openskr/enclave-agent"
)

const aesKey = 32

// seal makes the annotation of a layer with these options.
func (r *recipient) seal(options []byte) (*annotation, error) {
	a := &annotation{V: 1, KID: r.kid, Alg: r.alg}
	var sealed []byte
	var err error
	switch r.alg {
	case algRSA:
		sealed, err = sealRSA(r.rsa, a.context(), options)
	case algEC:
		sealed, err = sealEC(r.ec, a.context(), options)
	default:
		sealed, err = sealGCM(r.material.Bytes(), a.context(), options)
	}
	a.Wrapped = base64.RawURLEncoding.EncodeToString(sealed)
	return a, err
}

// open gives the options of a layer; the caller clears them.
func (r *recipient) open(a *annotation) ([]byte, error) {
	sealed, err := a.ciphertext()
	if err != nil {
		return nil, err
	}
	if a.Alg != r.alg {
		return nil, refuse(codes.InvalidArgument, "annotation: algorithm %.32q, key %s does %s", a.Alg, r.kid, r.alg)
	}
	var out []byte
	switch r.alg {
	case algRSA, algEC:
		out, err = openPrivate(r.material.Bytes(), a.context(), sealed)
	default:
		out, err = openGCM(r.material.Bytes(), a.context(), sealed)
	}
	if err != nil || len(out) == 0 || len(out) > MaxOptions {
		clear(out)
		return nil, refuse(codes.InvalidArgument, "annotation: it does not open with key %s: it was changed, or is of another key", r.kid)
	}
	return out, nil
}

func openPrivate(pkcs8, context, sealed []byte) ([]byte, error) {
	private, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, err
	}
	switch k := private.(type) {
	case *rsa.PrivateKey:
		return openRSA(k, context, sealed)
	case *ecdsa.PrivateKey:
		return openEC(k, context, sealed)
	}
	return nil, errors.New("neither RSA nor EC")
}

func sealRSA(to *rsa.PublicKey, context, options []byte) ([]byte, error) {
	key := make([]byte, aesKey)
	defer clear(key)
	_, _ = rand.Read(key) // never fails since Go 1.24
	enc, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, to, key, context)
	if err != nil {
		return nil, err
	}
	sealed, err := sealGCM(key, context, options)
	return append(enc, sealed...), err
}

func openRSA(k *rsa.PrivateKey, context, sealed []byte) ([]byte, error) {
	if len(sealed) < k.Size() {
		return nil, errors.New("too short")
	}
	key, err := rsa.DecryptOAEP(sha256.New(), nil, k, sealed[:k.Size()], context)
	defer clear(key)
	if err != nil {
		return nil, err
	}
	if len(key) != aesKey {
		return nil, errors.New("not an AES-256 key")
	}
	return openGCM(key, context, sealed[k.Size():])
}

func sealEC(to *ecdh.PublicKey, context, options []byte) ([]byte, error) {
	pub, err := hpke.NewDHKEMPublicKey(to)
	if err != nil {
		return nil, err
	}
	return hpke.Seal(pub, hpke.HKDFSHA256(), hpke.AES256GCM(), context, options)
}

func openEC(k *ecdsa.PrivateKey, context, sealed []byte) ([]byte, error) {
	scalar, err := agent.ECDH(k)
	if err != nil {
		return nil, err
	}
	sk, err := hpke.NewDHKEMPrivateKey(scalar)
	if err != nil {
		return nil, err
	}
	return hpke.Open(sk, hpke.HKDFSHA256(), hpke.AES256GCM(), context, sealed)
}

func sealGCM(key, context, options []byte) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, options, context), nil
}

func openGCM(key, context, sealed []byte) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, sealed, context)
}

// newGCM puts a random nonce in front of what it seals.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
