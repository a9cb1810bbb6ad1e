// Package attesttest is the suite that every Verifier must pass: whatever is
// done to sound evidence, the answer is an *attest.Rejection, never a Result, a
// panic or another kind of error.
package attesttest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
)

// Case is sound evidence and what it was made for.
type Case struct {
	Verifier attest.Verifier
	Evidence attest.Evidence
	Expect   attest.Expect
	// Strangers are verifiers of the same type, by what they trust instead. Each
	// must refuse the evidence.
	Strangers map[string]attest.Verifier
	// NotBefore and NotAfter are the period of the evidence's chain.
	NotBefore, NotAfter time.Time
	// Stride changes every n-th byte of the body only, and cuts there only, for
	// bodies too large to try in full. 0 means 1.
	Stride int
	// Optional are the members of the body that may be left out, or empty: what they prove
	// is then not proven.
	Optional []string
	// Harmless says whether got, from a body with one bit flipped, promises nothing
	// that sound does not. Nil: no changed body may be accepted. Only a part that no
	// signature is meant to cover, such as an event log's text, justifies it.
	Harmless func(sound, got *attest.Result) bool
}

// Run tries c. With -short it flips no bits.
func Run(t *testing.T, c Case) {
	t.Helper()
	if c.Stride == 0 {
		c.Stride = 1
	}
	sound, err := c.Verifier.Verify(t.Context(), c.Evidence, c.Expect)
	if err != nil {
		t.Fatalf("the evidence given as sound is refused: %v", err)
	}
	t.Run("evidence is not changed", func(t *testing.T) { c.unchanged(t) })
	t.Run("concurrent", func(t *testing.T) { c.concurrent(t) })
	t.Run("bits flipped", func(t *testing.T) { c.flip(t, sound) })
	t.Run("cut", func(t *testing.T) { c.cut(t) })
	t.Run("extended", func(t *testing.T) { c.extend(t) })
	t.Run("left out", func(t *testing.T) { c.leaveOut(t) })
	t.Run("blank", func(t *testing.T) { c.blank(t, sound) })
	t.Run("bound to something else", func(t *testing.T) { c.rebind(t) })
	t.Run("another time", func(t *testing.T) { c.otherTime(t) })
	for name, v := range c.Strangers {
		t.Run("trusts only "+name, func(t *testing.T) { refused(t, v, c.Evidence, c.Expect, name) })
	}
}

// refused fails unless v gives a Rejection.
func refused(t *testing.T, v attest.Verifier, ev attest.Evidence, want attest.Expect, what string) {
	t.Helper()
	if res, err := try(t, v, ev, want, what); err == nil {
		t.Errorf("%s: accepted: %+v", what, res)
	}
}

// try verifies, and fails on a panic or an error that is not a Rejection.
func try(t *testing.T, v attest.Verifier, ev attest.Evidence, want attest.Expect, what string) (res *attest.Result, err error) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%s: panic: %v", what, p)
		}
	}()
	res, err = v.Verify(t.Context(), ev, want)
	var r *attest.Rejection
	switch {
	case err != nil && !errors.As(err, &r):
		t.Fatalf("%s: error %v is not a Rejection", what, err)
	case err != nil && (r == nil || r.Check == "" || r.Check == attest.CheckInternal):
		t.Fatalf("%s: rejection without a check: %v", what, err)
	case err != nil && res != nil:
		t.Fatalf("%s: a Result beside the error %v", what, err)
	case err == nil && res == nil:
		t.Fatalf("%s: neither Result nor error", what)
	}
	return res, err
}

// part is one byte string of the evidence.
type part struct {
	name   string
	stride int
	get    func(*attest.Evidence) *[]byte
}

func (c Case) parts() []part {
	parts := []part{
		{"body", c.Stride, func(e *attest.Evidence) *[]byte { return &e.Body }},
		{"runtime data", 1, func(e *attest.Evidence) *[]byte { return &e.RuntimeData }},
	}
	for i, e := range c.Evidence.Endorsements {
		parts = append(parts, part{fmt.Sprintf("endorsement %d (%s)", i, e.Type), 1, func(e *attest.Evidence) *[]byte {
			return (*[]byte)(&e.Endorsements[i].Data)
		}})
	}
	return parts
}

