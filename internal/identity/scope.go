package identity

import (
	"strings"

	"github.com/openskr/openskr/release/keyvault"
)

// Everywhere is the scope of the deployment; it covers every other.
const Everywhere = "/"

// Scope makes the canonical scope of an object, or of what lies above it where the
// last parts are "":
//
//	/                             the deployment
//	/vaults/{vault}               a vault
//	/vaults/{vault}/keys          a collection of it
//	/vaults/{vault}/keys/{name}   one object, all its versions; in lower case, since
//	                              names of objects have none
func Scope(vault, collection, name string) string {
	switch {
	case vault == "":
		return Everywhere
	case collection == "":
		return "/vaults/" + vault
	case name == "":
		return "/vaults/" + vault + "/" + collection
	default:
		return "/vaults/" + vault + "/" + collection + "/" + strings.ToLower(name)
	}
}

// Covers says whether a right at scope is one at the scope below too. Both are
// canonical. Whole segments compare, so that /vaults/a covers nothing of /vaults/ab.
func Covers(scope, below string) bool {
	if scope == Everywhere || scope == below {
		return true
	}
	return strings.HasPrefix(below, scope+"/") && scope != ""
}

// ValidScope says whether s is a scope, in its one spelling.
func ValidScope(s string) bool {
	if s == Everywhere {
		return true
	}
	parts := strings.Split(s, "/")
	if len(parts) < 3 || len(parts) > 5 || parts[0] != "" || parts[1] != "vaults" || !keyvault.ValidVault(parts[2]) {
		return false
	}
	if len(parts) > 3 && parts[3] != string(keyvault.Keys) && parts[3] != string(keyvault.Secrets) {
		return false
	}
	return len(parts) < 5 || keyvault.ValidName(parts[4]) && parts[4] == strings.ToLower(parts[4])
}
