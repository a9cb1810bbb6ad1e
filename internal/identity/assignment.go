package identity

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/release"
)

// Assignment gives a principal a role at a scope and below.
type Assignment struct {
	ID      string `json:"id"` // UUID, its name in URLs
	Role    string `json:"role"`
	Scope   string `json:"scope"`   // canonical, see Scope
	Created int64  `json:"created"` // Unix seconds
	By      string `json:"by"`      // id of who gave it, or "init"
}

// maxAssignments bounds those of one principal: all are read at each of its requests.
const maxAssignments = 256

// assigned is the value of a release.ObjectRoles, whose name is the principal's id.
type assigned struct {
	Assignments []Assignment `json:"assignments"`
}

// EncodeAssignments gives the value of a principal's release.ObjectRoles.
func EncodeAssignments(list []Assignment) ([]byte, error) {
	if len(list) > maxAssignments {
		return nil, fmt.Errorf("%d role assignments, limit %d", len(list), maxAssignments)
	}
	for i, a := range list {
		if err := a.validate(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list[:i], func(b Assignment) bool { return a.ID == b.ID || a.Role == b.Role && a.Scope == b.Scope }) {
			return nil, fmt.Errorf("role assignment %s: twice", a.ID)
		}
	}
	if list == nil {
		list = []Assignment{}
	}
	return json.Marshal(assigned{list})
}

// DecodeAssignments reads such a value.
func DecodeAssignments(value []byte) ([]Assignment, error) {
	var v assigned
	if err := json.Unmarshal(value, &v, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("role assignments: %w", err)
	}
	for _, a := range v.Assignments {
		if !idForm.MatchString(a.ID) || !ValidScope(a.Scope) { // a role that is none gives nothing
			return nil, fmt.Errorf("role assignment %.64q at %.128q: malformed", a.ID, a.Scope)
		}
	}
	return v.Assignments, nil
}

func (a Assignment) validate() error {
	role, ok := RoleNamed(a.Role)
	switch {
	case !idForm.MatchString(a.ID):
		return fmt.Errorf("role assignment %.64q: the name is not a UUID in lower case", a.ID)
	case !ok:
		return fmt.Errorf("role assignment %s: no role %.64q; docs/roles.md has the list", a.ID, a.Role)
	case !ValidScope(a.Scope):
		return fmt.Errorf("role assignment %s: scope %.128q is none", a.ID, a.Scope)
	case role.Everywhere && a.Scope != Everywhere:
		return fmt.Errorf("role assignment %s: %s means something at / only", a.ID, a.Role)
	}
	return nil
}

// allows says whether the assignment's role has the action, wherever that is.
func (a Assignment) allows(action Action) bool {
	r, ok := RoleNamed(a.Role)
	return ok && slices.Contains(r.Actions, action)
}

// readAssignments gives those of a principal and the state that they were read in.
func readAssignments(ctx context.Context, o Objects, principal string) ([]Assignment, release.ObjectState, error) {
	return parseAssignments(ctx, o, principal, DecodeAssignments)
}

func parseAssignments(ctx context.Context, o Objects, principal string, parse func([]byte) ([]Assignment, error)) ([]Assignment, release.ObjectState, error) {
	state := release.ObjectState{Kind: release.ObjectRoles, Name: principal}
	obj, err := o.Object(ctx, release.ObjectRoles, principal)
	if err != nil && release.ReasonOf(err) == release.ReasonNotFound {
		return nil, state, nil // a later grant changes the generation 0
	}
	if err != nil {
		return nil, state, err
	}
	state.Generation = obj.Generation
	list, err := parse(obj.Value)
	if err != nil {
		return nil, state, release.Refuse(release.ReasonIntegrity, "%w", err)
	}
	return list, state, nil
}

// entitle gives a proven caller its roles as they are now. Whoever has none may nothing.
func (s *Service) entitle(ctx context.Context, c *Caller) error {
	list, state, err := parseAssignments(ctx, s.c.Objects, c.ID, s.parsed.roles)
	if err != nil {
		return err
	}
	c.Assignments, c.State = list, append(c.State, state)
	return nil
}
