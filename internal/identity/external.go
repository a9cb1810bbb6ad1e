package identity

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/internal/strict"
)

// skew is how far another's clock may be off.
const skew = time.Minute

// external is a token of another issuer whose signature and times were checked. Its
// audience was not: that depends on what it is used for.
type external struct {
	issuer   *trustedIssuer
	claims   claims
	audience []string
	expires  time.Time
}

// verifyExternal checks signature and times of a token of a configured issuer: exact
// iss, its allow-list of algorithms, a key of its set by kid. Nothing in the header
// chooses a key or an algorithm that is not decided already.
func (s *Service) verifyExternal(ctx context.Context, t *trust, f *jose.Foreign, now time.Time) (*external, error) {
	c, err := readClaims(f.Payload)
	if err != nil {
		return nil, err
	}
	name, err := c.text("iss")
	if err != nil {
		return nil, err
	}
	is := t.issuers[name]
	if is == nil {
		return nil, fmt.Errorf("iss %.128q is not configured", name)
	}
	if f.KID == "" || !slices.Contains([]string{"", "JWT", "at+jwt"}, f.Typ) {
		return nil, fmt.Errorf("kid %.64q, typ %.64q: not a token of an OIDC issuer", f.KID, f.Typ)
	}
	keys, err := s.keySet(ctx, t, is, now)
	if err != nil {
		return nil, fmt.Errorf("keys of %s: %w", name, err)
	}
	key, ok := f.Find(keys)
	if !ok {
		return nil, fmt.Errorf("kid %.64q is no key of %s", f.KID, name)
	}
	if !key.End.IsZero() && (now.Before(key.From) || now.After(key.End)) {
		return nil, fmt.Errorf("the certificate of kid %.64q is out of time", f.KID)
	}
	if err := f.Verify(key, is.Algorithms); err != nil {
		return nil, err
	}
	x := &external{issuer: is, claims: c}
	if x.expires, err = c.times(now, is.MaxLife, true); err != nil {
		return nil, err
	}
	x.audience, err = c.audience()
	return x, err
}

// made says whether every audience of the token is one of those allowed: a token made
// for somebody else too can be replayed by him.
func (x *external) made(allowed []string) error {
	for _, a := range x.audience {
		if !slices.Contains(allowed, a) {
			return fmt.Errorf("aud %.128q is not one of %v", a, allowed)
		}
	}
	return nil
}

// subject is the caller that the token names, with the roles that its claims give.
func (x *external) subject() (*subject, error) {
	name, err := x.name()
	if err != nil {
		return nil, err
	}
	who := &subject{id: ExternalID(x.issuer.Issuer.Issuer, name), name: name, external: true}
	for _, m := range x.issuer.Roles {
		if x.claims.has(m.Claim, m.Value) {
			who.assigned = append(who.assigned, Assignment{Role: m.Role, Scope: m.Scope})
		}
	}
	return who, nil
}

func (x *external) name() (string, error) {
	claim := x.issuer.Claim
	if claim == "" {
		claim = naming(x.issuer.Issuer.Issuer)
	}
	return x.claims.text(claim)
}

// naming is the claim that names callers where the operator named none: sub, which
// every issuer assigns itself (OpenID Connect Core §2), and of Entra ID oid, since its
// sub differs for each application. Elsewhere an oid may be what a user wrote.
func naming(issuer string) string {
	for _, entra := range []string{"https://sts.windows.net/", "https://login.microsoftonline.com/"} {
		if strings.HasPrefix(issuer, entra) {
			return "oid"
		}
	}
	return "sub"
}

// ExternalID is the id that a caller of an external issuer has in records and role
// assignments: a UUID (RFC 9562 §5.8) made of SHA-256 over both names, so that no two
// issuers can speak for one id. subject is the value of the claim that names callers.
func ExternalID(issuer, subject string) string {
	h := sha256.New()
	h.Write([]byte("openskr/caller/v1"))
	for _, part := range []string{issuer, subject} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	b := h.Sum(nil)
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// claims are the members of a JWT of another issuer.
type claims map[string]jsontext.Value

// readClaims reads a payload: one JSON object without duplicate names at any depth.
func readClaims(payload []byte) (claims, error) {
	var c claims
	if err := strict.Unmarshal(payload, jose.MaxToken, &c); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if c == nil {
		return nil, errors.New("claims: not a JSON object")
	}
	return c, nil
}

// text reads a required string.
func (c claims) text(name string) (string, error) {
	var v string
	if c[name].Kind() != '"' {
		return "", fmt.Errorf("%s is missing or not a string", name)
	}
	if err := json.Unmarshal(c[name], &v); err != nil || v == "" || len(v) > maxClaim {
		return "", fmt.Errorf("%s: want 1 to %d bytes", name, maxClaim)
	}
	return v, nil
}

// audience reads aud, a string or an array of them, at least one.
func (c claims) audience() ([]string, error) {
	if c["aud"].Kind() == '"' {
		one, err := c.text("aud")
		return []string{one}, err
	}
	var out []string
	if err := json.Unmarshal(c["aud"], &out); err != nil || len(out) == 0 || len(out) > 16 {
		return nil, errors.New("aud: want a string, or up to 16 of them")
	}
	return out, nil
}

// times checks exp, nbf and iat (RFC 7519 §4.1). exp is always required, iat where
// issued says so; exp - iat, or the time left, is at most life. It gives exp.
func (c claims) times(now time.Time, life time.Duration, issued bool) (time.Time, error) {
	exp, err := c.date("exp", true)
	if err != nil {
		return time.Time{}, err
	}
	iat, err := c.date("iat", issued)
	if err != nil {
		return time.Time{}, err
	}
	nbf, err := c.date("nbf", false)
	if err != nil {
		return time.Time{}, err
	}
	ahead := now.Add(skew)
	switch {
	case !now.Before(exp):
		return time.Time{}, fmt.Errorf("exp: expired at %s", exp.UTC().Format(time.RFC3339))
	case iat.After(ahead) || nbf.After(ahead):
		return time.Time{}, errors.New("iat or nbf: not yet valid")
	case iat.IsZero() && exp.After(ahead.Add(life)), !iat.IsZero() && exp.Sub(iat) > life+skew:
		return time.Time{}, fmt.Errorf("exp: lives longer than %v", life)
	}
	return exp, nil
}

// maxDate is the year 9999 in Unix seconds.
const maxDate = 253402300799

// date reads a NumericDate, a fraction of a second included: MSAL for Python sends one.
// Zero where it is absent.
func (c claims) date(name string, required bool) (time.Time, error) {
	v, ok := c[name]
	if !ok && !required {
		return time.Time{}, nil
	}
	var f float64
	if json.Unmarshal(v, &f) != nil || f < 1 || f > maxDate { // what is greater does not fit a time
		return time.Time{}, fmt.Errorf("%s: want a number of seconds", name)
	}
	return time.Unix(int64(f), 0), nil
}

// has says whether a claim is value, or an array of strings with it.
func (c claims) has(name, value string) bool {
	if v, err := c.text(name); err == nil {
		return v == value
	}
	var list []string
	return c[name].Kind() == '[' && json.Unmarshal(c[name], &list) == nil && slices.Contains(list, value)
}
