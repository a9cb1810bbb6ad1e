package dcap_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/schema"
	"github.com/openskr/openskr/attest/sgx"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

// TestSchemaHoldsEveryClaim checks claims against the schema of their type, and that
// both can be asked by one policy.
func TestSchemaHoldsEveryClaim(t *testing.T) {
	p := platform(t, 1, func(p *simulated.Platform) {
		p.TD.Version, p.Enclave.Flags, p.Collateral.Advisories = 5, 1<<7, []string{"INTEL-SA-1"}
	})
	for _, e := range []attest.Endorser{p, nil} {
		vt, err := tdx.New(tdx.Config{Roots: p.Roots(), Endorser: e})
		if err != nil {
			t.Fatal(err)
		}
		res, _, rej := vt.Appraise(t.Context(), tdQuote(t, p), nil, at())
		if rej != nil {
			t.Fatal(rej)
		}
		conforms(t, "tdx", map[string]any(res.Claims), tdx.Schema())
		vs, err := sgx.New(sgx.Config{Roots: p.Roots(), Endorser: e})
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Appendf(nil, `{"type":"sgx","quote":%q}`, text(t, sgxQuote(t, p)))
		enclave, err := vs.Verify(t.Context(), attest.Evidence{Type: attest.TypeSGX, Body: body}, attest.Expect{At: at(), Unbound: true})
		if err != nil {
			t.Fatal(err)
		}
		conforms(t, "sgx", map[string]any(enclave.Claims), sgx.Schema())
	}
	schema.Union(tdx.Schema(), sgx.Schema())
	conforms(t, "tcb", (&dcap.TCB{Status: attest.TCBUnknown}).Claims(), dcap.Schema())
}

func text(t *testing.T, b attest.Bytes) string {
	t.Helper()
	s, err := b.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

// conforms checks the keywords that schemas here use, and that a claim has one of the
// types that attest.Claims allows.
func conforms(t *testing.T, at string, v any, schema map[string]any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for name, member := range v {
			s, ok := properties[name].(map[string]any)
			if !ok {
				t.Errorf("%s.%s is not in the schema", at, name)
				continue
			}
			conforms(t, at+"."+name, member, s)
		}
	case []any:
		for i, item := range v {
			conforms(t, fmt.Sprint(at, i), item, schema["items"].(map[string]any))
		}
	case string, bool, int64:
		want := map[string]string{"string": "string", "bool": "boolean", "int64": "integer"}[fmt.Sprintf("%T", v)]
		if schema["type"] != want {
			j, _ := json.Marshal(schema)
			t.Errorf("%s is %T, schema %s", at, v, j)
		}
	default:
		t.Errorf("%s is %T", at, v)
	}
}
