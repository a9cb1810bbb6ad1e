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
