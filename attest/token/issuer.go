package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
	"github.com/openskr/openskr/internal/jose"
)

// The kinds of Issuer.
const (
	KindMAA = "maa" // Microsoft Azure Attestation
	KindGCS = "gcs" // Google Cloud Attestation; Confidential Space tokens of Intel Trust Authority too
	KindITA = "ita" // Intel Trust Authority
	KindEAR = "ear" // EAT Attestation Results: Veraison, Trustee
)

// KeySetLife is how long a fetched key set is believed at most: a key that its issuer
// has withdrawn is refused after that, whether the issuer can be reached or not. The
// Endorser asks again much sooner; what it still gives while nobody answers is no older.
const KeySetLife = 24 * time.Hour

// Issuer is one service whose tokens are taken as Evidence.
type Issuer struct {
	Kind string
	// Issuer is the iss of its tokens, byte for byte: an https URL, for an EAR any
	// text. An EAR without iss is matched by the developer in ear.verifier-id.
	Issuer string
	// Audience is the aud that its tokens must have. Required for gcs. Empty: a token
	// with an aud was made for somebody else and is refused.
	Audience string
	// JWKS is its key set from a file; nil: from the Endorser.
	JWKS []byte
	// MaxAge bounds the time since iat; 0: DefaultMaxAge, at most 24 hours.
	MaxAge time.Duration
	// Algorithms is what its keys sign with, of RS256, PS256, PS384, ES256, ES384.
	// Empty: what the kind of service uses.
	Algorithms []string
}

// issuer is an Issuer that was found sound.
type issuer struct {
	Issuer
	service service
	pinned  jose.KeySet
}

// name is the iss of its tokens.
func (is *issuer) name() string { return is.Issuer.Issuer }

func newIssuer(c Issuer, cfg Config) (*issuer, error) {
	is := &issuer{Issuer: c}
	is.MaxAge = cmp.Or(c.MaxAge, DefaultMaxAge)
	is.Algorithms = slices.Clone(c.Algorithms)
	is.JWKS = slices.Clone(c.JWKS)
	var algorithms []string
	switch c.Kind {
	case KindMAA:
		is.service, algorithms = maa{}, []string{"RS256"}
	case KindGCS:
		is.service, algorithms = gcs{}, []string{"RS256", "PS384"}
	case KindITA:
		is.service, algorithms = ita{}, []string{"PS384", "RS256"}
	case KindEAR:
		is.service, algorithms = ear{}, []string{"ES256", "ES384"}
	default:
		return nil, fmt.Errorf("kind %.16q is not maa, gcs, ita or ear", c.Kind)
	}
	if len(is.Algorithms) == 0 {
		is.Algorithms = algorithms
	}
	for _, a := range is.Algorithms {
		if !slices.Contains(jose.ForeignAlgorithms(), a) {
			return nil, fmt.Errorf("algorithm %.16q is not of %v", a, jose.ForeignAlgorithms())
		}
	}
	if err := is.checkName(cfg.Own); err != nil {
		return nil, err
	}
	switch {
	case is.MaxAge < 0 || is.MaxAge > maxMaxAge:
		return nil, fmt.Errorf("maximum age %v is not between 0 and %v", is.MaxAge, maxMaxAge)
	case c.Kind == KindGCS && c.Audience == "":
		return nil, errors.New("tokens of Google Cloud Attestation are made for an audience: give the one to ask for")
	case c.JWKS == nil && cfg.Endorser == nil:
		return nil, errors.New("no key set given, and none can be fetched")
	}
	if c.JWKS != nil {
		keys, err := jose.ParseKeySet(c.JWKS)
		if err != nil {
			return nil, err
		}
		is.pinned = keys
	}
	return is, nil
}

// checkName refuses a name that looks like one of ours, or that is not a plain URL.
func (is *issuer) checkName(own []string) error {
	fold := func(s string) string { return strings.ToLower(strings.TrimRight(s, "/")) }
	if slices.ContainsFunc(own, func(o string) bool { return fold(o) == fold(is.name()) }) || strings.HasPrefix(fold(is.name()), "urn:openskr:") {
		return errors.New("is this deployment itself: its own tokens are no evidence from elsewhere")
	}
	if is.Kind == KindEAR {
		if is.name() == "" {
			return errors.New("no name")
		}
		return nil
	}
	u, err := url.Parse(is.name())
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.String() != is.name() {
		return errors.New("want an https URL as it stands in iss, without user, query or fragment")
	}
	return nil
}

