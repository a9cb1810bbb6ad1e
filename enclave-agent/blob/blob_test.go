package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	s := New(nil, nil)
	for name, want := range map[string]string{
		"":                          "empty",
		"http://host/blob":          "https:// is",
		"ftp://host/blob":           "want a file",
		"file:///etc/passwd":        "want a file",
		"https://host":              "HOST-OR-BUCKET/NAME",
		"https:///path":             "HOST-OR-BUCKET/NAME",
		"https://u:SECRET@host/b":   "without a password",
		"s3://bucket/":              "HOST-OR-BUCKET/NAME",
		"azblob://%zz/SECRET?sig=1": "not a URL",
		"http://host/b?sig=SECRET":  "https:// is",
	} {
		_, err := s.Open(t.Context(), name)
		if !errors.Is(err, ErrReference) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		} else if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q is quoted: %v", name, err)
		}
	}
	for _, name := range []string{"https://host/blob", "-"} {
		if _, err := s.Create(t.Context(), name, Options{Metadata: map[string]string{"a": "b"}}); !errors.Is(err, ErrReference) {
			t.Errorf("created %s: %v", name, err)
		}
	}
	for name, local := range map[string]bool{"a": true, "./-": true, "-": false, "s3://b/k": false, "": false} {
		if Local(name) != local {
			t.Errorf("%q local: %v", name, !local)
		}
	}
}

func TestStreams(t *testing.T) {
	var out bytes.Buffer
	s := New(strings.NewReader("in"), &out)
	src, err := s.Open(t.Context(), "-")
	if err != nil || src.Size != -1 {
		t.Fatal(src, err)
	}
	if m, err := src.Metadata(t.Context(), "x"); m != nil || err != nil {
		t.Error(m, err)
	}
	dst, err := s.Create(t.Context(), "-", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil || dst.Commit() != nil || out.String() != "in" {
		t.Error(out.String(), err)
	}
}

// write makes a blob at path and commits or aborts it.
func write(t *testing.T, path string, commit bool) error {
	t.Helper()
	dst, err := New(nil, nil).Create(t.Context(), path, Options{Metadata: map[string]string{"encryptiondata": "{}"}})
	if err != nil {
		return err
	}
	if _, err := io.WriteString(dst, "text"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("there before it was committed")
	}
	if commit {
		return dst.Commit()
	}
	return dst.Abort()
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "blob")
	if err := write(t, path, false); err != nil || len(names(t, dir)) != 0 {
		t.Error("aborted, and left", names(t, dir), err)
	}
	if err := write(t, path, true); err != nil || !slices.Equal(names(t, dir), []string{"blob", "blob.encryptiondata"}) {
		t.Fatal(names(t, dir), err)
	}
	src, err := New(nil, nil).Open(t.Context(), path)
	if err != nil || src.Size != 4 {
		t.Fatal(src, err)
	}
	defer src.Close()
	if got, err := io.ReadAll(src); string(got) != "text" || err != nil {
		t.Error(got, err)
	}
	if m, err := src.Metadata(t.Context(), "encryptiondata"); string(m) != "{}" || err != nil {
		t.Error(m, err)
	}
	if m, err := src.Metadata(t.Context(), "other"); m != nil || err != nil {
		t.Error(m, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Error(fi.Mode(), err)
	}
	if err := write(t, path, true); !errors.Is(err, ErrExists) || len(names(t, dir)) != 2 {
		t.Error("overwritten", names(t, dir), err)
	}
}

// TestFileAppears: somebody makes a file of that name while the blob is written.
func TestFileAppears(t *testing.T) {
	for _, name := range []string{"blob", "blob.encryptiondata"} {
		dir := t.TempDir()
		dst, err := New(nil, nil).Create(t.Context(), filepath.Join(dir, "blob"), Options{Metadata: map[string]string{"encryptiondata": "{}"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := dst.Commit(); !errors.Is(err, ErrExists) {
			t.Error(err)
		}
		if got := names(t, dir); !slices.Equal(got, []string{name}) {
			t.Errorf("%s: left %q", name, got)
		}
		if b, err := os.ReadFile(filepath.Join(dir, name)); string(b) != "theirs" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestFolderOfEverybody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := write(t, filepath.Join(dir, "blob"), true); err == nil || len(names(t, dir)) != 0 {
		t.Error("written into a folder where anybody may rename it", err)
	}
}

func TestLink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "blob")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), path); err != nil {
		t.Fatal(err)
	}
	if err := write(t, path, true); !errors.Is(err, ErrExists) {
		t.Error("a link was followed", err)
	}
}

func TestLongMetadata(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blob")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.WriteFile(path+".m", make([]byte, MaxMetadata+1), 0o600)); err != nil {
		t.Fatal(err)
	}
	src, err := New(nil, nil).Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Metadata(t.Context(), "m"); err == nil {
		t.Error("read whatever its length")
	}
}
