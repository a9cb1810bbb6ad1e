package keyvault

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault/p256k"
)

// errOpens is the one answer to everything that does not decrypt or unwrap.
func errOpens() error {
	return release.Refuse(release.ReasonDecryption, "the value does not open under this key version with these members")
}

// failed is an operation that a sound key cannot fail.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return release.Refuse(release.ReasonInternal, "operation: %w", err)
}

// public does what the public half of an RSA or EC key can.
func (a algorithm) public(row *Row, in Operation, out *Outcome) (err error) {
	if a.family == ecdsaRaw {
		return a.verifyEC(row, in, out)
	}
	pub, err := publicRSA(row)
	if err != nil {
		return err
	}
	switch a.family {
	case oaep:
		out.Value, err = rsa.EncryptOAEP(a.hash.New(), rand.Reader, pub, in.Value, nil)
	case pkcs1Encryption:
		//lint:ignore SA1019 clients of old have nothing else, and the vault's settings say so
		out.Value, err = rsa.EncryptPKCS1v15(rand.Reader, pub, in.Value)
	case pkcs1:
		out.Valid = rsa.VerifyPKCS1v15(pub, a.hash, in.Digest, in.Value) == nil
	case pss: // RFC 7518 §3.5: the salt is as long as the hash
		out.Valid = rsa.VerifyPSS(pub, a.hash, in.Digest, in.Value, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	default:
		err = errors.New("a family without public half")
	}
	return failed(err)
}

// verifyEC judges R ‖ S. On P-256K either value of S is good.
func (a algorithm) verifyEC(row *Row, in Operation, out *Outcome) error {
	point, err := publicPointOf(row)
	if err != nil {
		return err
	}
	if row.Crv == p256k.Name {
		out.Valid = p256k.Verify(point, in.Digest, in.Value)
		return nil
	}
	c := curve(row.Crv)
	if c == nil {
		return broken(row, errIntegrity)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(c, point)
	if err != nil {
		return broken(row, err)
	}
	n := (pub.Curve.Params().BitSize + 7) / 8
	if len(in.Value) != 2*n {
		return nil // not valid
	}
	r, s := new(big.Int).SetBytes(in.Value[:n]), new(big.Int).SetBytes(in.Value[n:])
	out.Valid = ecdsa.Verify(pub, in.Digest, r, s)
	return nil
}

// private does what needs the material of a key: PKCS #8 DER, or raw bytes of an
// oct key. The caller clears it; what the standard library parsed is beyond reach.
func (a algorithm) private(material []byte, in Operation, out *Outcome) error {
	if kty, _ := a.family.fits(); kty == KtyOct {
		return a.symmetric(material, in, out)
	}
	if a.crv == p256k.Name {
		return signP256K(material, in, out)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(material)
	if err != nil {
		return failed(errors.New("the key's payload does not parse")) // without the parser's words about it
	}
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		return a.privateRSA(k, material, in, out)
	case *ecdsa.PrivateKey:
		return a.signEC(k, in, out)
	}
	return failed(errors.New("the key's payload is of another type"))
}

func (a algorithm) privateRSA(k *rsa.PrivateKey, material []byte, in Operation, out *Outcome) (err error) {
	switch a.family {
	case pkcs1Encryption:
		out.Value, err = openPKCS1(k, material, in.Value)
		return err
	case oaep:
		if out.Value, err = rsa.DecryptOAEP(a.hash.New(), nil, k, in.Value, nil); err != nil {
			return errOpens()
		}
		return nil
	case pkcs1:
		out.Value, err = rsa.SignPKCS1v15(nil, k, a.hash, in.Value)
	case pss:
		out.Value, err = rsa.SignPSS(rand.Reader, k, a.hash, in.Value, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	default:
		err = errors.New("not an RSA algorithm")
	}
	return failed(err)
}

// signEC gives R ‖ S, each as long as the order (RFC 7518 §3.4).
func (a algorithm) signEC(k *ecdsa.PrivateKey, in Operation, out *Outcome) error {
	if a.family != ecdsaRaw {
		return failed(errors.New("not an EC algorithm"))
	}
	r, s, err := ecdsa.Sign(rand.Reader, k, in.Value)
	if err != nil {
		return failed(err)
	}
	n := (k.Curve.Params().BitSize + 7) / 8
	out.Value = make([]byte, 2*n)
	r.FillBytes(out.Value[:n])
	s.FillBytes(out.Value[n:])
	return nil
}

func signP256K(material []byte, in Operation, out *Outcome) error {
	k, err := p256k.ParsePKCS8(material)
	if err != nil {
		return failed(errors.New("the key's payload does not parse"))
	}
	defer k.Clear()
	out.Value, err = k.Sign(in.Value)
	return failed(err)
}

// publicRSA reads the public members of a row, which were checked when it was read.
func publicRSA(row *Row) (*rsa.PublicKey, error) {
	n, e, err := members(row, "n", "e")
	if err != nil {
		return nil, err
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
}

// publicPointOf gives the uncompressed point of an EC key.
func publicPointOf(row *Row) ([]byte, error) {
	x, y, err := members(row, "x", "y")
	if err != nil {
		return nil, err
	}
	return append(append([]byte{4}, x...), y...), nil
}

func members(row *Row, first, second string) (a, b []byte, err error) {
	var jwk map[string]string
	if err := json.Unmarshal(row.Public, &jwk); err != nil {
		return nil, nil, broken(row, err)
	}
	if a, err = base64.RawURLEncoding.DecodeString(jwk[first]); err == nil {
		b, err = base64.RawURLEncoding.DecodeString(jwk[second])
	}
	return a, b, broken(row, err)
}
