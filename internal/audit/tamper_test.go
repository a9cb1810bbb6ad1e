package audit

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"modernc.org/sqlite"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// notice has the log commit something, at which it sees that somebody else wrote.
func (b *bench) notice() {
	b.t.Helper()
	before := b.st.Foreign()
	b.append(release.Entry{Record: &release.Record{Operation: "test"}})
	if got := b.st.Foreign(); got != before+1 {
		b.t.Fatalf("commits of others: %d, want %d", got, before+1)
	}
}

// edit runs SQL on the file, as someone with access to the disk would.
func (b *bench) edit(query string, args ...any) {
	b.t.Helper()
	c, err := new(sqlite.Driver).Open("file:" + b.path + "?_pragma=busy_timeout(5000)")
	if err != nil {
		b.t.Fatal(err)
	}
	db := sql.OpenDB(one{c})
	defer db.Close()
	if _, err := db.Exec(query, args...); err != nil {
		b.t.Fatal(err)
	}
}

// TestTamperedLogDoesNotOpen edits what the last commit rests on, in every place,
// while the broker is down.
func TestTamperedLogDoesNotOpen(t *testing.T) {
	flipLeaf := `UPDATE log_leaves SET leaf = CAST(replace(CAST(leaf AS TEXT), '"allow"', '"alloW"') AS BLOB) WHERE idx = `
	for name, query := range map[string]string{
		"leaf":                     flipLeaf + `(SELECT MAX(idx) FROM log_leaves)`,
		"leaf deleted":             `DELETE FROM log_leaves WHERE idx = (SELECT MAX(idx) FROM log_leaves)`,
		"leaf renumbered":          `UPDATE log_leaves SET idx = idx + 1 WHERE idx = (SELECT MAX(idx) FROM log_leaves)`,
		"leaf added":               `INSERT INTO log_leaves SELECT idx + 1, leaf FROM log_leaves ORDER BY idx DESC LIMIT 1`,
		"leaf hash":                `UPDATE log_hashes SET hash = zeroblob(32) WHERE idx = (SELECT MAX(idx) FROM log_hashes)`,
		"hash too short":           `UPDATE log_hashes SET hash = zeroblob(31)`,
		"hash deleted":             `DELETE FROM log_hashes`,
		"hash of the edge":         `UPDATE log_hashes SET hash = zeroblob(32) WHERE idx IN (SELECT idx FROM log_hashes ORDER BY idx DESC LIMIT 4)`,
		"checkpoint size":          `UPDATE log_checkpoint SET size = size - 1`,
		"checkpoint prior":         `UPDATE log_checkpoint SET prior = size`,
		"checkpoint prior beyond":  `UPDATE log_checkpoint SET prior = -1`,
		"checkpoint text":          `UPDATE log_checkpoint SET note = replace(note, 'log.example/test', 'log.example/tesT')`,
		"checkpoint signature":     `UPDATE log_checkpoint SET note = substr(note, 1, length(note) - 3) || 'AA='`,
		"checkpoint deleted":       `DELETE FROM log_checkpoint`,
		"checkpoint with more":     `UPDATE log_checkpoint SET note = note || '— x AAAA'`,
		"last commit taken back":   `DELETE FROM log_leaves WHERE idx >= (SELECT prior FROM log_checkpoint)`,
		"leaves replaced by blobs": `UPDATE log_leaves SET leaf = zeroblob(length(leaf)) WHERE idx >= (SELECT prior FROM log_checkpoint)`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
			for range 4 {
				b.append(b.allow(k, m))
			}
			b.close()
			b.edit(query)
			if err := b.tryOpen(); release.ReasonOf(err) != release.ReasonIntegrity {
				t.Errorf("opened with %v, want %s", err, release.ReasonIntegrity)
			}
		})
	}
}

// TestReadBackBeforeSigning has the database change a leaf between the insert and
// the commit (security: AU-22): no checkpoint may commit to it.
func TestReadBackBeforeSigning(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	b.append(b.allow(k, m))
	before := b.log.Checkpoint()
	for _, flip := range []string{
		`UPDATE log_leaves SET leaf = zeroblob(10) WHERE idx = NEW.idx`,
		`DELETE FROM log_leaves WHERE idx = NEW.idx`,
		`INSERT INTO log_leaves VALUES (NEW.idx + 1, NEW.leaf)`,
	} {
		b.edit(`CREATE TRIGGER flip AFTER INSERT ON log_leaves BEGIN ` + flip + `; END`)
		if _, err := b.log.Append(context.Background(), b.allow(k, m)); release.ReasonOf(err) != release.ReasonIntegrity {
			t.Errorf("%s: %v, want %s", flip, err, release.ReasonIntegrity)
		}
		if got := b.log.Checkpoint(); got != before {
			t.Errorf("%s: a checkpoint was published: %s", flip, got)
		}
		b.edit(`DROP TRIGGER flip`)
	}
	b.append(b.allow(k, m)) // resumes by itself
	b.scratch()
}

