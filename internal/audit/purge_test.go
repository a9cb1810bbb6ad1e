package audit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

const (
	defaultVault = keyvault.DefaultVault
	versions     = 3
)

// secret makes a secret with three versions.
func secretOf(t *testing.T, v *keyvault.Service, name, value string) {
	t.Helper()
	for range versions {
		if _, err := v.SetSecret(t.Context(), defaultVault, name, []byte(value), keyvault.SecretSettings{}); err != nil {
			t.Fatal(err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sealedOf gives what the store holds of a secret's versions.
func (b *bench) sealedOf(t *testing.T, name string) (out [][]byte) {
	t.Helper()
	rows, err := b.st.Versions(t.Context(), defaultVault, keyvault.Secrets, name, 0, 10)
	must(t, err)
	for _, r := range rows {
		out = append(out, r.Sealed, r.Salt)
	}
	return out
}

// onDisk counts the byte strings of which any 32 bytes are anywhere in the store's
// files: a long one is spread over pages.
func (b *bench) onDisk(t *testing.T, what [][]byte) (n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(b.path), "*"))
	must(t, err)
	var all []byte
	for _, f := range files {
		content, err := os.ReadFile(f)
		must(t, err)
		all = append(all, content...)
	}
	for _, w := range what {
		for part := range slices.Chunk(w, 32) {
			if len(part) > 16 && bytes.Contains(all, part) {
				n++
				break
			}
		}
	}
	return n
}

// TestPurgeShreds is ST-23: when a purge is answered, what was sealed is in no file of
// the store: neither in its pages nor in its write-ahead log.
func TestPurgeShreds(t *testing.T) {
	b := newBench(t)
	v := b.vault()
	secretOf(t, v, "pw", string(bytes.Repeat([]byte("x"), 6000))) // more than a page each
	secretOf(t, v, "kept", "y")
	kept, gone := b.sealedOf(t, "kept"), b.sealedOf(t, "pw")
	if n := b.onDisk(t, append(gone, kept...)); n != len(gone)+len(kept) {
		t.Fatalf("%d of %d are on disk before: the test tests nothing", n, len(gone)+len(kept))
	}
	_, err := v.Delete(t.Context(), defaultVault, keyvault.Secrets, "pw")
	must(t, err)
	gone = append(gone, b.sealedOf(t, "pw")...)
	must(t, v.Purge(t.Context(), defaultVault, keyvault.Secrets, "pw"))
	if n := b.onDisk(t, gone); n != 0 {
		t.Errorf("%d of %d are still on disk", n, len(gone))
	}
	if n := b.onDisk(t, kept); n != len(kept) {
		t.Errorf("%d of %d of another secret", n, len(kept))
	}
}

// TestPurgedRowPutBack: rows from before a purge, and the tombstone of another time, are
// refused by whatever meets them.
func TestPurgedRowPutBack(t *testing.T) {
	b := newBench(t)
	v, ctx := b.vault(), t.Context()
	secretOf(t, v, "pw", "value")
	blob, err := v.Backup(ctx, defaultVault, keyvault.Secrets, "pw")
	must(t, err)
	b.edit(`CREATE TABLE thief_live AS SELECT * FROM keys`)
	_, err = v.Delete(ctx, defaultVault, keyvault.Secrets, "pw")
	must(t, err)
	b.edit(`CREATE TABLE thief_deleted AS SELECT * FROM keys`)
	must(t, v.Purge(ctx, defaultVault, keyvault.Secrets, "pw"))
	for _, table := range []string{"thief_live", "thief_deleted"} {
		b.edit(`INSERT INTO keys SELECT * FROM ` + table)
		for what, call := range map[string]func() error{
			"get":     func() error { _, _, err := v.GetSecret(ctx, defaultVault, "pw", ""); return err },
			"deleted": func() error { _, err := v.Deleted(ctx, defaultVault, keyvault.Secrets, "pw"); return err },
			"recover": func() error { _, err := v.Recover(ctx, defaultVault, keyvault.Secrets, "pw"); return err },
			"backup":  func() error { _, err := v.Backup(ctx, defaultVault, keyvault.Secrets, "pw"); return err },
			"restore": func() error { _, err := v.Restore(ctx, defaultVault, keyvault.Secrets, blob); return err },
		} {
			if err := call(); release.ReasonOf(err) != release.ReasonIntegrity {
				t.Errorf("%s, %s: %v", table, what, err)
			}
		}
		b.edit(`DELETE FROM keys`)
	}
	b.edit(`CREATE TABLE thief_tombs AS SELECT * FROM objects WHERE kind = 'tombstone'`)
	b.edit(`UPDATE objects SET value = CAST(REPLACE(value, 'true', 'false') AS BLOB) WHERE kind = 'tombstone'`)
	if _, err := v.Restore(ctx, defaultVault, keyvault.Secrets, blob); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("with an edited tombstone: %v", err)
	}
	b.edit(`DELETE FROM objects WHERE kind = 'tombstone'`)
	b.edit(`INSERT INTO objects SELECT * FROM thief_tombs`)
	_, err = v.Restore(ctx, defaultVault, keyvault.Secrets, blob)
	must(t, err)
	off := false
	_, err = v.UpdateSecret(ctx, defaultVault, "pw", "", keyvault.SecretSettings{Enabled: &off})
	must(t, err)
	_, err = v.Delete(ctx, defaultVault, keyvault.Secrets, "pw")
	must(t, err)
	must(t, v.Purge(ctx, defaultVault, keyvault.Secrets, "pw"))
	b.edit(`DELETE FROM objects WHERE kind = 'tombstone'`)
	b.edit(`INSERT INTO objects SELECT * FROM thief_tombs`)
	if _, err := v.Restore(ctx, defaultVault, keyvault.Secrets, blob); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("with an older tombstone: %v", err)
	}
	b.edit(`DELETE FROM objects WHERE kind = 'tombstone'`)
	if _, err := v.Restore(ctx, defaultVault, keyvault.Secrets, blob); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("without a tombstone: %v", err)
	}
}

