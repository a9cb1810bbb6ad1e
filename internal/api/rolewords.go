package api

import (
	"strings"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// roleWord is the code that the role API has for a reason, "" where that of the
// class will do.
func roleWord(op string, reason release.Reason) string {
	if !strings.HasPrefix(op, "roles/") {
		return ""
	}
	switch {
	case reason == release.ReasonConflict && op == identity.OpAssign:
		return "RoleAssignmentExists"
	case reason == release.ReasonNotFound && strings.HasPrefix(op, "roles/definition"):
		return "RoleDefinitionDoesNotExist"
	case reason == release.ReasonNotFound:
		return "RoleAssignmentNotFound"
	}
	return ""
}
