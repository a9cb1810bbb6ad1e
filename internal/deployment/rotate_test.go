package deployment

import (
	"bytes"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// reopened is the deployment as the next start sees it.
func reopened(t *testing.T, s site, o *opened) *opened {
	t.Helper()
	if err := o.close(); err != nil {
		t.Fatal(err)
	}
	return s.open(t)
}

func TestRotate(t *testing.T) {
	s := newSite(t)
	o := s.open(t)
	old := s.result.Trust.ResponseKeys[0]
	take := func(step Step, keys int) [][]byte {
		t.Helper()
		if err := o.Rotate(t.Context(), record("x"), KindResponse, step); err != nil {
			t.Fatal(err)
		}
		o = reopened(t, s, o)
		trust, err := o.Trust(nil)
		if err != nil || len(trust.ResponseKeys) != keys {
			t.Fatalf("%s: %d keys, %v", step, len(trust.ResponseKeys), err)
		}
		return trust.ResponseKeys
	}
	announced := take(StepAnnounce, 2)
	if !bytes.Equal(announced[0], old) {
		t.Error("the announced key signs already")
	}
	if active := take(StepActivate, 2); !bytes.Equal(active[0], announced[1]) || !bytes.Equal(active[1], old) {
		t.Error("the new key does not sign, or the old one is not accepted")
	}
	if left := take(StepRetire, 1); !bytes.Equal(left[0], announced[1]) {
		t.Error("the wrong key was forgotten")
	}
	for _, kind := range []Kind{KindToken, KindAKCA, KindTLSCA} {
		for _, step := range []Step{StepAnnounce, StepActivate, StepRetire} {
			if err := o.Rotate(t.Context(), record("x"), kind, step); err != nil {
				t.Errorf("%s %s: %v", kind, step, err)
			}
		}
	}
	for i, step := range []Step{StepAnnounce, StepActivate, StepRetire} {
		vkeys := o.LogVKeys
		if err := o.Rotate(t.Context(), record("x"), KindLog, step); err != nil {
			t.Fatalf("log %s: %v", step, err)
		}
		// The record of the step was signed by every key that was listed before it.
		for _, v := range vkeys {
			if _, err := receipt.OpenCheckpoint([]byte(o.log.Checkpoint()), o.Origin, v); err != nil {
				t.Errorf("log %s: checkpoint under a listed key: %v", step, err)
			}
		}
		o = reopened(t, s, o)
		if want := []int{2, 2, 1}[i]; len(o.LogVKeys) != want {
			t.Errorf("log %s: %d keys", step, len(o.LogVKeys))
		}
	}
	if o.LogVKeys[0] == s.result.Trust.Log.VKeys[0] {
		t.Error("the old key of the log still signs")
	}
	if r, err := o.verify(t.Context()); err != nil || r.Entries != 5+3+9+3 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRotateRefuses(t *testing.T) {
	o := newSite(t).open(t)
	before := len(o.ring.Token)
	for _, c := range []struct {
		kind Kind
		step Step
	}{{KindToken, StepActivate}, {KindToken, StepRetire}, {KindToken, "x"}, {"x", StepAnnounce}} {
		if err := o.Rotate(t.Context(), record("x"), c.kind, c.step); release.ReasonOf(err) != release.ReasonConflict {
			t.Errorf("%v: %v", c, err)
		}
	}
	if err := o.Rotate(t.Context(), record("x"), KindToken, StepAnnounce); err != nil {
		t.Fatal(err)
	}
	if err := o.Rotate(t.Context(), record("x"), KindToken, StepAnnounce); err == nil {
		t.Error("a third key")
	}
	if len(o.ring.Token) != before+1 {
		t.Errorf("%d keys", len(o.ring.Token))
	}
}
