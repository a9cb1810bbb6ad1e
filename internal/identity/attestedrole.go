package identity

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/release"
)

// AttestedRole is the value of a release.ObjectAttestedRole, whose object's name is
// Name: machines that Policy allows have Role at Scope, by an attested access token.
// An object cannot be taken away, so that its generation goes on; a removed one says so.
type AttestedRole struct {
	Name    string `json:"name"`
	Policy  string `json:"policy"` // Rego, in the grammar of release policies
	Role    string `json:"role"`
	Scope   string `json:"scope"`             // canonical
	Created int64  `json:"created"`           // Unix seconds
	Updated int64  `json:"updated"`           // Unix seconds
	Removed bool   `json:"removed,omitempty"` // it gives nothing
}

// attestedActions is all that an attested token is ever good for: to get and to release.
var attestedActions = []Action{KeysRead, DeletedKeysRead, RotationRead, KeysRelease, SecretsGet, SecretsMetadata}

var attestedName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// attestable says whether a machine may have a role: one that does nothing but get and
// release.
func attestable(role string) bool {
	r, known := RoleNamed(role)
	return known && !slices.ContainsFunc(r.Actions, func(a Action) bool { return !slices.Contains(attestedActions, a) })
}

// Encode gives the object's value.
func (r *AttestedRole) Encode() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	return r.encode()
}

func (r *AttestedRole) encode() ([]byte, error) { return json.Marshal(r) }

// DecodeAttestedRole reads the value of the object called name. A role that may no
// longer be given is not an error of the object: it gives nothing (see Attested).
func DecodeAttestedRole(name string, value []byte) (*AttestedRole, error) {
	var r AttestedRole
	if err := json.Unmarshal(value, &r, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("attested role: %w", err)
	}
	if r.Name != name {
		return nil, fmt.Errorf("attested role %.64q stored as %.64q", r.Name, name)
	}
	return &r, r.form()
}

func (r *AttestedRole) form() error {
	switch {
	case !attestedName.MatchString(r.Name):
		return fmt.Errorf("attested role: name %.64q: lower-case letters, digits and hyphens, at most 63", r.Name)
	case !ValidScope(r.Scope):
		return fmt.Errorf("attested role: scope %.256q: want /, /vaults/NAME, /vaults/NAME/keys or /secrets, or one object below", r.Scope)
	case r.Policy == "":
		return errors.New("attested role: no policy")
	}
	return nil
}

func (r *AttestedRole) validate() error {
	if err := r.form(); err != nil {
		return err
	}
	if _, known := RoleNamed(r.Role); !known {
		return fmt.Errorf("attested role: no role %.64q; `openskr role definitions` has the list", r.Role)
	}
	if !attestable(r.Role) {
		return fmt.Errorf("attested role: %q allows more than to get and to release, which no machine may", r.Role)
	}
	return nil
}

// policy is what the engine evaluates.
func (r *AttestedRole) policy() release.ReleasePolicy {
	data := []byte(r.Policy)
	return release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: data, Digest: sha256.Sum256(data)}
}

// narrow is the part of scope that lies in vault, "" for none.
func narrow(scope, vault string) string {
	whole := Scope(vault, "", "")
	switch {
	case Covers(scope, whole):
		return whole
	case Covers(whole, scope):
		return scope
	}
	return ""
}
