package storetest

import (
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// repeats: a use of a token may come again with the same request, and with no other.
func (s *suite) repeats() {
	e := s.allow(metadata(s.insert(row("k", 1))), nil)
	e.Guard.Repeat = [32]byte{1}
	again := func(digest byte) *release.Committed {
		g, rec := *e.Guard, *e.Record
		g.Repeat = [32]byte{digest}
		return s.append(release.Entry{Record: &rec, Guard: &g})
	}
	first := again(1)
	if decided(first) != receipt.Allow || first.Record.RetryOf != 0 {
		s.Fatalf("first: %s, retry of %d", decided(first), first.Record.RetryOf)
	}
	for range 2 {
		if c := again(1); decided(c) != receipt.Allow || c.Record.RetryOf != first.Receipt.Index+1 {
			s.Errorf("the same request: %s, retry of %d, want %d", decided(c), c.Record.RetryOf, first.Receipt.Index+1)
		}
	}
	if c := again(2); decided(c) != string(release.ReasonTokenReplayed) || c.Record.RetryOf != 0 {
		s.Errorf("another request: %s", decided(c))
	}
	g, rec := *e.Guard, *e.Record
	g.Repeat = [32]byte{}
	if c := s.append(release.Entry{Record: &rec, Guard: &g}); decided(c) != string(release.ReasonNonceReplayed) {
		s.Errorf("a nonce that may not repeat: %s", decided(c))
	}
}

// rights: what gave the caller its right is read again, also that there is none.
func (s *suite) rights() {
	k := metadata(s.insert(row("k", 1)))
	put := func() {
		_, err := s.Objects.ChangeObject(s.ctx, change("roles/assign", ""), release.ObjectRoles, "p1",
			func(*release.Object) ([]byte, error) { return []byte(`{}`), nil })
		s.must(err)
	}
	with := func(generation int64) string {
		e := s.allow(k, nil)
		e.Guard.Objects = []release.ObjectState{
			{Kind: release.ObjectPrincipal, Name: "none"}, {Kind: release.ObjectRoles, Name: "p1", Generation: generation},
		}
		return decided(s.append(e))
	}
	want := func(generation int64, want string) {
		s.Helper()
		if got := with(generation); got != want {
			s.Errorf("generation %d: %s, want %s", generation, got, want)
		}
	}
	changed := string(release.ReasonStateChanged)
	want(0, receipt.Allow)
	want(1, changed)
	put()
	want(0, changed)
	want(1, receipt.Allow)
	put()
	want(1, changed)
	want(2, receipt.Allow)
}
