package azurecvm_test

import (
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
)

// FuzzEvidence sends bodies through the whole verifier: only the sound ones pass.
func FuzzEvidence(f *testing.F) {
	p := platform(f, 1)
	ev := genuine(f, p, format.HCLSNP)
	v := trusting(f, p)
	f.Add(ev.Body)
	f.Add([]byte(`{"type":"simulated-azure-cvm","hcl":"","tpm":{"type":"tpm","quote":"","signature":"","ak":"","pcrs":{}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e := ev
		e.Body = body
		res, err := v.Verify(t.Context(), e, attest.Expect{At: now})
		if err == nil && (!res.Facts.Chain || !res.Facts.Signature || !res.Facts.Bound) {
			t.Fatalf("accepted with %+v", res.Facts)
		}
	})
}
