package audit

import (
	"context"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// operation is an entry for the use of a key that nothing speaks against.
func operation(k *release.Key) release.Entry {
	return release.Entry{
		Record: &release.Record{
			Kind: receipt.KindOperation, Decision: receipt.Allow, Operation: "keys/sign", ObjectID: k.ObjectID, Version: k.Ref.Version, Generation: k.Generation,
		},
		Guard: &release.Guard{Key: k, Operation: true},
	}
}

// TestOperation: a key that may not leave may be used, as long as it is what was
// read; two uses need no nonce that tells them apart.
func TestOperation(t *testing.T) {
	b := newBench(t)
	kept := func(r *keyvault.Row) { r.Attributes.Exportable = false }
	k := b.key("k", "1", 1, kept)
	for range 2 {
		if c := b.append(operation(k)); c.Record.Decision != receipt.Allow || c.Record.Kind != receipt.KindOperation {
			t.Fatalf("%+v", c.Record)
		}
	}
	asRelease := operation(k)
	asRelease.Record.Kind, asRelease.Guard.Operation, asRelease.Guard.Nonce = receipt.KindRelease, false, [32]byte{1}
	if c := b.append(asRelease); c.Record.Reason != string(release.ReasonNotExportable) {
		t.Errorf("a key that may not leave is released: %+v", c.Record)
	}
	older, renamed := *k, *k
	older.Generation, renamed.ObjectID = 9, "id-other"
	latest := operation(k)
	latest.Guard.Latest = true
	b.key("k", "2", 2, kept)
	off := b.key("off", "1", 1, kept, func(r *keyvault.Row) { r.Attributes.Enabled = false })
	off.Attributes.Enabled = true // as it was when it was read
	over := b.key("over", "1", 1, kept, func(r *keyvault.Row) { r.Attributes.Expires = b.now.Load() / 1000 })
	early := b.key("early", "1", 1, kept, func(r *keyvault.Row) { r.Attributes.NotBefore = b.now.Load()/1000 + 60 })
	gone := *k
	gone.Ref.Name = "gone"
	for name, c := range map[string]struct {
		entry release.Entry
		want  release.Reason
	}{
		"generation": {operation(&older), release.ReasonStateChanged}, "object": {operation(&renamed), release.ReasonStateChanged},
		"latest": {latest, release.ReasonStateChanged}, "gone": {operation(&gone), release.ReasonStateChanged},
		"disabled": {operation(off), release.ReasonKeyDisabled}, "expired": {operation(over), release.ReasonKeyExpired},
		"early": {operation(early), release.ReasonKeyNotYetValid},
	} {
		if r := b.append(c.entry).Record; r.Decision != receipt.Deny || r.Reason != string(c.want) {
			t.Errorf("%s: %s %s, want %s", name, r.Decision, r.Reason, c.want)
		}
	}
	b.now.Add(-int64(time.Hour / time.Millisecond))
	if r := b.append(operation(k)).Record; r.Reason != string(release.ReasonClockUntrusted) {
		t.Errorf("under a clock that stepped back: %s %s", r.Decision, r.Reason)
	}
}

func TestOperationNeedsItsGuard(t *testing.T) {
	b := newBench(t)
	k := b.key("k", "1", 1)
	for name, edit := range map[string]func(*release.Entry){
		"no guard": func(e *release.Entry) { e.Guard = nil }, "no key": func(e *release.Entry) { e.Guard.Key = nil },
		"a release's": func(e *release.Entry) { e.Guard.Operation = false }, "no decision": func(e *release.Entry) { e.Record.Decision = "" },
	} {
		e := operation(k)
		edit(&e)
		if _, err := b.log.Append(context.Background(), e); release.ReasonOf(err) != release.ReasonInternal || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
