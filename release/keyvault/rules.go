package keyvault

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/openskr/openskr/release"
)

// ErrNoPolicy is the refusal of an exportable key without release policy; Key
// Vault clients know its text.
var ErrNoPolicy = errors.New("exportable keys must have release policy")

// ErrExportableFixed is the refusal of a change of exportable (AKV.SKR.1014).
var ErrExportableFixed = errors.New("exportable state of a key cannot be modified")

// draft makes the row of a new version: what in says, else what last (the latest
// version, nil for a new key) says, else the defaults.
func (s *Service) draft(last *Row, vault, name string, m *Material, exportable *bool, in Settings) (*Row, error) {
	now := s.Now().Unix()
	row := &Row{
		Vault: vault, Collection: Keys, Name: name, Version: randomID(), ObjectID: randomID(), Seq: 1, Generation: 1,
		Kty: m.kty, Crv: m.crv, Size: m.size, Public: m.public, KeyOps: defaultOps(m.kty),
		Attributes: release.Attributes{Enabled: true}, Created: now, Updated: now, DEKEpoch: firstEpoch,
	}
	if last != nil {
		row.Name, row.ObjectID, row.Seq = last.Name, last.ObjectID, last.Seq+1
		row.Policy, row.AttestedOnly = last.Policy, last.AttestedOnly
		row.Attributes.Exportable = last.Attributes.Exportable
		row.Tags = maps.Clone(last.Tags)
	}
	if row.AttestedOnly || in.AttestedOnly != nil && *in.AttestedOnly {
		row.KeyOps, row.Attributes.Exportable = []string{}, true
	}
	if exportable != nil {
		row.Attributes.Exportable = *exportable
	}
	return row, s.apply(row, in)
}

// revise makes the next generation of a row.
func (s *Service) revise(old *Row, in UpdateKey) (*Row, error) {
	row := *old
	row.Generation, row.Updated = old.Generation+1, s.Now().Unix()
	if in.Exportable != nil && *in.Exportable != old.Attributes.Exportable {
		return nil, release.Refuse(release.ReasonBadRequest, "%w", ErrExportableFixed)
	}
	return &row, s.apply(&row, in.Settings)
}

// apply puts settings on a row and judges the whole.
func (s *Service) apply(row *Row, in Settings) error {
	if in.Enabled != nil {
		row.Attributes.Enabled = *in.Enabled
	}
	if in.NotBefore != nil {
		row.Attributes.NotBefore = *in.NotBefore
	}
	if in.Expires != nil {
		row.Attributes.Expires = *in.Expires
	}
	if in.KeyOps != nil {
		row.KeyOps = slices.Clone(in.KeyOps)
	}
	if in.Tags != nil {
		row.Tags = maps.Clone(in.Tags)
	}
	if in.Policy != nil {
		p, err := replacePolicy(row.Policy, *in.Policy)
		if err != nil {
			return err
		}
		row.Policy = p
	}
	if in.AttestedOnly != nil {
		if row.AttestedOnly && !*in.AttestedOnly {
			return release.Refuse(release.ReasonAttestedOnly, "attested-only cannot be taken back")
		}
		if *in.AttestedOnly && !row.AttestedOnly && in.KeyOps == nil {
			row.KeyOps = []string{}
		}
		row.AttestedOnly = *in.AttestedOnly
	}
	return whole(row)
}

// whole judges what members mean together.
func whole(row *Row) error {
	a := row.Attributes
	switch {
	case row.AttestedOnly && len(row.KeyOps) != 0:
		return release.Refuse(release.ReasonAttestedOnly, "an attested-only key has no key_ops")
	case row.AttestedOnly && !a.Exportable:
		return release.Refuse(release.ReasonAttestedOnly, "an attested-only key must be exportable, it has no other use")
	case a.Exportable && len(row.Policy.Data) == 0:
		return release.Refuse(release.ReasonPolicyInvalid, "%w", ErrNoPolicy)
	case a.NotBefore != 0 && a.Expires != 0 && a.NotBefore >= a.Expires:
		return release.Refuse(release.ReasonBadRequest, "%w", errTimes)
	}
	for _, op := range row.KeyOps {
		if !slices.Contains(possibleOps(row.Kty), op) {
			return release.Refuse(release.ReasonBadRequest, "key_ops %.32q is not for %s keys", op, row.Kty)
		}
	}
	return nil
}

// replacePolicy puts p in place of old. Immutable can be set and never reset; an
// immutable policy accepts itself again.
func replacePolicy(old, p release.ReleasePolicy) (release.ReleasePolicy, error) {
	p.Digest = sha256.Sum256(p.Data)
	if old.Immutable && (p.Digest != old.Digest || p.ContentType != old.ContentType || !p.Immutable) {
		return p, release.Refuse(release.ReasonPolicyImmutable, "the release policy of this key is immutable")
	}
	return p, nil
}

// Operable refuses a cryptographic operation that the version does not allow.
// An attested-only key allows none, whatever the caller's role.
func (r *Row) Operable(op string) error {
	if r.AttestedOnly {
		return release.Refuse(release.ReasonAttestedOnly, "key %s is attested-only: it can be released and nothing else", r.Name)
	}
	if !slices.Contains(r.KeyOps, op) {
		return release.Refuse(release.ReasonKeyOperation, "key_ops of key %s do not have %.32q", r.Name, op)
	}
	return nil
}

// possibleOps are the key_ops that a type can have.
func possibleOps(kty string) []string {
	switch kty {
	case KtyEC:
		return []string{"sign", "verify", "import", "export"}
	case KtyOct:
		return []string{"encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify", "import", "export"}
	default:
		return []string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey", "import", "export"}
	}
}

// defaultOps are the key_ops of a key whose owner named none (wire format: §2.2).
func defaultOps(kty string) []string {
	switch kty {
	case KtyEC:
		return []string{"sign", "verify"}
	case KtyOct:
		return []string{"encrypt", "decrypt", "wrapKey", "unwrapKey"}
	default:
		return []string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}
	}
}

// describe completes the record of a change: enumerated values and digests only.
func describe(rec *release.Record, row *Row) {
	rec.Vault, rec.Object, rec.ObjectID, rec.Version = row.Vault, row.Name, row.ObjectID, row.Version
	rec.Generation, rec.Policy = row.Generation, row.Policy.Digest
	var tags canonical
	tags.tags(row.Tags)
	sum := sha256.Sum256(tags)
	rec.Detail = map[string]string{
		"enabled": strconv.FormatBool(row.Attributes.Enabled), "tags": hex.EncodeToString(sum[:]),
		"nbf": strconv.FormatInt(row.Attributes.NotBefore, 10), "exp": strconv.FormatInt(row.Attributes.Expires, 10),
	}
	if row.Collection == Keys {
		maps.Copy(rec.Detail, map[string]string{
			"kty": row.Kty, "size": strconv.Itoa(row.Size), "attested_only": strconv.FormatBool(row.AttestedOnly),
			"exportable": strconv.FormatBool(row.Attributes.Exportable), "policy_immutable": strconv.FormatBool(row.Policy.Immutable),
			"key_ops": strings.Join(slices.Sorted(slices.Values(row.KeyOps)), ","),
		})
	}
}

// randomID gives 32 lower-case hex digits.
func randomID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}
