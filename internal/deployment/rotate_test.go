package deployment

import (
	"bytes"
	"testing"

	"github.com/openskr/openskr/release"
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
	if r, err := o.verify(t.Context()); err != nil || r.Entries != 4+3+9 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRotateRefuses(t *testing.T) {
	o := newSite(t).open(t)
	before := len(o.ring.Token)
	for _, c := range []struct {
		kind Kind
		step Step
	}{{KindToken, StepActivate}, {KindToken, StepRetire}, {KindToken, "x"}, {KindLog, StepAnnounce}, {"x", StepAnnounce}} {
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
