package dcap_test

import (
	"fmt"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
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
		attesttest.Claims(t, res.Claims, tdx.Schema())
		vs, err := sgx.New(sgx.Config{Roots: p.Roots(), Endorser: e})
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Appendf(nil, `{"type":"sgx","quote":%q}`, text(t, sgxQuote(t, p)))
		enclave, err := vs.Verify(t.Context(), attest.Evidence{Type: attest.TypeSGX, Body: body}, attest.Expect{At: at(), Unbound: true})
		if err != nil {
			t.Fatal(err)
		}
		attesttest.Claims(t, enclave.Claims, sgx.Schema())
	}
	schema.Union(tdx.Schema(), sgx.Schema())
	attesttest.Claims(t, (&dcap.TCB{Status: attest.TCBUnknown}).Claims(), dcap.Schema())
}

func text(t *testing.T, b attest.Bytes) string {
	t.Helper()
	s, err := b.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}
