package release_test

import (
	"context"
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

// oneBroken is a policy of two that cannot be evaluated, after one that can.
type oneBroken struct {
	release.Decision
	asked int
}

func (o *oneBroken) Evaluate(context.Context, release.ReleasePolicy, *release.Input) (release.Decision, error) {
	if o.asked++; o.asked == 1 {
		return o.Decision, nil
	}
	return release.Decision{Reason: release.ReasonPolicyError}, release.Refuse(release.ReasonPolicyError, "it does not compile")
}

// TestTokenNamesReferences: a broken role takes nothing from what the record says of the
// others.
func TestTokenNamesReferences(t *testing.T) {
	want := receipt.Digest{1, 2, 3}
	m := releasetest.NewMinter()
	c := m.Config()
	c.Policy = &oneBroken{Decision: release.Decision{Allow: true, References: want}}
	b, err := release.New(c)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := release.NewTokenBroker(b, m.TokenConfig())
	if err != nil {
		t.Fatal(err)
	}
	_, err = tokens.Token(t.Context(), forVault(nil))
	if err != nil || len(m.Records) != 1 || m.Records[0].References != want {
		t.Errorf("%v, %+v", err, m.Records)
	}
}
