package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/openskr/openskr/release/keyvault"
)

func TestBackupAndRestore(t *testing.T) {
	ctx := context.Background()
	path := fresh(t)
	s := mustOpen(t, path)
	for i := range 50 {
		put(t, s, fmt.Sprint("s", i))
	}
	to := filepath.Join(t.TempDir(), "backup")
	if err := s.Backup(ctx, to); err != nil {
		t.Fatal(err)
	}
	put(t, s, "later")
	if fi, err := os.Stat(to); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := s.Backup(ctx, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("backup over a backup: %v", err)
	}
	back := fresh(t)
	if err := Restore(ctx, to, back); err != nil {
		t.Fatal(err)
	}
	r := mustOpen(t, back)
	if got, err := r.Secret(ctx, "s49"); err != nil || string(got) != "s49" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := r.Secret(ctx, "later"); !errors.Is(err, keyvault.ErrNotFound) {
		t.Errorf("the backup holds what came after it: %v", err)
	}
	put(t, r, "goes on")

	if err := Restore(ctx, to, path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("restore over a store: %v", err)
	}
	if err := Restore(ctx, path, fresh(t)); err == nil {
		t.Error("a live store is taken for a backup, without what is in its write-ahead log")
	}
}

func TestRestoreRefuses(t *testing.T) {
	ctx := context.Background()
	s := mustOpen(t, fresh(t))
	for i := range 50 {
		put(t, s, fmt.Sprint("s", i))
	}
	good := filepath.Join(t.TempDir(), "good")
	if err := s.Backup(ctx, good); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"empty":       {},
		"garbage":     []byte("garbage"),
		"cut off":     data[:len(data)-4096],
		"half a page": data[:len(data)-100],
		"page zeroed": append(append(append([]byte{}, data[:4096]...), make([]byte, 4096)...), data[8192:]...),
	} {
		src := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(src, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		to := fresh(t)
		if err := Restore(ctx, src, to); err == nil {
			t.Errorf("%s: restored", name)
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s: left a file", name)
		}
	}
	if err := Restore(ctx, filepath.Join(t.TempDir(), "none"), fresh(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestOpenCopyOnReadOnlyFolder(t *testing.T) {
	ctx := context.Background()
	s := mustOpen(t, fresh(t))
	put(t, s, "x")
	to := filepath.Join(t.TempDir(), "backup with ? and # and %41")
	if err := s.Backup(ctx, to); err != nil {
		t.Fatal(err)
	}
	c, err := OpenCopy(ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Secret(ctx, "x"); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Dir(to) + "/*"); err != nil || len(left) != 1 {
		t.Errorf("reading a copy left %v, %v", left, err)
	}
}
