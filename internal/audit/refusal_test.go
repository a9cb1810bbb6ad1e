package audit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// kept gives what was kept of the denial at index.
func (b *bench) kept(index int64) (r release.Refusal) {
	b.t.Helper()
	raw, err := b.log.Refusal(context.Background(), index)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		b.t.Fatal(err)
	}
	return r
}

// TestGuardSaysWhy: a denial that the append made keeps the input document and
// says what it found.
func TestGuardSaysWhy(t *testing.T) {
	b := newBench(t)
	k := b.key("disk", "1", 1)
	m := b.machine("m", release.MachineApproved)
	first := b.append(b.allow(k, m))
	if _, err := b.log.Refusal(context.Background(), first.Receipt.Index); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("refusal of an allow: %v", err)
	}
	again := b.allow(k, m)
	again.Guard.Nonce = first.Record.Nonce
	rolled := b.allow(k, m)
	rolled.Guard.ResetCount = 6
	otherPolicy := *k
	otherPolicy.Policy.Digest = sha256.Sum256([]byte("old"))
	older := *k
	older.Generation = 9
	gone := *m
	gone.Epoch = 7
	for _, c := range []struct {
		name          string
		entry         release.Entry
		want          release.Reason
		expected, got string
	}{
		{"nonce", again, release.ReasonNonceReplayed, "", ""},
		{"rollback", rolled, release.ReasonTPMRollback, "resetCount 7 or more", "resetCount 6"},
		{"policy", b.allow(&otherPolicy, m), release.ReasonStateChanged, "", ""},
		{"generation", b.allow(&older, m), release.ReasonStateChanged, "9", "1"},
		{"machine", b.allow(k, &gone), release.ReasonStateChanged, "generation 7", "generation 1"},
	} {
		done := b.append(c.entry)
		r := b.kept(done.Receipt.Index)
		if done.Record.Reason != string(c.want) || r.Check != c.want || r.Detail == "" || strings.HasPrefix(r.Detail, string(c.want)) {
			t.Errorf("%s: %s, %+v", c.name, done.Record.Reason, r)
		}
		if c.name == "policy" { // digests
			c.expected, c.got = receipt.Digest(otherPolicy.Policy.Digest).String(), receipt.Digest(k.Policy.Digest).String()
		}
		if r.Expected != c.expected || r.Got != c.got {
			t.Errorf("%s: expected %q, got %q", c.name, r.Expected, r.Got)
		}
		if in, err := b.log.Input(context.Background(), done.Receipt.Index); err != nil || string(in) != string(c.entry.Input) {
			t.Errorf("%s: input %s, %v", c.name, in, err)
		}
	}
	b.now.Add(-time.Hour.Milliseconds())
	done := b.append(b.allow(k, m))
	if r := b.kept(done.Receipt.Index); r.Check != release.ReasonClockUntrusted || !strings.Contains(r.Detail, "openskr clock accept") {
		t.Errorf("clock: %+v", r)
	}
}

// TestDenialKeepsBoth: input and refusal are apart, and either may be missing.
func TestDenialKeepsBoth(t *testing.T) {
	b := newBench(t)
	deny := func(e release.Entry) int64 {
		t.Helper()
		e.Record = &release.Record{Kind: receipt.KindRelease, Decision: receipt.Deny, Reason: string(attest.CheckSignature)}
		return b.append(e).Receipt.Index
	}
	why := &attest.Rejection{Check: attest.CheckSignature, Err: errors.New("bad"), Expected: "e", Got: "g"}
	n := deny(release.Entry{Refusal: release.RefusalOf(why)})
	if r := b.kept(n); r != (release.Refusal{Check: release.Reason(attest.CheckSignature), Detail: "bad", Expected: "e", Got: "g"}) {
		t.Errorf("%+v", r)
	}
	if _, err := b.log.Input(context.Background(), n); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("input where there was none: %v", err)
	}
	n = deny(release.Entry{Input: []byte("{}")})
	if _, err := b.log.Refusal(context.Background(), n); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("refusal where there was none: %v", err)
	}
}

// TestPoliciesAreKept: the policy of an older decision is there when the key has
// another one, and a kept one that was edited is refused.
func TestPoliciesAreKept(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	first := keyRow("disk", "1", 1)
	b.key("disk", "1", 1)
	next := *first
	next.Generation = 2
	next.Policy.Data = []byte("package release # again")
	next.Policy.Digest = sha256.Sum256(next.Policy.Data)
	update := func(tx Tx, _ int64) error { return tx.Update(&next, 1) }
	if _, err := b.log.Change(ctx, &release.Record{Operation: "keys/update"}, func(tx Tx, i int64) error {
		return errors.Join(update(tx, i), errors.New("stop"))
	}); err == nil {
		t.Fatal("no failure")
	}
	if _, err := b.log.Policy(ctx, next.Policy.Digest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("policy of a change that failed: %v", err)
	}
	if _, err := b.log.Change(ctx, &release.Record{Operation: "keys/update"}, update); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*keyvault.Row{first, &next} {
		p, err := b.log.Policy(ctx, r.Policy.Digest)
		if err != nil || string(p.Data) != string(r.Policy.Data) || p.ContentType != release.ContentTypeRego {
			t.Errorf("%+v, %v", p, err)
		}
	}
	b.edit(`UPDATE policies SET data = 'package evil'`)
	if _, err := b.log.Policy(ctx, first.Policy.Digest); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("edited policy: %v", err)
	}
}

// TestRingTellsAll: the operator sees what a stranger was not told.
func TestRingTellsAll(t *testing.T) {
	b := newBench(t)
	b.log.Refused(release.Refuse(release.ReasonAudience, "audience %q is not this deployment", "x"), "192.0.2.0/24", "c1")
	b.log.Refused(&attest.Rejection{Check: attest.CheckSignature, Err: errors.New("bad"), Expected: "e", Got: "g"}, "192.0.2.0/24", "c2")
	raw, err := json.Marshal(b.log.Ring())
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"time":"2026-09-21T14:13:20Z","source":"192.0.2.0/24","correlation":"c1","check":"audience_mismatch","detail":"audience \"x\" is not this deployment"},` +
		`{"time":"2026-09-21T14:13:20Z","source":"192.0.2.0/24","correlation":"c2","check":"` + string(attest.CheckSignature) + `","detail":"bad","expected":"e","got":"g"}]`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
}
