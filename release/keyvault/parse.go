package keyvault

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"

	"github.com/openskr/openskr/release/keyvault/p256k"
)

// maxPrivate bounds an imported key: PKCS#8 PEM of RSA 4096 has 3.3 kB.
const maxPrivate = 16 << 10

// JWK is a private key as RFC 7518 §6 has it, binary members decoded by the door.
type JWK struct {
	Kty, Crv                  string
	N, E, D, P, Q, DP, DQ, QI []byte // RSA, all required
	X, Y                      []byte // EC, with D; of the curve's length
	K                         []byte // oct
}

// FromJWK checks a private JWK. ReasonKeyInvalid says what is wrong.
func FromJWK(j JWK) (*Material, error) {
	for _, b := range [][]byte{j.N, j.E, j.D, j.P, j.Q, j.DP, j.DQ, j.QI, j.X, j.Y, j.K} {
		if len(b) > 4096/8 {
			return nil, invalid("member of %d bytes, longer than any of a key of 4096 bits", len(b))
		}
	}
	rsaParts := [][]byte{j.N, j.E, j.P, j.Q, j.DP, j.DQ, j.QI}
	ecParts := [][]byte{j.X, j.Y}
	switch j.Kty {
	case KtyRSA:
		if !present(append(rsaParts, j.D)...) || !absent(append(ecParts, j.K)...) || j.Crv != "" {
			return nil, invalid("an RSA key has exactly the members n, e, d, p, q, dp, dq, qi")
		}
		return jwkRSA(j)
	case KtyEC:
		if !present(append(ecParts, j.D)...) || !absent(append(rsaParts, j.K)...) {
			return nil, invalid("an EC key has exactly the members crv, x, y, d")
		}
		return jwkEC(j)
	case KtyOct:
		if !present(j.K) || !absent(append(append(rsaParts, ecParts...), j.D)...) || j.Crv != "" {
			return nil, invalid("an oct key has exactly the member k")
		}
		return fromOct(j.K)
	}
	return nil, invalid("kty %.16q, want RSA, EC or oct", j.Kty)
}

func present(parts ...[]byte) bool {
	for _, p := range parts {
		if len(p) == 0 {
			return false
		}
	}
	return true
}

func absent(parts ...[]byte) bool {
	for _, p := range parts {
		if len(p) != 0 {
			return false
		}
	}
	return true
}

func jwkRSA(j JWK) (*Material, error) {
	num := func(b []byte) *big.Int { return new(big.Int).SetBytes(b) }
	e := num(j.E)
	if e.Cmp(big.NewInt(publicExponent)) != 0 {
		return nil, invalid("RSA public exponent is not %d", publicExponent)
	}
	k := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: num(j.N), E: publicExponent},
		D:         num(j.D), Primes: []*big.Int{num(j.P), num(j.Q)},
	}
	if err := soundRSA(k); err != nil {
		return nil, err
	}
	k.Precompute()
	c := k.Precomputed
	if c.Dp.Cmp(num(j.DP)) != 0 || c.Dq.Cmp(num(j.DQ)) != 0 || c.Qinv.Cmp(num(j.QI)) != 0 {
		return nil, invalid("RSA members dp, dq, qi do not belong to d, p and q")
	}
	return fromRSA(k)
}

func jwkEC(j JWK) (*Material, error) {
	c, n := curve(j.Crv), p256k.Size
	if c == nil && j.Crv != p256k.Name {
		return nil, invalid("crv %.16q, want %s", j.Crv, curves)
	}
	if c != nil {
		n = (c.Params().BitSize + 7) / 8
	}
	if len(j.X) != n || len(j.Y) != n || len(j.D) != n {
		return nil, invalid("x, y and d of %s have %d bytes each", j.Crv, n)
	}
	claimed := append(append([]byte{4}, j.X...), j.Y...)
	if c == nil {
		return jwkP256K(j.D, claimed)
	}
	k, err := ecdsa.ParseRawPrivateKey(c, j.D)
	if err != nil {
		return nil, invalid("EC key: %w", err)
	}
	point, err := k.PublicKey.Bytes()
	if err != nil || !bytes.Equal(point, claimed) {
		return nil, invalid("EC members x and y do not belong to d")
	}
	return fromEC(k)
}

func jwkP256K(d, claimed []byte) (*Material, error) {
	k, err := p256k.New(d)
	if err != nil {
		return nil, invalid("EC key: %w", err)
	}
	if !bytes.Equal(k.Public(), claimed) {
		return nil, invalid("EC members x and y do not belong to d")
	}
	return fromP256K(k)
}

// ParsePrivate reads a private key from a file's bytes: PKCS#8 (PEM or DER),
// PKCS#1 or SEC 1 PEM, or 16, 24 or 32 raw bytes for an oct key. An encrypted key
// is refused; decrypt it first (openssl pkcs8 -topk8 -nocrypt).
func ParsePrivate(b []byte) (*Material, error) {
	switch {
	case len(b) > maxPrivate:
		return nil, invalid("key of %d bytes, limit %d", len(b), maxPrivate)
	case octSize(len(b) * 8):
		return fromOct(b)
	case !bytes.HasPrefix(b, []byte("-----BEGIN ")):
		return fromDER("PRIVATE KEY", b)
	}
	block, rest := pem.Decode(b)
	switch {
	case block == nil || len(bytes.TrimSpace(rest)) != 0:
		return nil, invalid("want exactly one PEM block")
	case len(block.Headers) != 0 || block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, invalid("key is encrypted; decrypt it first: openssl pkcs8 -topk8 -nocrypt")
	}
	return fromDER(block.Type, block.Bytes)
}

func fromDER(kind string, der []byte) (*Material, error) {
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) != 0 {
		return nil, invalid("neither 16, 24 or 32 raw bytes, nor PEM, nor one DER value")
	}
	k, err := parseDER(kind, der)
	if err != nil {
		return nil, invalid("%w", err)
	}
	switch k := k.(type) {
	case *p256k.PrivateKey:
		return fromP256K(k)
	case *rsa.PrivateKey:
		if err := soundRSA(k); err != nil {
			return nil, err
		}
		return fromRSA(k)
	case *ecdsa.PrivateKey:
		if curve(k.Curve.Params().Name) == nil {
			return nil, invalid("curve %s, want %s", k.Curve.Params().Name, curves)
		}
		return fromEC(k)
	}
	return nil, invalid("key is neither RSA nor EC")
}

// parseDER reads what a PEM block of this kind holds. The standard library does not
// know P-256K, so its own word counts only when that parser found nothing either.
func parseDER(kind string, der []byte) (k any, err error) {
	var known func([]byte) (*p256k.PrivateKey, error)
	switch kind {
	case "PRIVATE KEY":
		k, err = x509.ParsePKCS8PrivateKey(der)
		known = p256k.ParsePKCS8
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(der)
	case "EC PRIVATE KEY":
		k, err = x509.ParseECPrivateKey(der)
		known = p256k.ParseSEC1
	default:
		return nil, fmt.Errorf("PEM block %.32q, want PRIVATE KEY", kind)
	}
	if err == nil {
		return k, nil
	}
	own, ownErr := known(der)
	if errors.Is(ownErr, p256k.ErrOther) {
		return nil, err
	}
	return own, ownErr
}