// TestTamperedProof edits an entry far from the end while the broker works.
func TestTamperedProof(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	for range 10 {
		b.append(b.allow(k, m))
	}
	b.edit(`UPDATE log_leaves SET leaf = zeroblob(10) WHERE idx = 5`)
	b.edit(`UPDATE log_hashes SET hash = zeroblob(32) WHERE idx = 0`)
	for i, want := range map[int64]release.Reason{5: release.ReasonIntegrity, 1: release.ReasonIntegrity} {
		if _, err := b.log.Prove(context.Background(), i, 0); release.ReasonOf(err) != want {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	if _, err := b.log.Prove(context.Background(), 1, 7); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("entry 1 of 7: %v", err)
	}
	b.edit(`UPDATE log_hashes SET hash = zeroblob(32) WHERE idx = ?`, tlog.StoredHashIndex(2, 0))
	if _, err := b.log.Prove(context.Background(), 6, 7); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("a checkpoint for an edited past was signed: %v", err)
	}
}

// TestEditedObjectRows edits each column of an object, and moves a row.
func TestEditedObjectRows(t *testing.T) {
	for name, query := range map[string]string{
		"value":      `UPDATE objects SET value = CAST(replace(CAST(value AS TEXT), 'pending', 'approved') AS BLOB)`,
		"generation": `UPDATE objects SET generation = generation + 1`,
		"index":      `UPDATE objects SET idx = idx + 1`,
		"mac":        `UPDATE objects SET mac = zeroblob(32)`,
		"no mac":     `UPDATE objects SET mac = x''`,
		"name":       `UPDATE objects SET name = 'm' WHERE name = 'other'; `,
		"kind":       `UPDATE objects SET kind = 'setting'`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			k := b.key("disk", "1", 1)
			other := b.machine("other", release.MachineApproved)
			kind := release.ObjectMachine
			if name == "name" {
				_ = other
			} else {
				b.machine("m", release.MachinePending)
			}
			if name == "kind" {
				kind = release.ObjectSetting
			}
			b.edit(query)
			b.notice()
			ctx := context.Background()
			if _, err := b.log.Objects().Object(ctx, kind, "m"); release.ReasonOf(err) != release.ReasonIntegrity {
				t.Errorf("read: %v", err)
			}
			if _, err := b.log.Objects().List(ctx, kind, "", 10); release.ReasonOf(err) != release.ReasonIntegrity {
				t.Errorf("list: %v", err)
			}
			if _, err := b.log.ChangeObject(ctx, &release.Record{}, kind, "m", func(o *release.Object) ([]byte, error) { return o.Value, nil }); release.ReasonOf(err) != release.ReasonIntegrity {
				t.Errorf("change: %v", err)
			}
			if kind == release.ObjectMachine {
				c := b.append(b.allow(k, &release.Machine{ID: "m", Status: release.MachineApproved, Epoch: 1}))
				if c.Record.Reason != string(release.ReasonIntegrity) {
					t.Errorf("release: %s %s", c.Record.Decision, c.Record.Reason)
				}
			}
		})
	}
}

// TestOldRowsPutBack restores single rows as they once were, which their own seal
// or MAC still fits (security: ST-10).
func TestOldRowsPutBack(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	b.edit(`CREATE TABLE thief_keys AS SELECT * FROM keys`)
	b.edit(`CREATE TABLE thief_objects AS SELECT * FROM objects`)
	r, err := b.st.Row(ctx, "v", keyvault.Keys, "disk", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.log.Change(ctx, &release.Record{}, func(tx Tx, _ int64) error {
		r.Attributes.Enabled, r.Generation = false, 2
		return tx.Update(r, 1)
	}); err != nil {
		t.Fatal(err)
	}
	b.machine("m", release.MachineDenied)
	b.edit(`DELETE FROM objects`)
	b.edit(`INSERT INTO objects SELECT * FROM thief_objects`)
	b.notice()
	if _, err := b.log.Objects().Object(ctx, release.ObjectMachine, "m"); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("machine: %v", err)
	}
	if _, err := b.log.Objects().List(ctx, release.ObjectMachine, "", 10); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("list of machines: %v", err)
	}
	other := b.key("other", "1", 1)
	if c := b.append(b.allow(other, m)); c.Record.Reason != string(release.ReasonIntegrity) {
		t.Errorf("release to the machine: %s %s", c.Record.Decision, c.Record.Reason)
	}
	b.edit(`DELETE FROM keys WHERE name = 'disk'`)
	b.edit(`INSERT INTO keys SELECT * FROM thief_keys`)
	if _, err := b.st.Row(ctx, "v", keyvault.Keys, "disk", ""); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("key: %v", err)
	}
	if _, err := b.st.Latest(ctx, "v", keyvault.Keys, false, "", 10); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("list of keys: %v", err)
	}
	if _, err := b.st.Versions(ctx, "v", keyvault.Keys, "disk", 0, 10); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("list of versions: %v", err)
	}
	if c := b.append(b.allow(k, nil)); c.Record.Reason != string(release.ReasonIntegrity) {
		t.Errorf("release of the key: %s %s", c.Record.Decision, c.Record.Reason)
	}
	if c := b.append(b.allow(other, nil)); c.Record.Decision != receipt.Allow {
		t.Errorf("another key: %s", c.Record.Reason)
	}
}

