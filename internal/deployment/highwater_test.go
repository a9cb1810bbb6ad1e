package deployment

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

func (s site) mark() string { return filepath.Join(s.base, "high-water") }

// lastRecord reads the log's last record, with the deployment closed.
func (s site) lastRecord(t *testing.T) (rec *receipt.Record, checkpoint string) {
	t.Helper()
	o, err := open(t.Context(), s.database(), WithKEK(s.rootKey(t)), clock)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close() //nolint:errcheck // it was only read
	entries, err := o.log.Entries(t.Context(), o.log.Size()-1, 1)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	if rec, err = receipt.Decode(entries[0].Leaf); err != nil {
		t.Fatal(err)
	}
	return rec, o.log.Checkpoint()
}

// grant keeps an open grant to make a disk, with the deployment closed.
func (s site) grant(t *testing.T) (name string) {
	t.Helper()
	o, err := open(t.Context(), s.database(), WithKEK(s.rootKey(t)), clock)
	if err != nil {
		t.Fatal(err)
	}
	name = release.FormatGrantName("v", "id", "1")
	_, err = o.log.Objects().ChangeObject(t.Context(), record("keys/grantformat"), release.ObjectFormatGrant, name, func(*release.Object) ([]byte, error) {
		return json.Marshal(release.FormatGrant{Vault: "v", ObjectID: "id", Version: "1", State: release.FormatOpen})
	})
	if err := errors.Join(err, o.close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// granted is the state of a grant, with the deployment closed.
func (s site) granted(t *testing.T, name string) string {
	t.Helper()
	o, err := open(t.Context(), s.database(), WithKEK(s.rootKey(t)), clock)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close() //nolint:errcheck // it was only read
	obj, err := o.log.Objects().Object(t.Context(), release.ObjectFormatGrant, name)
	if err != nil {
		t.Fatal(err)
	}
	g, err := release.ReadFormatGrant(obj)
	if err != nil {
		t.Fatal(err)
	}
	return g.State
}

// TestAcceptMark: going on behind a mark takes a recovery identity, and its record is
// the first thing after what was put back.
func TestAcceptMark(t *testing.T) {
	s := newSite(t)
	good := WithIdentities(identity(t, s.result.RecoveryIdentities[0]))
	if _, err := AcceptMark(t.Context(), s.dir, filepath.Join(s.dir, "mark"), good, clock); err == nil {
		t.Error("a mark inside the data folder")
	}
	accept := func(want audit.MarkState, size, marked int64) {
		t.Helper()
		j, err := AcceptMark(t.Context(), s.dir, s.mark(), good, clock)
		if err != nil || j.State != want || j.Size != size || j.Marked != marked {
			t.Fatalf("%+v, %v", j, err)
		}
		rec, checkpoint := s.lastRecord(t)
		if rec.Operation != "log/accept" || rec.Detail["high_water"] != string(want) || rec.Detail["log_size"] != fmt.Sprint(size) ||
			(marked > 0) != (rec.Detail["high_water_size"] == fmt.Sprint(marked)) || (marked > 0) != (len(rec.Detail["high_water_root"]) == 64) {
			t.Errorf("record %+v", rec)
		}
		if text, err := os.ReadFile(s.mark()); err != nil || string(text) != checkpoint {
			t.Errorf("the mark is %q, %v, want %q", text, err, checkpoint)
		}
	}
	name := s.grant(t)
	old, err := os.ReadFile(s.database())
	if err != nil {
		t.Fatal(err)
	}
	_, before := s.lastRecord(t)
	stranger, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := AcceptMark(t.Context(), s.dir, s.mark(), WithIdentities(stranger), clock); !errors.Is(err, ErrWrongIdentity) {
		t.Errorf("a stranger's identity: %v", err)
	}
	if _, now := s.lastRecord(t); now != before {
		t.Error("a stranger's attempt changed the log")
	}
	cp, err := receipt.OpenCheckpoint([]byte(before), s.result.Trust.Log.Origin, s.result.Trust.Log.VKeys[0])
	if err != nil {
		t.Fatal(err)
	}
	accept(audit.MarkMissing, cp.Size, 0)
	if _, err := AcceptMark(t.Context(), s.dir, s.mark(), good, clock); !errors.Is(err, ErrNothingToAccept) {
		t.Errorf("nothing to accept: %v", err)
	}
	if err := os.WriteFile(s.database(), old, 0o600); err != nil { // as it was
		t.Fatal(err)
	}
	if s.granted(t, name) != release.FormatOpen {
		t.Fatal("nothing to revoke")
	}
	accept(audit.MarkBehind, cp.Size, cp.Size+1)
	if state := s.granted(t, name); state != release.FormatRevoked {
		t.Errorf("a grant that may have been spent since is %s", state)
	}

	if err := os.WriteFile(s.mark(), []byte("other.example/log\n1\nAAAA\n\n— other.example AAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := AcceptMark(t.Context(), s.dir, s.mark(), good, clock); !errors.Is(err, errForeignMark) {
		t.Errorf("of another log: %v", err)
	}
	o := s.open(t)
	defer o.close() //nolint:errcheck // again by the test's end
	if _, err := AcceptMark(t.Context(), s.dir, s.mark(), good, clock); !errors.Is(err, store.ErrLocked) {
		t.Errorf("while a broker runs: %v", err)
	}
}

// TestRestoreWritesTheMark anew, after its record, and no other deployment's.
func TestRestoreWritesTheMark(t *testing.T) {
	s, _ := stocked(t)
	good := WithIdentities(identity(t, s.result.RecoveryIdentities[0]))
	name := s.grant(t)
	o := s.open(t)
	backup := filepath.Join(s.base, "granted")
	if err := o.store.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	if err := audit.WriteMark(s.mark(), o.log.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	to := site{base: s.base, dir: filepath.Join(s.base, "restored"), kek: filepath.Join(s.base, "new.kek"), result: s.result}
	restore := func(mark string) error {
		_, err := Restore(t.Context(), good, RestoreOptions{File: backup, Dir: to.dir, KEKPath: to.kek, HighWater: mark, Now: clock})
		return err
	}
	if restore(filepath.Join(to.dir, "mark")) == nil {
		t.Error("a mark inside the data folder")
	}
	other := newSite(t)
	text := "other.example/log\n1\nAAAA\n\n— other.example AAAA\n"
	if err := os.WriteFile(other.mark(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore(other.mark()); !errors.Is(err, errForeignMark) {
		t.Errorf("over another deployment's mark: %v", err)
	}
	if err := restore(s.mark()); err != nil {
		t.Fatal(err)
	}
	rec, checkpoint := to.lastRecord(t)
	if rec.Operation != "recovery/restore" || rec.Detail["high_water"] == "" || rec.Detail["kek"] == "" || rec.Detail["high_water_size"] != fmt.Sprint(o.log.Size()) {
		t.Errorf("record %+v", rec)
	}
	if state := to.granted(t, name); state != release.FormatRevoked || rec.Detail["format_grants_revoked"] != "1" {
		t.Errorf("a grant that may have been spent since is %s, %v", state, rec.Detail)
	}
	if now, err := os.ReadFile(s.mark()); err != nil || string(now) != checkpoint {
		t.Errorf("the mark is %q, %v, want %q", now, err, checkpoint)
	}
	o.close() //nolint:errcheck // the lost broker
	if _, err := AcceptMark(t.Context(), s.dir, s.mark(), good, clock); err != nil {
		t.Errorf("the lost broker does not go on from the restored one's mark, and is not asked: %v", err)
	}
}
