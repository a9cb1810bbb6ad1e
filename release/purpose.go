package release

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/openskr/openskr/attest/binding"
)

// TagLUKSOnly is the tag of a key version that is a disk's and nothing else, whatever its
// value: it is released to open that disk and, with a [FormatGrant], to make one, and
// never to who does not say for what. Granting a format sets it.
const TagLUKSOnly = "luks-only"

// Details of the record of a release whose evidence says what the key is for.
const (
	DetailPurpose = "purpose" // "unlock" or "format"
	DetailGrant   = "grant"   // index of the record of the grant that was spent
)

// DetailGrantsRevoked is how many open grants to make a disk a record ended.
const DetailGrantsRevoked = "format_grants_revoked"

// stated is the detail of a purpose. That of every other release goes without saying, and
// older agents know no record that says it.
func stated(purpose string) map[string]string {
	if purpose == binding.PurposeUnlock || purpose == binding.PurposeFormat {
		return map[string]string{DetailPurpose: purpose}
	}
	return nil
}

// Formats says whether the record is of a release to make a disk.
func Formats(r *Record) bool { return r.Detail[DetailPurpose] == binding.PurposeFormat }

// Suits refuses a key of a disk to who does not say whether a disk is opened or made with
// it: else an agent from before there were purposes, or a program that does not know them,
// makes a disk with it after the host has blanked the one there was. The append reads the
// tag's generation again.
func (k *Key) Suits(purpose string) error {
	if _, only := k.Tags[TagLUKSOnly]; only && purpose == binding.PurposeRelease {
		return Refuse(ReasonPurposeRequired, "key %s has the tag %s and is released to `openskr-agent unlock`, crypttab and seal-disk alone, of this version or later", k.KID, TagLUKSOnly)
	}
	return nil
}

// States of a FormatGrant.
const (
	FormatOpen    = "open"
	FormatSpent   = "spent"
	FormatRevoked = "revoked"
)

// FormatGrant is the value of an [ObjectFormatGrant]: an operator's word that a disk may
// be made with a key version. It is good for one release, and not for long.
type FormatGrant struct {
	Vault    string `json:"vault"`
	Key      string `json:"key"` // name
	ObjectID string `json:"object_id"`
	Version  string `json:"version"`
	Machine  string `json:"machine,omitempty"` // that alone may spend it; "": any that the policy allows
	Granted  int64  `json:"granted"`           // Unix seconds
	Until    int64  `json:"until"`             // Unix seconds
	State    string `json:"state"`
	SpentBy  int64  `json:"spent_by,omitempty"` // index of the release
	Index    int64  `json:"-"`                  // of the record of the last change
}

// FormatGrantName is the name of the object about a key version. Those of a vault stand
// together, so that a list of them says nothing of another vault's.
func FormatGrantName(vault, objectID, version string) string {
	return vault + "/" + objectID + "/" + version
}

// ReadFormatGrant takes the object's value apart.
func ReadFormatGrant(o *Object) (*FormatGrant, error) {
	g := FormatGrant{Index: o.Index}
	if err := json.Unmarshal(o.Value, &g); err != nil {
		return nil, Refuse(ReasonIntegrity, "format grant %s: %w; grant it again", o.Name, err)
	}
	return &g, nil
}

// Permits refuses a machine that may not make a disk with k at that time. A nil grant
// permits nothing.
func (g *FormatGrant) Permits(k *Key, machine string, at time.Time) error {
	var why string
	switch {
	case g == nil:
		why = "nobody has granted it"
	case g.ObjectID != k.ObjectID || g.Version != k.Ref.Version:
		why = "the grant is for version " + g.Version
	case g.State == FormatSpent:
		why = "the grant was spent by log entry " + strconv.FormatInt(g.SpentBy, 10)
	case g.State != FormatOpen:
		why = "the grant is " + g.State
	case at.Unix() >= g.Until:
		why = "the grant ended at " + time.Unix(g.Until, 0).UTC().Format(time.RFC3339)
	case g.Machine != "" && g.Machine != machine:
		why = "the grant is for machine " + g.Machine
	default:
		return nil
	}
	return Refuse(ReasonFormatNotGranted, "a disk is to be made with key %s: %s; if you want that: openskr key grant-format %s --version %s --machine %s",
		k.KID, why, k.Ref.Name, k.Ref.Version, machine)
}