// TestDeletedObjectRow: a document is never taken away, so that one whose row is gone is
// not one that never was. Else whoever deletes a row lets a denied machine in again, or
// gives a vault its defaults back.
func TestDeletedObjectRow(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineDenied)
	b.edit(`DELETE FROM objects`)
	b.notice()
	if _, err := b.log.Objects().Object(ctx, release.ObjectMachine, "m"); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("read: %v", err)
	}
	if _, err := b.log.ChangeObject(ctx, &release.Record{}, release.ObjectMachine, "m", func(*release.Object) ([]byte, error) { return []byte("{}"), nil }); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("change: %v", err)
	}
	m.Epoch = 0 // as one that nobody listed
	if c := b.append(b.allow(k, m)); c.Record.Reason != string(release.ReasonIntegrity) {
		t.Errorf("release: %s %s", c.Record.Decision, c.Record.Reason)
	}
	if _, err := b.log.Objects().Object(ctx, release.ObjectMachine, "never"); release.ReasonOf(err) != release.ReasonNotFound {
		t.Errorf("one that never was: %v", err)
	}
}

func TestEditedResetCount(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	b.append(b.allow(k, m))
	b.edit(`UPDATE resets SET count = 1`)
	if c := b.append(b.allow(k, m)); c.Record.Reason != string(release.ReasonIntegrity) {
		t.Errorf("%s %s", c.Record.Decision, c.Record.Reason)
	}
}

// TestEveryByteOfAnExport flips each byte, one at a time, and cuts the file at
// every length.
func TestEveryByteOfAnExport(t *testing.T) {
	if testing.Short() {
		t.Skip("many verifications, one after the other")
	}
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	b.append(b.allow(k, m))
	good, cp := b.export()
	file := filepath.Join(t.TempDir(), "log.jsonl")
	verify := func(data []byte) error {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return VerifyCopy(context.Background(), file, origin, b.vkey, cp)
	}
	if err := verify(good); err != nil {
		t.Fatal(err)
	}
	line := int64(0)
	for i := range good {
		data := append([]byte(nil), good...)
		data[i] ^= 0x20
		if at := badEntry(verify(data)); at != line && !(at == line+1 && good[i] == '\n') {
			t.Fatalf("byte %d flipped: entry %d named, it is in %d", i, at, line)
		}
		if err := verify(good[:i]); err == nil {
			t.Fatalf("cut at byte %d: accepted", i)
		}
		if good[i] == '\n' {
			line++
		}
	}
}

// TestGenuineCheckpointOfAnotherTree: a checkpoint that the log's own key signed,
// but of another size or another root, does not vouch for what is stored.
func TestGenuineCheckpointOfAnotherTree(t *testing.T) {
	for name, forge := range map[string]func(cp *receipt.Checkpoint){
		"older size": func(cp *receipt.Checkpoint) { cp.Size-- },
		"other root": func(cp *receipt.Checkpoint) { cp.Root[0] ^= 1 },
	} {
		b := newBench(t)
		cp, err := receipt.OpenCheckpoint([]byte(b.log.Checkpoint()), origin, b.vkey)
		if err != nil {
			t.Fatal(err)
		}
		signer, _ := logKey(t)
		forge(cp)
		text, err := cp.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		b.close()
		b.edit(`UPDATE log_checkpoint SET note = ?`, text)
		if err := b.tryOpen(); release.ReasonOf(err) != release.ReasonIntegrity {
			t.Errorf("%s: %v", name, err)
		}
	}
}
