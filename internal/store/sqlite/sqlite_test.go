package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release/keyvault"
)

func fresh(t *testing.T) string { return filepath.Join(t.TempDir(), "data", "openskr.db") }

func mustOpen(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := Open(context.Background(), path, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := fresh(t)
	s := mustOpen(t, path)
	put(t, s, "x")
	for name, want := range map[string]fs.FileMode{"": 0o700, "openskr.db": 0o600, "openskr.db-wal": 0o600, "openskr.db-shm": 0o600, "openskr.db.lock": 0o600} {
		fi, err := os.Stat(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			t.Error(err)
		} else if fi.Mode().Perm() != want {
			t.Errorf("%q has mode %04o, want %04o", name, fi.Mode().Perm(), want)
		}
	}
}

// put writes a secret through the write connection.
func put(t *testing.T, s *store.Store, name string) {
	t.Helper()
	w, err := s.Writer(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tx, err := w.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tx.PutSecret(name, []byte(name)), tx.Commit()); err != nil {
		t.Fatal(err)
	}
}

func TestRefusesToOpen(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(path string) error
		says  string
	}{
		"folder readable":    {func(p string) error { return os.Chmod(filepath.Dir(p), 0o755) }, "chmod 0700"},
		"file readable":      {func(p string) error { return os.Chmod(p, 0o640) }, "chmod 0600"},
		"file of another":    {func(p string) error { return os.Chown(p, 12345, -1) }, "belongs to user 12345"},
		"file is a link":     {func(p string) error { return errors.Join(os.Rename(p, p+"x"), os.Symlink(p+"x", p)) }, "link"},
		"file is a folder":   {func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, "not of the right kind"},
		"lock is a link":     {func(p string) error { return errors.Join(os.Remove(p+".lock"), os.Symlink(p, p+".lock")) }, "too many levels"},
		"missing":            {os.Remove, "openskr init"},
		"emptied":            {func(p string) error { return os.Truncate(p, 0) }, "empty"},
		"not a database":     {func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("garbage ", 1000)), 0o600) }, "not readable as a database"},
		"another's database": {func(p string) error { return foreign(p) }, "not a store of this program"},
		"cut in half":        {func(p string) error { return os.Truncate(p, 5000) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := fresh(t)
			s := mustOpen(t, path)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(path); err != nil {
				t.Skip(err)
			}
			s, err := Open(context.Background(), path, Options{})
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v: does not say %q", err, c.says)
			}
		})
	}
}

func foreign(path string) error {
	db := pool(path+".new", "rwc", 1)
	_, err := db.Exec("CREATE TABLE other (x)")
	return errors.Join(err, db.Close(), os.Chmod(path+".new", 0o600), os.Rename(path+".new", path))
}

func TestSecondBroker(t *testing.T) {
	path := fresh(t)
	s := mustOpen(t, path)
	_, err := Open(context.Background(), path, Options{})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "another broker") {
		t.Errorf("second broker: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path)
}

// TestSecondProcess has another process hold the store, and die by kill -9.
func TestSecondProcess(t *testing.T) {
	if path := os.Getenv("OPENSKR_TEST_HOLD"); path != "" {
		s, err := Open(context.Background(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("held\n")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
		_ = s.Close()                        // keeps the store, and its lock, from the garbage collector
		return
	}
	path := fresh(t)
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSecondProcess$")
	cmd.Env = append(os.Environ(), "OPENSKR_TEST_HOLD="+path)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 5)
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "held\n" {
		t.Fatalf("%q, %v", said, err)
	}
	_, err = Open(context.Background(), path, Options{})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !errors.Is(err, store.ErrLocked) {
		t.Errorf("while another process has it: %v", err)
	}
	mustOpen(t, path)
}

func TestDurabilitySettings(t *testing.T) {
	path := fresh(t)
	mustOpen(t, path)
	ctx := context.Background()
	for pragma, good := range map[string]bool{
		"synchronous=FULL": true, "synchronous=EXTRA": true, "synchronous=NORMAL": false, "synchronous=OFF": false,
	} {
		db := pool(path, "rw", 1)
		c, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			t.Fatal(err)
		}
		if err := verify(ctx, c); (err == nil) != good {
			t.Errorf("%s: %v", pragma, err)
		}
		_ = c.Close()
		_ = db.Close()
	}
	db := pool(filepath.Join(t.TempDir(), "x"), "rwc", 1)
	defer db.Close()
	c, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ExecContext(ctx, "PRAGMA journal_mode=DELETE"); err != nil {
		t.Fatal(err)
	}
	if err := verify(ctx, c); err == nil {
		t.Error("a rollback journal is accepted")
	}
}

func TestReadersCannotWrite(t *testing.T) {
	path := fresh(t)
	mustOpen(t, path)
	db := pool(path, "ro", 1)
	defer db.Close()
	if _, err := db.Exec("DELETE FROM secrets"); err == nil {
		t.Error("a read connection writes")
	}
}

// nextVersion is a schema after the present one, whose number it gives too; bad makes
// its last statement fail.
func nextVersion(t *testing.T, bad bool) (fs.FS, int) {
	t.Helper()
	out := fstest.MapFS{}
	present, err := fs.Glob(embedded, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range present {
		b, err := embedded.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(name)] = &fstest.MapFile{Data: b}
	}
	next := "-- +goose Up\nALTER TABLE secrets ADD COLUMN note TEXT;\nCREATE TABLE more (x INTEGER);\nUPDATE secrets SET note = name;\n"
	if bad {
		next += "INSERT INTO no_such_table VALUES (1);\n"
	}
	n := len(present) + 1
	out[fmt.Sprintf("%05d_more.sql", n)] = &fstest.MapFile{Data: []byte(next)}
	return out, n
}

// TestMigration goes to a next version: a copy first, all or nothing, and no way back.
func TestMigration(t *testing.T) {
	ctx := context.Background()
	path := fresh(t)
	s := mustOpen(t, path)
	put(t, s, "before")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	broken, _ := nextVersion(t, true)
	for range 2 { // fails as often as it is tried, and leaves the version there is
		if _, err := open(ctx, path, Options{}, broken); err == nil {
			t.Fatal("a broken migration passes")
		}
	}
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatalf("after a broken migration, the older program: %v", err)
	}
	next, n := nextVersion(t, false)
	s, err := open(ctx, path, Options{}, next)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "after")
	if got, err := s.Secret(ctx, "before"); err != nil || string(got) != "before" {
		t.Errorf("%s, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, path, Options{}); !errors.Is(err, store.ErrNewer) {
		t.Errorf("older program on the newer store: %v", err)
	}
	old := fmt.Sprintf("%s.before-v%d", path, n)
	if fi, err := os.Stat(old); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("copy before the migration: %v, %v", fi, err)
	}
	back := fresh(t)
	if err := Restore(ctx, old, back); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, back)
	if _, err := s.Secret(ctx, "before"); err != nil {
		t.Error(err)
	}
	if _, err := s.Secret(ctx, "after"); !errors.Is(err, keyvault.ErrNotFound) {
		t.Errorf("the copy is not from before: %v", err)
	}
}
