package keyvault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault/p256k"
)

// Types of keys (Key Vault words; the -HSM suffix is the door's matter).
const (
	KtyRSA = "RSA"
	KtyEC  = "EC"
	KtyOct = "oct"
)

// publicExponent is the only RSA exponent that is made or imported.
const publicExponent = 65537

// Material is a sound key on its way into the vault: only Generate, FromJWK and
// ParsePrivate make one, and they refuse weak keys. Clear it after use.
type Material struct {
	kty, crv string
	size     int    // bits
	payload  []byte // PKCS#8 DER, or the raw bytes of an oct key
	public   []byte // public JWK members as JSON, nil for oct
}

// Clear overwrites the material; the copies that the standard library made
// while parsing are beyond reach.
func (m *Material) Clear() {
	if m != nil {
		clear(m.payload)
	}
}

// Format keeps material out of logs, whatever the verb.
func (m *Material) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%s key material", m.kty) //nolint:errcheck // a Formatter has nowhere to report to
}

func invalid(format string, args ...any) error {
	return release.Refuse(release.ReasonKeyInvalid, format, args...)
}

// Generate makes a new key: RSA 2048 (the default), 3072 or 4096; EC P-256 (the
// default), P-384, P-521 or P-256K; oct 256 (the default), 192 or 128.
func Generate(kty, crv string, size int) (*Material, error) {
	if crv != "" && kty != KtyEC {
		return nil, invalid("crv belongs to EC keys only")
	}
	switch kty {
	case KtyRSA:
		if size == 0 {
			size = 2048
		}
		if !rsaSize(size) {
			return nil, invalid("RSA key of %d bits, want 2048, 3072 or 4096", size)
		}
		k, err := rsa.GenerateKey(rand.Reader, size)
		if err != nil {
			return nil, release.Refuse(release.ReasonInternal, "%w", err)
		}
		return fromRSA(k)
	case KtyEC:
		return generateEC(crv, size)
	case KtyOct:
		if size == 0 {
			size = 256
		}
		if !octSize(size) {
			return nil, invalid("oct key of %d bits, want 128, 192 or 256", size)
		}
		raw := make([]byte, size/8)
		rand.Read(raw)
		return fromOct(raw)
	}
	return nil, invalid("kty %.16q, want RSA, EC or oct", kty)
}

func generateEC(crv string, size int) (*Material, error) {
	if crv == "" {
		crv = "P-256"
	}
	c, bits := curve(crv), 8*p256k.Size
	if c == nil && crv != p256k.Name {
		return nil, invalid("crv %.16q, want %s", crv, curves)
	}
	if c != nil {
		bits = c.Params().BitSize
	}
	if size != 0 && size != bits {
		return nil, invalid("key_size %d contradicts curve %s", size, crv)
	}
	if c == nil {
		k, err := p256k.Generate()
		if err != nil {
			return nil, release.Refuse(release.ReasonInternal, "%w", err)
		}
		return fromP256K(k)
	}
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "%w", err)
	}
	return fromEC(k)
}

func rsaSize(bits int) bool { return bits == 2048 || bits == 3072 || bits == 4096 }
func octSize(bits int) bool { return bits == 128 || bits == 192 || bits == 256 }

// curves are those of an EC key, for texts.
const curves = "P-256, P-384, P-521 or P-256K"

// curve is that of the standard library with this name, nil for P-256K and all others.
func curve(name string) elliptic.Curve {
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		if c.Params().Name == name {
			return c
		}
	}
	return nil
}

// fromRSA takes a key that was generated here or passed soundRSA.
func fromRSA(k *rsa.PrivateKey) (*Material, error) {
	public, err := json.Marshal(map[string]string{"n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())})
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return &Material{kty: KtyRSA, size: k.N.BitLen(), payload: der, public: public}, err
}

// fromEC takes a key whose public point belongs to its scalar.
func fromEC(k *ecdsa.PrivateKey) (*Material, error) {
	point, err := k.PublicKey.Bytes()
	if err != nil {
		return nil, invalid("EC key: %w", err)
	}
	public, err := publicPoint(point)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return &Material{kty: KtyEC, crv: k.Curve.Params().Name, size: k.Curve.Params().BitSize, payload: der, public: public}, err
}

// fromP256K takes a key and clears it.
func fromP256K(k *p256k.PrivateKey) (*Material, error) {
	defer k.Clear()
	public, err := publicPoint(k.Public())
	if err != nil {
		return nil, err
	}
	der, err := k.PKCS8()
	return &Material{kty: KtyEC, crv: p256k.Name, size: 8 * p256k.Size, payload: der, public: public}, err
}

// publicPoint gives the public JWK members of an uncompressed point.
func publicPoint(point []byte) ([]byte, error) {
	n := (len(point) - 1) / 2
	return json.Marshal(map[string]string{"x": b64(point[1 : 1+n]), "y": b64(point[1+n:])})
}

func fromOct(raw []byte) (*Material, error) {
	if !octSize(len(raw) * 8) {
		return nil, invalid("oct key of %d bytes, want 16, 24 or 32", len(raw))
	}
	return &Material{kty: KtyOct, size: len(raw) * 8, payload: append([]byte(nil), raw...)}, nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
