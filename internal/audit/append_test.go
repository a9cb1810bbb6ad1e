package audit

import (
	"context"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

func TestEntriesThatAreRefused(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	size := b.log.Size()
	for name, c := range map[string]struct {
		edit func(*release.Entry)
		want release.Reason
	}{
		"no record":       {func(e *release.Entry) { e.Record = nil }, release.ReasonInternal},
		"no guard":        {func(e *release.Entry) { e.Guard = nil }, release.ReasonInternal},
		"no key":          {func(e *release.Entry) { e.Guard.Key = nil }, release.ReasonInternal},
		"no nonce":        {func(e *release.Entry) { e.Guard.Nonce = [32]byte{} }, release.ReasonInternal},
		"no decision":     {func(e *release.Entry) { e.Record.Decision = "" }, release.ReasonInternal},
		"huge record":     {func(e *release.Entry) { e.Record.Enc = strings.Repeat("x", 1<<16) }, release.ReasonTooLarge},
		"huge input":      {func(e *release.Entry) { e.Input = make([]byte, maxInput+1) }, release.ReasonTooLarge},
		"another genesis": {func(e *release.Entry) { e.Record.Kind = receipt.KindGenesis }, release.ReasonConflict},
	} {
		e := b.allow(k, m)
		c.edit(&e)
		if _, err := b.log.Append(context.Background(), e); release.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	huge := &release.Record{Operation: strings.Repeat("x", 1<<16)}
	if _, err := b.log.Change(context.Background(), huge, func(tx Tx, _ int64) error { return tx.Insert(keyRow("x", "1", 1)) }); release.ReasonOf(err) != release.ReasonTooLarge {
		t.Errorf("huge change: %v", err)
	}
	if _, err := b.st.Row(context.Background(), "v", keyvault.Keys, "x", ""); err == nil {
		t.Error("a change without a record left its row")
	}
	if b.log.Size() != size {
		t.Errorf("%d entries were written", b.log.Size()-size)
	}
}

func TestLargestRecord(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	e := b.allow(k, m)
	leaf, err := e.Record.Encode()
	if err != nil {
		t.Fatal(err)
	}
	e.Record.Correlation += strings.Repeat("x", maxLeaf-fillRoom-len(leaf))
	c := b.append(e)
	if _, err := c.Receipt.Verify(origin, b.vkey); err != nil {
		t.Error(err)
	}
	if len(c.Receipt.Leaf) > maxLeaf {
		t.Errorf("leaf of %d bytes does not fit tlog-tiles", len(c.Receipt.Leaf))
	}
}

func TestNothingBeforeTheGenesis(t *testing.T) {
	b := &bench{t: t, path: t.TempDir() + "/data/openskr.db"}
	b.open()
	if _, err := b.log.Change(context.Background(), &release.Record{}, func(Tx, int64) error { return nil }); err == nil {
		t.Error("a change is the first record")
	}
	b.genesis()
	_, err := b.log.Genesis(context.Background(), &release.Record{}, func(Tx, int64) error { return nil })
	if release.ReasonOf(err) != release.ReasonConflict {
		t.Errorf("second genesis: %v", err)
	}
	b.close()
	if _, err := b.log.Append(context.Background(), release.Entry{Record: &release.Record{Kind: receipt.KindChange}}); release.ReasonOf(err) != release.ReasonLogUnavailable {
		t.Errorf("closed log: %v", err)
	}
}

// TestAnotherWriter has the log moved under a broker that lost its lock: its
// commit must not fork the log.
func TestAnotherWriter(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	b.edit(`UPDATE log_checkpoint SET size = size + 1`)
	if _, err := b.log.Append(context.Background(), b.allow(k, m)); release.ReasonOf(err) != release.ReasonLogUnavailable {
		t.Errorf("appended to a log that moved: %v", err)
	}
	if _, err := b.log.Append(context.Background(), b.allow(k, m)); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("and again: %v", err)
	}
}

// TestLargestInput: what a release keeps always fits (I2).
func TestLargestInput(t *testing.T) {
	b := newBench(t)
	e := b.allow(b.key("disk", "1", 1), b.machine("m", release.MachineApproved))
	e.Input = make([]byte, release.MaxInput)
	if c := b.append(e); c.Record.Decision != receipt.Allow {
		t.Error(c.Record.Reason)
	}
}

func TestInputsAreKept(t *testing.T) {
	b := newBench(t)
	e := b.allow(b.key("disk", "1", 1), b.machine("m", release.MachineApproved))
	c := b.append(e)
	got, err := b.log.Input(context.Background(), c.Receipt.Index)
	if err != nil || string(got) != string(e.Input) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestWrongKeyOrOrigin(t *testing.T) {
	b := newBench(t)
	b.close()
	for name, edit := range map[string]func(*Config){
		"origin": func(c *Config) { c.Origin = "log.example/other" },
		"key": func(c *Config) {
			skey, vkey, err := note.GenerateKey(strings.NewReader(strings.Repeat("y", 64)), "log.example")
			if err != nil {
				t.Fatal(err)
			}
			signer, err := note.NewSigner(skey)
			if err != nil {
				t.Fatal(err)
			}
			c.Signers, c.VKeys = []note.Signer{signer}, []string{vkey}
		},
	} {
		if err := b.tryOpen(edit); release.ReasonOf(err) != release.ReasonIntegrity {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.open()
	if _, err := sqlite.Open(context.Background(), b.path, sqlite.Options{}); err == nil {
		t.Error("opened twice")
	}
}

// TestUnlistedHardware: a release to hardware without a row holds as long as there
// is none; an operator who denies it, or lists it, in between stops it.
func TestUnlistedHardware(t *testing.T) {
	b := newBench(t)
	k := b.key("disk", "1", 1)
	unlisted := &release.Machine{ID: "snp-1"}
	if c := b.append(b.allow(k, unlisted)); c.Record.Decision != receipt.Allow {
		t.Errorf("no row: %s", c.Record.Reason)
	}
	b.machine("snp-1", release.MachineDenied)
	if c := b.append(b.allow(k, unlisted)); c.Record.Reason != string(release.ReasonMachineDenied) {
		t.Errorf("denied since: %s %s", c.Record.Decision, c.Record.Reason)
	}
	b.machine("snp-2", release.MachineApproved)
	if c := b.append(b.allow(k, &release.Machine{ID: "snp-2"})); c.Record.Reason != string(release.ReasonStateChanged) {
		t.Errorf("listed since: %s %s", c.Record.Decision, c.Record.Reason)
	}
	if c := b.append(b.allow(k, &release.Machine{ID: "snp-3", Epoch: 4})); c.Record.Reason != string(release.ReasonStateChanged) {
		t.Errorf("a row that is gone: %s %s", c.Record.Decision, c.Record.Reason)
	}
}
