package release_test

import (
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/releasetest"
)

// TestRecordNamesReferences: a record says which reference values its decision
// could read, whatever the decision was.
func TestRecordNamesReferences(t *testing.T) {
	want := receipt.Digest{1, 2, 3}
	for name, d := range map[string]release.Decision{
		"allow": {Allow: true, References: want}, "deny": {References: want}, "error": {References: want},
	} {
		p := releasetest.NewPorts()
		p.Decision = d
		if name == "error" {
			p.Fail[releasetest.CallEvaluate] = release.Refuse(release.ReasonPolicyError, "x")
		}
		b, err := release.New(p.Config())
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Release(t.Context(), releasetest.Request(releasetest.RuntimeData(nil)))
		if (err == nil) != d.Allow || len(p.Records) != 1 || p.Records[0].References != want {
			t.Errorf("%s: %v, %+v", name, err, p.Records)
		}
	}
}
