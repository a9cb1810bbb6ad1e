package attesttest

import (
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
)

// Claims fails where claims are not of a schema of package attest/schema: a member that
// a closed object does not have, or a value of another type. It gives the paths of all
// members, such as "snp.tcb.reported"; items of an array have that of the array and "[]".
func Claims(t testing.TB, claims attest.Claims, schema map[string]any) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	conforms(t, "", map[string]any(claims), schema, seen)
	return seen
}

func conforms(t testing.TB, path string, v any, schema map[string]any, seen map[string]bool) {
	t.Helper()
	seen[path] = true
	kind := ""
	switch v := v.(type) {
	case string:
		kind = "string"
	case bool:
		kind = "boolean"
	case int64, uint64:
		kind = "integer"
	case []any:
		kind = "array"
		items, _ := schema["items"].(map[string]any)
		for _, item := range v {
			conforms(t, path+"[]", item, items, seen)
		}
	case map[string]any:
		kind = "object"
		properties, _ := schema["properties"].(map[string]any)
		for name, member := range v {
			at := strings.TrimPrefix(path+"."+name, ".")
			if sub, ok := properties[name].(map[string]any); ok {
				conforms(t, at, member, sub, seen)
			} else if schema["additionalProperties"] == false {
				t.Errorf("claim %s is not in the schema", at)
			}
		}
	}
	if schema["type"] != kind {
		t.Errorf("claim %s is a %T, the schema says %v", path, v, schema["type"])
	}
}