func clone(e attest.Evidence) attest.Evidence {
	e.Body, e.RuntimeData = bytes.Clone(e.Body), bytes.Clone(e.RuntimeData)
	e.Endorsements = slices.Clone(e.Endorsements)
	for i := range e.Endorsements {
		e.Endorsements[i].Data = bytes.Clone(e.Endorsements[i].Data)
	}
	return e
}

func (c Case) unchanged(t *testing.T) {
	before := clone(c.Evidence)
	if _, err := c.Verifier.Verify(t.Context(), c.Evidence, c.Expect); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.parts() {
		if !bytes.Equal(*p.get(&before), *p.get(&c.Evidence)) {
			t.Errorf("%s was changed", p.name)
		}
	}
}

func (c Case) concurrent(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Verifier.Verify(t.Context(), c.Evidence, c.Expect); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func (c Case) flip(t *testing.T, sound *attest.Result) {
	if testing.Short() {
		t.Skip("goes over many cases on one goroutine: nothing for the race detector")
	}
	for _, p := range c.parts() {
		ev := clone(c.Evidence)
		b := *p.get(&ev)
		for i := 0; i < len(b); i += p.stride {
			for bit := range 8 {
				b[i] ^= 1 << bit
				res, err := try(t, c.Verifier, ev, c.Expect, fmt.Sprintf("%s with bit %d of byte %d flipped", p.name, bit, i))
				if err == nil && (p.name != "body" || c.Harmless == nil || !c.Harmless(sound, res)) {
					t.Errorf("%s: accepted with bit %d of byte %d flipped", p.name, bit, i)
				}
				b[i] ^= 1 << bit
			}
		}
	}
}

func (c Case) cut(t *testing.T) {
	for _, p := range c.parts() {
		whole := *p.get(&c.Evidence)
		for n := 0; n < len(whole); n += p.stride {
			ev := clone(c.Evidence)
			*p.get(&ev) = whole[:n:n]
			refused(t, c.Verifier, ev, c.Expect, fmt.Sprintf("%s cut to %d bytes", p.name, n))
		}
	}
}

func (c Case) extend(t *testing.T) {
	for _, p := range c.parts() {
		for _, tail := range [][]byte{{0}, {'x'}, {0xff}, []byte("{}"), make([]byte, 1<<20), *p.get(&c.Evidence)} {
			ev := clone(c.Evidence)
			*p.get(&ev) = append(*p.get(&ev), tail...)
			refused(t, c.Verifier, ev, c.Expect, fmt.Sprintf("%s with %d bytes more", p.name, len(tail)))
		}
	}
}

func (c Case) leaveOut(t *testing.T) {
	ev := clone(c.Evidence)
	ev.Endorsements = nil
	if len(c.Evidence.Endorsements) > 0 {
		refused(t, c.Verifier, ev, c.Expect, "no endorsements")
	}
	refused(t, c.Verifier, attest.Evidence{Type: c.Evidence.Type}, c.Expect, "nothing but the type")
	for _, typ := range []attest.Type{"", "none", "sample", c.Evidence.Type.Simulated(), c.Evidence.Type + "\x00"} {
		ev := clone(c.Evidence)
		ev.Type = typ
		refused(t, c.Verifier, ev, c.Expect, fmt.Sprintf("type %q", typ))
	}
}

func (c Case) rebind(t *testing.T) {
	ev := clone(c.Evidence)
	ev.RuntimeData = []byte(`{}`)
	refused(t, c.Verifier, ev, c.Expect, "other runtime data")
	want := c.Expect
	want.SignedData = []byte("something else")
	refused(t, c.Verifier, c.Evidence, want, "other signed data")
	want.SignedData = []byte{}
	refused(t, c.Verifier, c.Evidence, want, "empty signed data")
}

func (c Case) otherTime(t *testing.T) {
	for what, at := range map[string]time.Time{
		"a second early": c.NotBefore.Add(-time.Second), "a second late": c.NotAfter.Add(time.Second),
		"the epoch": time.Unix(0, 0), "the year 9999": time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		want := c.Expect
		want.At = at
		refused(t, c.Verifier, c.Evidence, want, what)
	}
}
