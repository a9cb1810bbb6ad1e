package wrap

import (
	"crypto/hpke"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxJWK bounds a recipient JWK in bytes; the largest is an ML-KEM-1024 hybrid's.
const MaxJWK = 8 << 10

// Recipient is a public key of an accepted form; only ParseRecipient makes one.
type Recipient struct {
	kid        string
	thumbprint [32]byte
	suite      suite          // of hpke
	hpke       hpke.PublicKey // nil for RSA
	rsa        *rsa.PublicKey // nil for HPKE
}

// jwk is every member a recipient may have. The private ones are there so that
// they are named in the refusal; their values are never decoded or printed.
type jwk struct {
	Kty    string         `json:"kty"`
	KID    string         `json:"kid"`
	Use    *string        `json:"use"`
	KeyOps jsontext.Value `json:"key_ops"`

	N string `json:"n"` // RSA
	E string `json:"e"`

	KEM *uint16 `json:"kem"` // HPKE
	Pub string  `json:"pub"`

	D   jsontext.Value `json:"d"`
	P   jsontext.Value `json:"p"`
	Q   jsontext.Value `json:"q"`
	DP  jsontext.Value `json:"dp"`
	DQ  jsontext.Value `json:"dq"`
	QI  jsontext.Value `json:"qi"`
	Oth jsontext.Value `json:"oth"`
	K   jsontext.Value `json:"k"`
	Prv jsontext.Value `json:"priv"`
}

// ParseRecipient reads the public key that a release is wrapped to. Two forms:
//
//	{"kty":"HPKE","kem":80,"kid":…,"pub":b64u(KEM public key)}
//	{"kty":"RSA","kid":…,"key_ops":["encrypt"],"n":b64u,"e":"AQAB"}
//
// kem is the HPKE KEM id in decimal: 16 (0x0010, P-256, 65 bytes), 32 (0x0020,
// X25519, 32), 80 (0x0050, ML-KEM-768 then P-256, 1249), 81 (0x0051, ML-KEM-1024
// then P-384, 1665), 25722 (0x647a, ML-KEM-768 then X25519, 1216). RSA moduli have
// exactly 2048, 3072 or 4096 bits. use (only "enc") and key_ops are optional.
//
// Refused, besides what [parseRSA] and [parseKEM] say: duplicate, unknown and
// re-cased members, private members, kty oct, non-canonical base64url, a use or
// key_ops that does not include encryption. An RSA modulus is not judged here, see
// [Recipient.Vet]. Errors are *[Error].
func ParseRecipient(b []byte) (*Recipient, error) {
	if len(b) > MaxJWK {
		return nil, badKey("JWK of %d bytes, limit %d", len(b), MaxJWK)
	}
	var k jwk
	if err := json.Unmarshal(b, &k, json.RejectUnknownMembers(true)); err != nil {
		return nil, badKey("JWK: %w", err)
	}
	for _, v := range []jsontext.Value{k.D, k.P, k.Q, k.DP, k.DQ, k.QI, k.Oth, k.K, k.Prv} {
		if v != nil {
			return nil, badKey("JWK holds a private or symmetric member")
		}
	}
	if err := k.checkUse(); err != nil {
		return nil, err
	}
	r := &Recipient{kid: k.KID}
	var err error
	switch k.Kty {
	case "HPKE":
		err = k.hpke(r)
	case "RSA":
		err = k.rsa(r)
	default:
		err = badKey("key type %.16q is no recipient, want HPKE or RSA", k.Kty)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (k *jwk) hpke(r *Recipient) (err error) {
	if k.KEM == nil || k.Pub == "" || k.N != "" || k.E != "" {
		return badKey("HPKE key has kem and pub, and neither n nor e")
	}
	pub, err := decode(k.Pub)
	if err != nil {
		return badKey("pub: %w", err)
	}
	if r.suite, r.hpke, err = parseKEM(*k.KEM, pub); err != nil {
		return err
	}
	return r.digest(map[string]any{"kem": *k.KEM, "kty": k.Kty, "pub": k.Pub})
}

func (k *jwk) rsa(r *Recipient) (err error) {
	if k.N == "" || k.KEM != nil || k.Pub != "" {
		return badKey("RSA key has n and e, and neither kem nor pub")
	}
	if r.rsa, err = parseRSA(k.N, k.E); err != nil {
		return err
	}
	return r.digest(map[string]any{"e": k.E, "kty": k.Kty, "n": k.N})
}

// digest follows RFC 7638 §3.
func (r *Recipient) digest(required map[string]any) error {
	b, err := json.Marshal(required, json.Deterministic(true))
	if err != nil {
		return badKey("thumbprint: %w", err)
	}
	r.thumbprint = sha256.Sum256(b)
	return nil
}

// Vet refuses an RSA modulus that can be factored, see [checkModulus]; for RSA-4096
// it takes some 30 ms. A KEM key has nothing left to judge. Errors are *[Error].
func (r *Recipient) Vet() error {
	if r.rsa == nil {
		return nil
	}
	return checkModulus(r.rsa.N)
}

// Thumbprint is SHA-256 over the key's required members in lexicographic order,
// without white space (RFC 7638 §3): {"e":"AQAB","kty":"RSA","n":"…"} as registered,
// and for HPKE, in the same manner, {"kem":80,"kty":"HPKE","pub":"…"}. kid, use
// and key_ops do not count.
func (r *Recipient) Thumbprint() [32]byte { return r.thumbprint }

// KID is the key's own name, untrusted text, "" when absent.
func (r *Recipient) KID() string { return r.kid }

// Alg is the one wrap algorithm of an HPKE key, and the default one of an RSA key.
func (r *Recipient) Alg() string {
	if r.hpke != nil {
		return r.suite.enc
	}
	return EncRSA256
}

// checkUse wants a key that may encrypt and is used for nothing else: a key that
// also signs (an AK for instance) would decrypt what its other use signs.
func (k *jwk) checkUse() error {
	if k.Use != nil && *k.Use != "enc" {
		return badKey("use %.16q, want enc", *k.Use)
	}
	if k.KeyOps == nil {
		return nil
	}
	var ops []string
	if k.KeyOps.Kind() == '"' { // Microsoft's sidecar sends one string
		ops = make([]string, 1)
		if err := json.Unmarshal(k.KeyOps, &ops[0]); err != nil {
			return badKey("key_ops: %w", err)
		}
	} else if err := json.Unmarshal(k.KeyOps, &ops); err != nil {
		return badKey("key_ops: %w", err)
	}
	encrypts, seen := false, map[string]bool{}
	for _, op := range ops {
		switch {
		case seen[op]:
			return badKey("key_ops repeats %.16q", op)
		case op == "sign" || op == "verify":
			return badKey("key_ops: a key that signs is no recipient")
		case op == "encrypt" || op == "wrapKey" || op == "deriveBits":
			encrypts = true
		}
		seen[op] = true
	}
	if !encrypts {
		return badKey("key_ops has none of encrypt, wrapKey, deriveBits")
	}
	return nil
}

// decode reads canonical base64url: no padding, no line break, zero spare bits.
func decode(s string) ([]byte, error) {
	if i := strings.IndexAny(s, "\r\n"); i >= 0 { // the decoder would skip it
		return nil, base64.CorruptInputError(i)
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}
