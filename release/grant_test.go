package release

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/release/receipt"
)

func allowed() (*Committed, *Key) {
	k := &Key{Ref: KeyRef{Vault: "v", Name: "k", Version: "1"}, ObjectID: "o", Policy: ReleasePolicy{Digest: [32]byte{1}}}
	return &Committed{
		Record: &Record{
			Kind: receipt.KindRelease, Decision: receipt.Allow, ObjectID: "o", Version: "1", Policy: receipt.Digest{1},
		}, Receipt: &Receipt{}, At: time.Now(),
	}, k
}

func TestGrantNeedsAnAllow(t *testing.T) {
	for name, spoil := range map[string]func(c *Committed, k *Key){
		"denied":         func(c *Committed, _ *Key) { c.Record.Decision = receipt.Deny },
		"undecided":      func(c *Committed, _ *Key) { c.Record.Decision = "" },
		"a change":       func(c *Committed, _ *Key) { c.Record.Kind = receipt.KindChange },
		"no receipt":     func(c *Committed, _ *Key) { c.Receipt = nil },
		"other object":   func(_ *Committed, k *Key) { k.ObjectID = "p" },
		"other version":  func(_ *Committed, k *Key) { k.Ref.Version = "2" },
		"other policy":   func(_ *Committed, k *Key) { k.Policy.Digest = [32]byte{2} },
		"a stale record": func(c *Committed, _ *Key) { c.Record.Version = "" },
		"no grant spent": func(c *Committed, _ *Key) { c.Record.Detail = stated("format") },
	} {
		c, k := allowed()
		spoil(c, k)
		if g, err := grant(c, k, time.Now); err == nil || g != nil {
			t.Errorf("%s: granted", name)
		}
	}
	_, k := allowed()
	if _, err := grant(nil, k, time.Now); err == nil {
		t.Error("granted on nothing")
	}
}

func TestZeroGrant(t *testing.T) {
	var none *Grant
	for _, g := range []*Grant{none, {}} {
		if k, err := g.Use(); err == nil || k != nil {
			t.Error("a grant that nobody made opens")
		}
	}
}

func TestGrantLife(t *testing.T) {
	for _, c := range []struct {
		age time.Duration
		ok  bool
	}{{0, true}, {GrantLife, true}, {GrantLife + 1, false}, {time.Hour, false}} {
		synctest.Test(t, func(t *testing.T) {
			done, k := allowed()
			g, err := grant(done, k, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.age) // of the bubble's clock
			if got, err := g.Use(); (err == nil) != c.ok || c.ok && got != k {
				t.Errorf("after %v: %v", c.age, err)
			}
			if _, err := g.Use(); err == nil {
				t.Error("a grant works twice")
			}
		})
	}
	done, k := allowed()
	g, err := grant(done, k, func() time.Time { return done.At.Add(-time.Second) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Use(); err == nil {
		t.Error("a grant of the future opens")
	}
}

func TestGrantOnceInParallel(t *testing.T) {
	done, k := allowed()
	g, err := grant(done, k, func() time.Time { return done.At })
	if err != nil {
		t.Fatal(err)
	}
	var used atomic.Int32
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := g.Use(); err == nil {
				used.Add(1)
			}
		})
	}
	wg.Wait()
	if used.Load() != 1 {
		t.Errorf("opened %d times", used.Load())
	}
}

func TestTokenGrantNeedsAnAllow(t *testing.T) {
	type parts struct {
		done  *Committed
		p     *proven
		roles []AttestedRole
	}
	good := func() parts {
		return parts{
			&Committed{Record: &Record{
				Kind: receipt.KindToken, Decision: receipt.Allow, Vault: "v", Correlation: "c", Caller: &receipt.Caller{ID: "m"},
			}, Receipt: &Receipt{}, At: time.Now()},
			&proven{ref: KeyRef{Vault: "v"}, machine: &Machine{ID: "m"}, req: Request{Correlation: "c"}},
			[]AttestedRole{{Name: "r"}},
		}
	}
	for name, spoil := range map[string]func(*parts){
		"nothing":       func(x *parts) { x.done = nil },
		"no receipt":    func(x *parts) { x.done.Receipt = nil },
		"denied":        func(x *parts) { x.done.Record.Decision = receipt.Deny },
		"a release":     func(x *parts) { x.done.Record.Kind = receipt.KindRelease },
		"other machine": func(x *parts) { x.p.machine.ID = "n" },
		"other vault":   func(x *parts) { x.p.ref.Vault = "w" },
		"other request": func(x *parts) { x.p.req.Correlation = "d" },
		"no role":       func(x *parts) { x.roles = nil },
	} {
		x := good()
		spoil(&x)
		if g, err := tokenGrant(x.done, x.p, x.roles, time.Now); err == nil || g != nil {
			t.Errorf("%s: granted", name)
		}
	}
	x := good()
	g, err := tokenGrant(x.done, x.p, x.roles, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Use(); err != nil {
		t.Error(err)
	}
	if _, err := g.Use(); err == nil {
		t.Error("used twice")
	}
}
