package api

import (
	"strings"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release/keyvault"
)

// roleWords are the words of the role API's paths, by their lower case.
var roleWords = map[string]string{"roleassignments": "roleAssignments", "roledefinitions": "roleDefinitions"}

// rolePath finds where the path of the role API begins in a path's segments, which
// are /{scope}/providers/Microsoft.Authorization/{word}[/{guid}], and gives those of
// the scope and the rest in its one spelling; ok is false for any other path.
func rolePath(segments []string) (scope, rest []string, ok bool) {
	for i, s := range segments {
		if !strings.EqualFold(s, "providers") || len(segments) < i+3 || len(segments) > i+4 || !strings.EqualFold(segments[i+1], "Microsoft.Authorization") {
			continue
		}
		word := roleWords[strings.ToLower(segments[i+2])]
		if word == "" {
			continue
		}
		return segments[:i], append([]string{"providers", "Microsoft.Authorization", word}, segments[i+3:]...), true
	}
	return nil, nil, false
}

// scopeOf splits a normalised path of the role API into the canonical scope that it
// is about, given what "/" names on the host (see route.Call.Root), and the path of
// its route. A path with a scope that is none stays as it is, and has no route.
func scopeOf(path, root string) (at, rest string) {
	scope, words, ok := rolePath(strings.Split(path[1:], "/"))
	if !ok {
		return "", path
	}
	at = root
	if len(scope) > 0 {
		below := "/" + strings.ToLower(strings.Join(scope, "/"))
		switch {
		case root != identity.Everywhere:
			at = root + below
		case strings.HasPrefix(below, "/vaults/"):
			at = below
		default:
			at = identity.Scope(keyvault.DefaultVault, "", "") + below
		}
	}
	if !identity.ValidScope(at) {
		return "", path
	}
	return at, "/" + strings.Join(words, "/")
}