// issuerOf finds who the token says signed it: exactly a configured name. The
// signature is checked with that issuer's keys next.
func (v *Verifier) issuerOf(claims object) (*issuer, *attest.Rejection) {
	r := read(claims)
	name, ok := r.text("iss")
	if !ok {
		name, _ = r.object("ear.verifier-id").text("developer")
	}
	is := v.issuers[name]
	if r.failed() != nil || is == nil || !ok && is.Kind != KindEAR {
		return nil, attest.Reject(attest.CheckTokenIssuer, "issuer %.128q is not configured", name)
	}
	return is, nil
}

// keys gives the issuer's key set and its age.
func (v *Verifier) keys(ctx context.Context, is *issuer, at time.Time) (jose.KeySet, time.Duration, *attest.Rejection) {
	if is.pinned != nil {
		return is.pinned, 0, nil
	}
	need := attest.Need{Kind: attest.NeedJWKS, ID: is.name()}
	doc, err := v.cfg.Endorser.Endorse(ctx, need)
	if err != nil {
		return nil, 0, attest.Reject(attest.CheckCollateralUnavailable, "key set of %s: %w", is.name(), err)
	}
	keys, rej := v.parse(doc)
	if rej != nil {
		return nil, 0, rej
	}
	if at.After(doc.Fetched.Add(KeySetLife)) {
		return nil, 0, attest.Reject(attest.CheckCollateralStale, "key set of %s is of %s", is.name(), doc.Fetched.UTC().Format(time.RFC3339))
	}
	return keys, max(0, at.Sub(doc.Fetched)), nil
}

func (v *Verifier) parse(doc *attest.Document) (jose.KeySet, *attest.Rejection) {
	if doc == nil || len(doc.Data) > jose.MaxKeySet {
		return nil, attest.Reject(attest.CheckCollateralInvalid, "no key set, or one of more than %d bytes", jose.MaxKeySet)
	}
	hash := verified.Key(doc.Data)
	if keys, ok := v.sets.Get(hash, time.Time{}); ok {
		return keys, nil
	}
	keys, err := jose.ParseKeySet(doc.Data)
	if err != nil {
		return nil, attest.Reject(attest.CheckCollateralInvalid, "%w", err)
	}
	v.sets.Put(hash, keys, time.Time{}, time.Time{})
	return keys, nil
}

// Inspect implements [attest.Inspector] for key sets of configured issuers. They are
// not signed: who fetches them must know whom it asks. They say nothing about time, so
// that one is believed for [KeySetLife] after it was fetched.
func (v *Verifier) Inspect(need attest.Need, doc *attest.Document, _ time.Time) (attest.Validity, error) {
	if is := v.issuers[need.ID]; need.Kind != attest.NeedJWKS || is == nil {
		return attest.Validity{}, attest.Reject(attest.CheckCollateralInvalid, "%s %.128q is no key set of a configured issuer", need.Kind, need.ID)
	}
	if _, rej := v.parse(doc); rej != nil {
		return attest.Validity{}, rej
	}
	return attest.Validity{Issued: doc.Fetched, NextUpdate: doc.Fetched.Add(KeySetLife)}, nil
}

// verify finds the key that the header names in the issuer's set, and checks the
// signature with it. Only EARs may name none, and then there is one key to choose from.
func (is *issuer) verify(msg *jose.Foreign, keys jose.KeySet, at time.Time) (*jose.ForeignKey, *attest.Rejection) {
	switch {
	case msg.Typ != "JWT" && (is.Kind != KindEAR || msg.Typ != "eat+jwt"):
		return nil, attest.Reject(attest.CheckMalformed, "typ %.64q of a token", msg.Typ)
	case msg.KID == "" && is.Kind != KindEAR:
		return nil, attest.Reject(attest.CheckTokenIssuer, "the token names no key")
	}
	key, ok := msg.Find(keys)
	if !ok {
		return nil, attest.Reject(attest.CheckTokenIssuer, "kid %.128q is no key of %s", msg.KID, is.name())
	}
	if !key.End.IsZero() && (at.Before(key.From) || at.After(key.End)) {
		return nil, attest.Reject(attest.CheckChainExpired, "the certificate of kid %.128q is out of time", msg.KID)
	}
	if err := msg.Verify(key, is.Algorithms); err != nil {
		return nil, attest.Reject(attest.CheckSignature, "%w", err)
	}
	return key, nil
}
