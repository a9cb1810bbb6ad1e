package jose

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// maxHeader bounds a foreign header in bytes; some carry a certificate chain.
const maxHeader = 24 << 10

// Foreign is a compact JWS of another issuer, split and not yet verified.
type Foreign struct {
	Alg, Typ, KID string
	Payload       []byte
	signed        string // header and payload as they were received
	signature     []byte
	x5t, x5ts     jsontext.Value
}

// foreignHeader is every member that a foreign header may have. What names a key is
// not read: keys are chosen from a pinned set by kid (or, of certificates, by
// thumbprint). Everything else, crit and b64 first, changes what the signature means
// and is refused.
type foreignHeader struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	KID string `json:"kid"`

	JWK  jsontext.Value `json:"jwk"`
	JKU  jsontext.Value `json:"jku"`
	X5U  jsontext.Value `json:"x5u"`
	X5C  jsontext.Value `json:"x5c"`
	X5T  jsontext.Value `json:"x5t"`
	X5TS jsontext.Value `json:"x5t#S256"`
}

// SplitForeign reads the compact serialisation of a JWS of at most limit bytes:
// three parts of canonical base64url, a header without duplicate or unknown members,
// an algorithm of [ForeignAlgorithms]. Every error wraps ErrToken.
func SplitForeign(token string, limit int) (*Foreign, error) {
	raw, err := compact(token, limit)
	if err != nil {
		return nil, err
	}
	if len(raw[0]) > maxHeader {
		return nil, refuse("header of %d bytes, limit %d", len(raw[0]), maxHeader)
	}
	var h foreignHeader
	if err := decode(raw[0], &h); err != nil {
		return nil, refuse("header: %w", err)
	}
	if !slices.Contains(ForeignAlgorithms(), h.Alg) {
		return nil, refuse("alg %.16q", h.Alg)
	}
	if len(h.KID) > maxKID {
		return nil, refuse("kid of %d bytes", len(h.KID))
	}
	return &Foreign{Alg: h.Alg, Typ: h.Typ, KID: h.KID, Payload: raw[1], signed: token[:strings.LastIndexByte(token, '.')], signature: raw[2], x5t: h.X5T, x5ts: h.X5TS}, nil
}

// ForeignAlgorithms is every algorithm that a foreign issuer may be configured with.
func ForeignAlgorithms() []string { return []string{"RS256", "PS256", "PS384", "ES256", "ES384"} }

// Find gives the key that a token's header names: that of its kid, or with none the
// only key there is.
func (f *Foreign) Find(keys KeySet) (*ForeignKey, bool) {
	if f.KID == "" {
		if len(keys) != 1 {
			return nil, false
		}
		return &keys[0], true
	}
	i := slices.IndexFunc(keys, func(k ForeignKey) bool { return k.KID == f.KID })
	if i < 0 {
		return nil, false
	}
	return &keys[i], true
}

// Verify checks the signature. The algorithm must be one of algs, the key's own where
// its set says one, and for a key of that kind and size; the signature must have its
// length. The header only repeats what is already decided, so that the token is not
// taken apart once more: what is verified are the bytes that were split.
func (f *Foreign) Verify(key *ForeignKey, algs []string) error {
	if !slices.Contains(algs, f.Alg) || key.Alg != "" && key.Alg != f.Alg {
		return refuse("alg %.16q is not one of this key", f.Alg)
	}
	size := 0
	switch pub := key.Public.(type) {
	case *rsa.PublicKey:
		if f.Alg[0] == 'R' || f.Alg[0] == 'P' {
			size = pub.Size()
		}
	case *ecdsa.PublicKey:
		if f.Alg == "ES256" && pub.Params().BitSize == 256 || f.Alg == "ES384" && pub.Params().BitSize == 384 {
			size = pub.Params().BitSize / 4
		}
	}
	if size == 0 || len(f.signature) != size {
		return refuse("alg %.16q with a signature of %d bytes does not fit the key", f.Alg, len(f.signature))
	}
	v, err := jws.NewVerifier(jwa.SignatureAlgorithm(f.Alg))
	if err == nil {
		err = v.Verify([]byte(f.signed), f.signature, key.Public)
	}
	if err != nil {
		return refuse("%w", err)
	}
	return nil
}
