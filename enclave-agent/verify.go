package agent

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"math/big"
	"strings"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release/receipt"
)

// asked is what this agent sent, which the answer must be about.
type asked struct {
	*errand
	body      []byte // of the request
	nonce     []byte
	recipient [32]byte // thumbprint
	enc       string
}

// verifyResponse believes an answer: signed by a pinned response key, with a
// receipt under the pinned log key, whose record allows exactly what was asked.
// Errors are *[Invalid].
func (a *Agent) verifyResponse(jws string, q *asked) (*receipt.Response, *receipt.Record, error) {
	payload, err := openJWS(jws, a.keys)
	if err != nil {
		return nil, nil, err
	}
	var r receipt.Response
	if err := strict.Unmarshal(payload, maxBody, &r); err != nil {
		return nil, nil, invalid("payload", "%w", err)
	}
	if r.Request != receipt.Digest(sha256.Sum256(q.body)) {
		return nil, nil, invalid("request", "it answers another request")
	}
	if r.Receipt == nil {
		return nil, nil, invalid("receipt", "there is none")
	}
	rec, err := a.verifyReceipt(r.Receipt)
	if err != nil {
		return nil, nil, err
	}
	if err := a.matches(&r, rec, q); err != nil {
		return nil, nil, err
	}
	return &r, rec, nil
}

// verifyReceipt accepts any of the pinned log keys: they overlap at a rotation.
func (a *Agent) verifyReceipt(r *receipt.Receipt) (*receipt.Record, error) {
	var failed []error
	for _, vkey := range a.cfg.Trust.Log.VKeys {
		rec, err := r.Verify(a.cfg.Trust.Log.Origin, vkey)
		if err == nil {
			return rec, nil
		}
		failed = append(failed, err)
	}
	return nil, invalid("receipt", "%w", errors.Join(failed...))
}

// holding is one comparison by name.
type holding struct {
	check string
	holds bool
}

// particulars are what is asked of a key, or of a token, alone.
func (q *asked) particulars(r *receipt.Response, rec *receipt.Record) []holding {
	if q.key == nil {
		return []holding{
			{"kind", rec.Kind == receipt.KindToken},
			{"vault", r.KID == q.vault && rec.Vault != ""},
			{"object", rec.Object == "" && rec.ObjectID == "" && rec.Version == ""},
			{"policy", rec.Policy == r.Policy && rec.Policy == receipt.Digest{}},
		}
	}
	kid, err := parseKeyURL(r.KID)
	if err != nil {
		return []holding{{"kid", false}}
	}
	return []holding{
		{"kind", rec.Kind == receipt.KindRelease},
		{"host", kid.host == q.key.host},
		{"name", kid.name == q.key.name},
		{"object", rec.Object == q.key.name},
		{"version", kid.version != "" && (q.key.version == "" || kid.version == q.key.version)},
		{"record_version", rec.Version == kid.version},
		{"purpose", cmp.Or(rec.Detail["purpose"], binding.PurposeRelease) == q.purpose},
		{"policy", rec.Policy == r.Policy && rec.Policy != receipt.Digest{}},
	}
}

// matches compares answer, record and question, member by member.
func (a *Agent) matches(r *receipt.Response, rec *receipt.Record, q *asked) error {
	for _, c := range append(q.particulars(r, rec), []holding{
		{"decision", rec.Decision == receipt.Allow && rec.Reason == ""},
		{"deployment", rec.Deployment == a.cfg.Trust.Deployment},
		{"door", rec.Door == "native"},
		{"record_request", rec.Request == r.Request},
		{"nonce", rec.Nonce == receipt.Digest(sha256.Sum256(q.nonce))},
		{"recipient", rec.Recipient == receipt.Digest(q.recipient)},
		{"time", rec.Time == r.Time},
		{"enc", r.Enc == q.enc},
		{"record_enc", rec.Enc == q.enc},
	}...) {
		if !c.holds {
			return invalid(c.check, "the answer or its log record is not about what was asked")
		}
	}
	return nil
}

// jwsHeader is everything a header may hold. Whatever could name another key or
// demand another processing (jwk, jku, x5c, crit, b64) is an unknown member.
type jwsHeader struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	KID string `json:"kid"` // ignored: the keys are pinned
}

const maxHeader = 1 << 10

// openJWS verifies a compact JWS (RFC 7515 §7.1) of a release response with one
// of the keys and gives its payload. The algorithm is ours, not the header's.
func openJWS(jws string, keys []*ecdsa.PublicKey) ([]byte, error) {
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		return nil, invalid("jws", "not three parts")
	}
	var raw [3]attest.Bytes
	for i, p := range parts {
		if err := raw[i].UnmarshalText([]byte(p)); err != nil || len(raw[i]) == 0 {
			return nil, invalid("jws", "part %d is not base64url", i+1)
		}
	}
	var h jwsHeader
	if err := strict.Unmarshal(raw[0], maxHeader, &h); err != nil {
		return nil, invalid("header", "%w", err)
	}
	if h.Alg != "ES256" || h.Typ != receipt.ResponseType {
		return nil, invalid("header", "alg %.16q, typ %.64q", h.Alg, h.Typ)
	}
	if len(raw[2]) != 64 {
		return nil, invalid("signature", "%d bytes", len(raw[2]))
	}
	signed := sha256.Sum256([]byte(jws[:strings.LastIndexByte(jws, '.')]))
	r, s := new(big.Int).SetBytes(raw[2][:32]), new(big.Int).SetBytes(raw[2][32:])
	for _, k := range keys {
		if ecdsa.Verify(k, signed[:], r, s) {
			return raw[1], nil
		}
	}
	return nil, invalid("signature", "by none of the pinned response keys")
}
