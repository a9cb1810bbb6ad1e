package tpm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/attest/tpm"
)

// TestSchemaHoldsEveryClaim checks the golden claims against the schema, and
// the schema against the page that documents it.
func TestSchemaHoldsEveryClaim(t *testing.T) {
	schema := tpm.Schema()
	files, err := filepath.Glob("testdata/claims/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var claims any
		if err := json.Unmarshal(b, &claims); err != nil {
			t.Fatal(err)
		}
		conforms(t, f, claims, schema)
	}
	m := machine(t)
	m.Log = nil
	res, err := verify(t, m)
	if err != nil {
		t.Fatal(err)
	}
	conforms(t, "without a log", map[string]any(res.Claims), schema)

	page, err := os.ReadFile("../../docs/claims.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names("", schema) {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/claims.md does not describe %s", name)
		}
	}
}

// conforms checks the keywords the schema uses.
func conforms(t *testing.T, at string, v any, schema map[string]any) {
	t.Helper()
	switch schema["type"] {
	case "object":
		o, ok := v.(map[string]any)
		if !ok || schema["additionalProperties"] != false {
			t.Fatalf("%s: %T, or an open object", at, v)
		}
		for name, member := range o {
			s, ok := schema["properties"].(map[string]any)[name].(map[string]any)
			if !ok {
				t.Errorf("%s: claim %s is not in the schema", at, name)
				continue
			}
			conforms(t, at+"."+name, member, s)
		}
	case "array":
		for _, e := range v.([]any) {
			conforms(t, at, e, schema["items"].(map[string]any))
		}
	case "string":
		if _, ok := v.(string); !ok {
			t.Errorf("%s: %T, want text", at, v)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			t.Errorf("%s: %T, want a boolean", at, v)
		}
	case "integer":
		switch v.(type) {
		case float64, int64:
		default:
			t.Errorf("%s: %T, want a number", at, v)
		}
	default:
		t.Fatalf("%s: schema type %v", at, schema["type"])
	}
}

// names lists the leaves; the PCRs are documented as one.
func names(prefix string, schema map[string]any) (out []string) {
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return []string{prefix}
	}
	for name, s := range properties {
		switch {
		case strings.HasPrefix(prefix, "tpm.pcrs."):
			return []string{prefix + `["0"]`}
		case prefix == "":
			out = append(out, names(name, s.(map[string]any))...)
		default:
			out = append(out, names(prefix+"."+name, s.(map[string]any))...)
		}
	}
	return out
}
