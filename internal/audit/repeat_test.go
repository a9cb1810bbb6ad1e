package audit

import (
	"context"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// TestRepeatEnds: a client's retry is answered for a minute after the first release,
// however often it came in between, and not by a clock that was put back.
func TestRepeatEnds(t *testing.T) {
	b := newBench(t)
	k := b.key("disk", "1", 1)
	try := func() *release.Record {
		t.Helper()
		c, err := b.log.Append(context.Background(), release.Entry{
			Record: &release.Record{Kind: receipt.KindRelease, Decision: receipt.Allow, ObjectID: k.ObjectID, Version: "1", Policy: k.Policy.Digest},
			Guard: &release.Guard{
				Nonce: [32]byte{7}, NonceExpires: time.UnixMilli(b.now.Load()).Add(time.Hour), Repeat: [32]byte{9}, Key: k,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c.Record
	}
	if r := try(); r.Decision != receipt.Allow || r.RetryOf != 0 {
		t.Fatalf("%+v", r)
	}
	for range 2 {
		b.now.Add(30_000)
		if r := try(); r.Decision != receipt.Allow || r.RetryOf == 0 {
			t.Fatalf("%+v", r)
		}
	}
	b.now.Add(1)
	if r := try(); r.Reason != string(release.ReasonTokenReplayed) {
		t.Errorf("after a minute: %+v", r)
	}
}

// TestRefusedSpendsNoToken: a release on a token that the append refuses gave nothing, so
// that the token is as good as before, and what comes after is no retry of it.
func TestRefusedSpendsNoToken(t *testing.T) {
	b := newBench(t)
	k := b.key("disk", "1", 1)
	entry := func(right int64) release.Entry {
		e := b.allow(k, nil)
		e.Guard.Nonce, e.Guard.Repeat, e.Guard.NonceExpires = [32]byte{7}, [32]byte{9}, time.UnixMilli(b.now.Load()).Add(time.Hour)
		e.Guard.ResetCount = 0
		e.Guard.Objects = []release.ObjectState{{Kind: release.ObjectRoles, Name: "p1", Generation: right}}
		return e
	}
	if r := b.append(entry(1)).Record; r.Reason != string(release.ReasonStateChanged) {
		t.Fatalf("%+v", r)
	}
	if r := b.append(entry(0)).Record; r.Decision != receipt.Allow || r.RetryOf != 0 {
		t.Errorf("after a refusal: %s %s, retry of %d", r.Decision, r.Reason, r.RetryOf)
	}
	b.now.Add(61_000)
	if r := b.append(entry(0)).Record; r.Reason != string(release.ReasonTokenReplayed) {
		t.Errorf("a minute after the release: %+v", r)
	}
}
