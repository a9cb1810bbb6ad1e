package keyvault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/wrap"
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
		pub, err := publicEC(row)
		if err != nil {
			return err
		}
		n := (pub.Curve.Params().BitSize + 7) / 8
		if len(in.Value) != 2*n {
			return nil // not valid
		}
		r, s := new(big.Int).SetBytes(in.Value[:n]), new(big.Int).SetBytes(in.Value[n:])
		out.Valid = ecdsa.Verify(pub, in.Digest, r, s)
		return nil
	}
	pub, err := publicRSA(row)
	if err != nil {
		return err
	}
	switch a.family {
	case oaep:
		out.Value, err = rsa.EncryptOAEP(a.hash.New(), rand.Reader, pub, in.Value, nil)
	case pkcs1:
		out.Valid = rsa.VerifyPKCS1v15(pub, a.hash, in.Digest, in.Value) == nil
	case pss: // RFC 7518 §3.5: the salt is as long as the hash
		out.Valid = rsa.VerifyPSS(pub, a.hash, in.Digest, in.Value, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	default:
		err = errors.New("a family without public half")
	}
	return failed(err)
}

// private does what needs the material of a key: PKCS #8 DER, or raw bytes of an
// oct key. The caller clears it; what the standard library parsed is beyond reach.
func (a algorithm) private(material []byte, in Operation, out *Outcome) error {
	switch a.family {
	case keyWrap:
		return a.keyWrap(material, in, out)
	case gcm:
		return a.gcm(material, in, out)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(material)
	if err != nil {
		return failed(errors.New("the key's payload does not parse")) // without the parser's words about it
	}
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		return a.privateRSA(k, in, out)
	case *ecdsa.PrivateKey:
		return a.signEC(k, in, out)
	}
	return failed(errors.New("the key's payload is of another type"))
}

func (a algorithm) privateRSA(k *rsa.PrivateKey, in Operation, out *Outcome) (err error) {
	switch a.family {
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

func (a algorithm) keyWrap(kek []byte, in Operation, out *Outcome) (err error) {
	if in.Op == OpWrap {
		out.Value, err = wrap.WrapKW(kek, in.Value)
		return failed(err)
	}
	if out.Value, err = wrap.UnwrapKW(kek, in.Value); err != nil {
		return errOpens()
	}
	return nil
}

// gcm makes every nonce itself: a caller who chose one twice would give the key's
// authentication away.
func (a algorithm) gcm(key []byte, in Operation, out *Outcome) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return failed(err)
	}
	g, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return failed(err)
	}
	if in.Op == OpEncrypt {
		sealed := g.Seal(nil, nil, in.Value, in.AAD) // nonce ‖ ciphertext ‖ tag
		end := len(sealed) - gcmTag
		out.IV, out.Value, out.Tag = sealed[:gcmNonce:gcmNonce], sealed[gcmNonce:end:end], sealed[end:]
		return nil
	}
	sealed := append(append(append(make([]byte, 0, len(in.IV)+len(in.Value)+len(in.Tag)), in.IV...), in.Value...), in.Tag...)
	if out.Value, err = g.Open(nil, nil, sealed, in.AAD); err != nil {
		return errOpens()
	}
	return nil
}

// publicRSA reads the public members of a row, which were checked when it was read.
func publicRSA(row *Row) (*rsa.PublicKey, error) {
	n, e, err := members(row, "n", "e")
	if err != nil {
		return nil, err
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
}

func publicEC(row *Row) (*ecdsa.PublicKey, error) {
	x, y, err := members(row, "x", "y")
	if err != nil {
		return nil, err
	}
	c := curve(row.Crv)
	if c == nil {
		return nil, broken(row, errIntegrity)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(c, append(append([]byte{4}, x...), y...))
	return pub, broken(row, err)
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
