package keyvault

import (
	"context"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/openskr/openskr/release"
)

// Limits of what an owner may say.
const (
	maxPolicy   = 64 << 10     // bytes of a release policy
	maxTags     = 15           // Key Vault's limit
	maxTag      = 256          // characters of a tag's name or value
	maxUnixTime = 253402300799 // 9999-12-31T23:59:59Z
)

func named(vault, name string) error {
	if !ValidVault(vault) {
		return release.Refuse(release.ReasonNotFound, "no vault %.64q", vault)
	}
	if !ValidName(name) {
		return release.Refuse(release.ReasonBadRequest, "a name must match ^[0-9A-Za-z-]{1,127}$")
	}
	return nil
}

// sound judges each member alone.
func (s *Service) sound(ctx context.Context, in *Settings) error {
	if err := soundTimes(in.NotBefore, in.Expires); err != nil {
		return err
	}
	for i, op := range in.KeyOps {
		if slices.Contains(in.KeyOps[:i], op) {
			return release.Refuse(release.ReasonBadRequest, "key_ops names an operation twice")
		}
	}
	if err := soundTags(in.Tags); err != nil {
		return err
	}
	if in.Policy == nil {
		return nil
	}
	return s.soundPolicy(ctx, *in.Policy)
}

func soundTimes(times ...*int64) error {
	for _, t := range times {
		if t != nil && (*t < 0 || *t > maxUnixTime) {
			return release.Refuse(release.ReasonBadRequest, "nbf and exp are Unix seconds up to the year 9999")
		}
	}
	return nil
}

func soundTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return release.Refuse(release.ReasonBadRequest, "%d tags, limit %d", len(tags), maxTags)
	}
	for k, v := range tags {
		if k == "" || !tagText(k) || !tagText(v) {
			return release.Refuse(release.ReasonBadRequest, "tags are UTF-8 of at most %d characters without control characters", maxTag)
		}
	}
	return nil
}

// tagText refuses control and formatting characters: tags are shown to operators
// and given to policies, and must read as what they are.
func tagText(s string) bool {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxTag {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return false
		}
	}
	return true
}

func (s *Service) soundPolicy(ctx context.Context, p release.ReleasePolicy) error {
	switch {
	case len(p.Data) == 0:
		return release.Refuse(release.ReasonPolicyInvalid, "release policy is empty")
	case len(p.Data) > maxPolicy:
		return release.Refuse(release.ReasonPolicyInvalid, "release policy of %d bytes, limit %d", len(p.Data), maxPolicy)
	case p.ContentType != release.ContentTypeRego && p.ContentType != release.ContentTypeJSON:
		return release.Refuse(release.ReasonPolicyInvalid, "release policy of type %.64q, want %q or %q",
			p.ContentType, release.ContentTypeRego, release.ContentTypeJSON)
	}
	return s.Check(ctx, p)
}
