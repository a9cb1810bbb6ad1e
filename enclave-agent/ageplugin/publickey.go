package ageplugin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"math/big"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxPublicKey bounds the file of a public key in bytes.
const MaxPublicKey = 64 << 10

// publicJWK are the members of a Key Vault key that matter here (RFC 7518 §6). A
// private member is looked for only to refuse it.
type publicJWK struct {
	KID string `json:"kid"`
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
	N   string `json:"n"`
	E   string `json:"e"`

	D jsontext.Value `json:"d"`
	K jsontext.Value `json:"k"`
}

// ParsePublicKey reads what `openskr key show NAME --json` prints, or the JWK in its
// member key alone; other members of theirs are not looked at. Errors wrap [agent.ErrConfig]
// and do not quote the file.
func ParsePublicKey(b []byte) (*Recipient, error) {
	if len(b) > MaxPublicKey {
		return nil, bad("public key: more than %d bytes", MaxPublicKey)
	}
	var doc struct {
		Key *publicJWK `json:"key"`
		publicJWK
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, bad("public key: not the JSON of `openskr key show NAME --json`")
	}
	jwk := doc.publicJWK
	if doc.Key != nil {
		jwk = *doc.Key
	}
	if jwk.D != nil || jwk.K != nil {
		return nil, bad("public key: this file holds a private key; give `openskr key show NAME --json`, and look after the file")
	}
	public, err := jwk.public()
	if err != nil {
		return nil, err
	}
	return NewRecipient(jwk.KID, public)
}

// public is nil, which NewRecipient refuses with the key's name, for a key without a
// public half.
func (j *publicJWK) public() (crypto.PublicKey, error) {
	switch {
	case j.Kty == "EC" || j.Kty == "EC-HSM":
		if j.Crv != "P-256" {
			return nil, bad("public key: an EC key on %.16q: want P-256", j.Crv)
		}
		x, y := field(j.X), field(j.Y)
		if len(x) != 32 || len(y) != 32 {
			return nil, bad("public key: x and y are not 32 bytes each")
		}
		k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if err != nil {
			return nil, bad("public key: %w", err)
		}
		return k, nil
	case j.Kty == "RSA" || j.Kty == "RSA-HSM":
		n, e := field(j.N), field(j.E)
		if len(n) == 0 || len(e) == 0 || len(e) > 4 {
			return nil, bad("public key: n and e are not those of an RSA key")
		}
		k := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		if k.E < 65537 || k.E > 1<<31-1 || k.E%2 == 0 {
			return nil, bad("public key: exponent %d: want 65537", k.E)
		}
		return k, nil
	}
	return nil, nil
}

// field decodes base64url, nil when it is not.
func field(s string) []byte {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
