package main

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"

	"github.com/openskr/openskr/release/keyvault/p256k"
)

var errNoPEM = errors.New("no PEM block found")

// privateJWK gives the JWK (RFC 7518 §6) of a private key in PEM, or of raw
// symmetric bytes. Its errors never quote the key.
func privateJWK(b []byte, raw bool) (map[string]string, error) {
	if raw {
		switch len(b) * 8 {
		case 128, 192, 256:
			return map[string]string{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(b)}, nil
		}
		return nil, fmt.Errorf("a symmetric key of %d bits: want 128, 192 or 256", len(b)*8)
	}
	block, rest := pem.Decode(b)
	if block == nil {
		return nil, errNoPEM
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("more than one PEM block: give the private key alone")
	}
	key, err := parsePrivate(block)
	if err != nil {
		return nil, err
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return rsaJWK(k)
	case *ecdsa.PrivateKey:
		return ecJWK(k)
	case *p256k.PrivateKey:
		defer k.Clear()
		return pointJWK(p256k.Name, k.Public(), k.Bytes()), nil
	}
	return nil, errors.New("want an RSA key or an EC key on P-256, P-384, P-521 or P-256K (secp256k1)")
}

func parsePrivate(block *pem.Block) (any, error) {
	switch block.Type {
	case "PRIVATE KEY":
		if k, err := p256k.ParsePKCS8(block.Bytes); !errors.Is(err, p256k.ErrOther) {
			return k, err
		}
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		if k, err := p256k.ParseSEC1(block.Bytes); !errors.Is(err, p256k.ErrOther) {
			return k, err
		}
		return x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("the key is encrypted: decrypt it first, e.g. `openssl pkey -in FILE | openskr key import NAME --file -`")
	}
	return nil, fmt.Errorf("a PEM block %.32q is not a private key", block.Type)
}

func rsaJWK(k *rsa.PrivateKey) (map[string]string, error) {
	if len(k.Primes) != 2 {
		return nil, errors.New("an RSA key of more than two primes")
	}
	k.Precompute()
	b64 := func(i *big.Int) string { return base64.RawURLEncoding.EncodeToString(i.Bytes()) }
	return map[string]string{
		"kty": "RSA", "n": b64(k.N), "e": b64(big.NewInt(int64(k.E))), "d": b64(k.D),
		"p": b64(k.Primes[0]), "q": b64(k.Primes[1]),
		"dp": b64(k.Precomputed.Dp), "dq": b64(k.Precomputed.Dq), "qi": b64(k.Precomputed.Qinv),
	}, nil
}

func ecJWK(k *ecdsa.PrivateKey) (map[string]string, error) {
	private, err := k.Bytes() // fixed length, RFC 7518 §6.2.2.1
	if err != nil {
		return nil, err
	}
	public, err := k.PublicKey.Bytes() // 0x04 ‖ x ‖ y
	if err != nil {
		return nil, err
	}
	crv := k.Curve.Params().Name
	if crv != "P-256" && crv != "P-384" && crv != "P-521" {
		return nil, fmt.Errorf("curve %s is not supported", crv)
	}
	return pointJWK(crv, public, private), nil
}

// pointJWK gives the JWK of a scalar and its point, 4 ‖ x ‖ y.
func pointJWK(crv string, point, d []byte) map[string]string {
	n := (len(point) - 1) / 2
	b64 := base64.RawURLEncoding.EncodeToString
	return map[string]string{"kty": "EC", "crv": crv, "x": b64(point[1 : 1+n]), "y": b64(point[1+n:]), "d": b64(d)}
}