// TestKilledWhileDeleting is ST-02: whatever the moment, an object is wholly as before
// or wholly as after, and as after once that was answered.
func TestKilledWhileDeleting(t *testing.T) {
	for _, op := range []struct {
		name          string
		before, after string
		prepare, do   func(v *keyvault.Service, blob []byte) error
	}{
		{"delete", "live", "deleted", nothing, remove},
		{"recover", "deleted", "live", remove, func(v *keyvault.Service, _ []byte) error {
			_, err := v.Recover(context.Background(), defaultVault, keyvault.Secrets, "pw")
			return err
		}},
		{"purge", "deleted", "gone", remove, purge},
		{"restore", "gone", "live", func(v *keyvault.Service, b []byte) error { return errors.Join(remove(v, b), purge(v, b)) }, func(v *keyvault.Service, b []byte) error {
			_, err := v.Restore(context.Background(), defaultVault, keyvault.Secrets, b)
			return err
		}},
	} {
		t.Run(op.name, func(t *testing.T) {
			var copyAt func(step string)
			b := newBench(t, func(c *Config) {
				c.Fault = func(step string) {
					if copyAt != nil {
						copyAt(step)
					}
				}
			})
			v := b.vault()
			secretOf(t, v, "pw", "value")
			blob, err := v.Backup(t.Context(), defaultVault, keyvault.Secrets, "pw")
			must(t, err)
			must(t, op.prepare(v, blob))
			copies := map[string]string{}
			copyAt = func(step string) { copies[step] = b.copyFiles(t) }
			must(t, op.do(v, blob))
			copyAt = nil
			copies["answered"] = b.copyFiles(t)
			if len(copies) != len(steps)+1 {
				t.Fatalf("%d copies", len(copies))
			}
			for step, path := range copies {
				got := (&bench{t: t, path: path}).stateOf(t, b.now.Load())
				if got != op.after && (got != op.before || step == "committed" || step == "answered") {
					t.Errorf("killed at %q: %s", step, got)
				}
			}
		})
	}
}

func nothing(*keyvault.Service, []byte) error { return nil }

func remove(v *keyvault.Service, _ []byte) error {
	_, err := v.Delete(context.Background(), defaultVault, keyvault.Secrets, "pw")
	return err
}

func purge(v *keyvault.Service, _ []byte) error {
	return v.Purge(context.Background(), defaultVault, keyvault.Secrets, "pw")
}

// copyFiles copies the store as a process that dies now would leave it.
func (b *bench) copyFiles(t *testing.T) (path string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(b.path + suffix)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "openskr.db"+suffix), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "openskr.db")
}

// stateOf opens a copy and says what became of the secret: every version is judged.
func (b *bench) stateOf(t *testing.T, now int64) string {
	t.Helper()
	b.now.Store(now)
	b.open()
	v, ctx := b.vault(), t.Context()
	rows, err := b.st.Versions(ctx, defaultVault, keyvault.Secrets, "pw", 0, 10)
	must(t, err)
	_, _, live := v.GetSecret(ctx, defaultVault, "pw", "")
	_, deleted := v.Deleted(ctx, defaultVault, keyvault.Secrets, "pw")
	for _, r := range rows {
		if (r.Deleted != 0) != (deleted == nil) {
			return "torn"
		}
	}
	switch {
	case len(rows) == versions && live == nil && deleted != nil:
		return "live"
	case len(rows) == versions && live != nil && deleted == nil:
		return "deleted"
	case len(rows) == 0 && live != nil && deleted != nil:
		return "gone"
	}
	return "torn"
}
