package identity

import (
	"slices"

	"github.com/openskr/openskr/release"
)

// Caller is an authenticated principal with its roles as they are now, or a machine
// with an attested token.
type Caller struct {
	ID, Name    string
	Machine     bool // ID is a machine's
	Assignments []Assignment
	// State is what the right of the caller rests on, read again by the append of
	// whatever gives something away.
	State []release.ObjectState
}

// Kind of the caller, in the word of records and policies.
func (c *Caller) Kind() string {
	if c.Machine {
		return "machine"
	}
	return "principal"
}

// Roles lists the names of the caller's roles, once each, for records.
func (c *Caller) Roles() []string {
	var out []string
	for _, a := range c.Assignments {
		if !slices.Contains(out, a.Role) {
			out = append(out, a.Role)
		}
	}
	return out
}

// May says whether one of the caller's roles allows a at scope. An unknown role
// allows nothing.
func (c *Caller) May(a Action, scope string) bool {
	if c == nil || a == "" {
		return false
	}
	for _, have := range c.Assignments {
		if have.allows(a) && Covers(have.Scope, scope) {
			return true
		}
	}
	return false
}
