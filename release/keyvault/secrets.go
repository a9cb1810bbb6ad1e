package keyvault

import (
	"context"
	"errors"
	"maps"
	"unicode/utf8"

	"github.com/openskr/openskr/release"
)

// Limits of a secret.
const (
	maxSecret      = 25 << 10 // bytes of a value, Key Vault's limit
	maxContentType = 255      // characters
)

// SecretSettings are what an owner says about a secret version. nil means not said:
// the default for a new version, which takes nothing over from the one before, and
// unchanged for an update.
type SecretSettings struct {
	ContentType        *string
	Enabled            *bool
	NotBefore, Expires *int64            // Unix seconds, 0 removes
	Tags               map[string]string // not nil: exactly these
}

// SetSecret makes a secret, or the next version of one that exists. The value is
// UTF-8; the caller clears it.
func (s *Service) SetSecret(ctx context.Context, vault, name string, value []byte, in SecretSettings) (*Row, error) {
	if err := s.Ready(ctx); err != nil {
		return nil, err
	}
	if err := named(vault, name); err != nil {
		return nil, err
	}
	if err := in.sound(); err != nil {
		return nil, err
	}
	if len(value) > maxSecret || !utf8.Valid(value) { // neither its length nor its bytes: this text is kept
		return nil, release.Refuse(release.ReasonBadRequest, "a secret is UTF-8 text of at most %d bytes", maxSecret)
	}
	return s.add(ctx, addition{
		op: "secrets/set", vault: vault, collection: Secrets, name: name, payload: value,
		draft: func(last *Row) (*Row, error) {
			now := s.Now().Unix()
			row := &Row{
				Vault: vault, Collection: Secrets, Name: name, Version: randomID(), ObjectID: randomID(), Seq: 1, Generation: 1,
				Attributes: release.Attributes{Enabled: true}, Created: now, Updated: now, DEKEpoch: firstEpoch,
			}
			if last != nil {
				row.Name, row.ObjectID, row.Seq = last.Name, last.ObjectID, last.Seq+1
			}
			return row, in.apply(row)
		},
	})
}

// UpdateSecret changes what is said about a version, the latest when version is "".
// Its value never changes: a new value is a new version.
func (s *Service) UpdateSecret(ctx context.Context, vault, name, version string, in SecretSettings) (*Row, error) {
	if err := in.sound(); err != nil {
		return nil, err
	}
	return s.change(ctx, "secrets/update", vault, Secrets, name, version, func(old *Row) (*Row, error) {
		row := *old
		row.Generation, row.Updated = old.Generation+1, s.Now().Unix()
		return &row, in.apply(&row)
	})
}

// GetSecret gives a version, the latest when version is "", and its value, which the
// caller clears. A value leaves like the material of a key: first the record, whose
// append judges the version and the caller's right again, then the value.
func (s *Service) GetSecret(ctx context.Context, vault, name, version string) (*Row, []byte, error) {
	if err := named(vault, name); err != nil {
		return nil, nil, err
	}
	var row *Row
	var value []byte
	err := s.use(ctx, Secrets, release.KeyRef{Vault: vault, Name: name, Version: version}, func(r *Row) (err error) {
		key := s.metadata(r)
		if err := key.Valid(s.Now()); err != nil {
			return err
		}
		p, err := s.permit(ctx, key, s.recordOf(ctx, "secrets/get", key), version == "")
		if err != nil {
			return err
		}
		row = r
		value, err = s.openPermitted(ctx, p)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if value == nil { // an empty one
		value = []byte{}
	}
	return row, value, nil
}

// sound judges each member alone. What an owner wrote is not repeated.
func (in *SecretSettings) sound() error {
	if err := soundTimes(in.NotBefore, in.Expires); err != nil {
		return err
	}
	if in.ContentType != nil && (utf8.RuneCountInString(*in.ContentType) > maxContentType || !tagText(*in.ContentType)) {
		return release.Refuse(release.ReasonBadRequest, "contentType is UTF-8 of at most %d characters without control characters", maxContentType)
	}
	return soundTags(in.Tags)
}

var errTimes = errors.New("nbf must be before exp")

// apply puts settings on a row and judges the whole.
func (in *SecretSettings) apply(row *Row) error {
	if in.ContentType != nil {
		row.ContentType = *in.ContentType
	}
	if in.Enabled != nil {
		row.Attributes.Enabled = *in.Enabled
	}
	if in.NotBefore != nil {
		row.Attributes.NotBefore = *in.NotBefore
	}
	if in.Expires != nil {
		row.Attributes.Expires = *in.Expires
	}
	if in.Tags != nil {
		row.Tags = maps.Clone(in.Tags)
	}
	if a := row.Attributes; a.NotBefore != 0 && a.Expires != 0 && a.NotBefore >= a.Expires {
		return release.Refuse(release.ReasonBadRequest, "%w", errTimes)
	}
	return nil
}
