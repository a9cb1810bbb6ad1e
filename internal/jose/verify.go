package jose

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// Claims are the members of an access token. All are required but name.
type Claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"` // one string: a list is refused
	Subject  string `json:"sub"`
	AppID    string `json:"appid"` // Azure's word; equals sub
	ObjectID string `json:"oid"`   // another one
	Tenant   string `json:"tid"`   // deployment id
	ID       string `json:"jti"`
	Issued   int64  `json:"iat"`
	Before   int64  `json:"nbf"`
	Expires  int64  `json:"exp"`
}

// Expect is what a token is held against; every field is required.
type Expect struct {
	Type     string
	Issuer   string
	Audience string
	At       time.Time
	// MaxLife bounds exp - iat, so that a token signed by mistake does not live for ever.
	MaxLife time.Duration
}

// skew is how far iat and nbf may lie ahead of our clock: tokens are checked by
// the deployment that made them, but perhaps by another replica.
const skew = 30 * time.Second

// ErrToken is every failure of Verify; the text says which.
var ErrToken = errors.New("token refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrToken, fmt.Errorf(format, args...))
}

// Verify checks, in this order and with nothing optional:
//   - length, compact serialisation, canonical base64url of the three parts
//   - protected header exactly {"alg":"ES256","typ":want.Type,"kid":pinned}, once each
//   - signature, 64 bytes, by the key of that kid
//   - claims exactly those of Claims, once each, integers as integers
//   - iss, aud equal; iat and nbf not ahead, exp ahead, lifetime bounded
//
// Every error wraps ErrToken.
func Verify(token string, keys Keys, want Expect) (*Claims, error) {
	var c Claims
	if err := verify(token, keys, want, &c); err != nil {
		return nil, err
	}
	if err := c.check(want); err != nil {
		return nil, err
	}
	return &c, nil
}

// verify is Verify but for what the claims say, which it decodes into claims.
func verify(token string, keys Keys, want Expect, claims any) error {
	if want.Type == "" || want.Issuer == "" || want.Audience == "" || want.At.IsZero() || want.MaxLife <= 0 {
		return refuse("nothing to hold it against")
	}
	head, payload, err := split(token)
	if err != nil {
		return err
	}
	var h header
	if err := decode(head, &h); err != nil {
		return refuse("header: %w", err)
	}
	key := keys[h.KID]
	switch {
	case h.Alg != "ES256":
		return refuse("alg %.16q, want ES256", h.Alg)
	case h.Typ != want.Type:
		return refuse("typ %.64q, want %q", h.Typ, want.Type)
	case key == nil:
		return refuse("kid %.64q is not a key of this deployment", h.KID)
	}
	if _, err := jws.Verify([]byte(token), jws.WithKey(jwa.ES256, key), jws.WithCompact()); err != nil {
		return refuse("%w", err)
	}
	if err := decode(payload, claims); err != nil {
		return refuse("claims: %w", err)
	}
	return nil
}

func (c *Claims) check(want Expect) error {
	at, ahead := want.At.Unix(), want.At.Add(skew).Unix()
	switch {
	case c.Issuer != want.Issuer:
		return refuse("iss %.128q, want %q", c.Issuer, want.Issuer)
	case c.Audience != want.Audience:
		return refuse("aud %.128q, want %q", c.Audience, want.Audience)
	case c.Subject == "" || c.ID == "":
		return refuse("sub and jti are required")
	case c.Issued <= 0 || c.Issued > ahead || c.Before <= 0 || c.Before > ahead:
		return refuse("iat %d, nbf %d: not yet valid at %d", c.Issued, c.Before, at)
	case c.Expires <= at:
		return refuse("exp %d: expired at %d", c.Expires, at)
	case c.Expires > c.Issued+int64(want.MaxLife/time.Second):
		return refuse("exp %d: lives longer than %v", c.Expires, want.MaxLife)
	}
	return nil
}

// split cuts a compact JWS and decodes header and payload. The signature must
// have the length of ES256, so that DER and truncated ones never reach a parser.
func split(token string) (head, payload []byte, err error) {
	raw, err := compact(token, MaxToken)
	if err != nil {
		return nil, nil, err
	}
	if len(raw[2]) != 64 {
		return nil, nil, refuse("signature of %d bytes, want 64", len(raw[2]))
	}
	return raw[0], raw[1], nil
}

// compact decodes the three parts of a compact JWS of at most limit bytes: header,
// payload, signature.
func compact(token string, limit int) (raw [3][]byte, err error) {
	if len(token) > limit {
		return raw, refuse("%d bytes, limit %d", len(token), limit)
	}
	parts := strings.SplitN(token, ".", 4)
	if len(parts) != 3 {
		return raw, refuse("not a compact JWS")
	}
	for i, p := range parts {
		if raw[i], err = canonical(p); err != nil {
			return raw, refuse("part %d: %w", i, err)
		}
	}
	return raw, nil
}

// decode is strict: exact names, no duplicates, no unknown members, bounded depth
// (the shapes here are flat, so that any nested value is of the wrong type).
func decode(b []byte, v any) error {
	if jsontext.Value(b).Kind() != '{' { // null would decode to nothing
		return errors.New("not a JSON object")
	}
	return json.Unmarshal(b, v, json.RejectUnknownMembers(true))
}
