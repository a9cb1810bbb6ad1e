package whole

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// made are both kinds: without a name, and where the file system has none of those.
func made(t *testing.T, dir string) map[string]*File {
	t.Helper()
	f, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f.named != "" {
		t.Log("this file system has no files without a name")
	} else if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("a file that is being written shows: %v, %v", left, err)
	}
	temp, err := os.CreateTemp(dir, ".x-*")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*File{"without": f, "with": {File: temp, named: temp.Name()}}
}

func TestName(t *testing.T) {
	dir := t.TempDir()
	for kind, f := range made(t, dir) {
		path := filepath.Join(dir, kind)
		if _, err := f.WriteString(kind); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: there before its time: %v", kind, err)
		}
		if err := f.Name(path); err != nil {
			t.Error(err)
		}
		fi, err := os.Lstat(path)
		if b, rerr := os.ReadFile(path); err != nil || rerr != nil || string(b) != kind || fi.Mode() != 0o600 {
			t.Errorf("%s: %q, %v, %v, %v", kind, b, fi, err, rerr)
		}
		if err := f.Discard(); err != nil {
			t.Errorf("%s: a second end: %v", kind, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
}

// What has the name already stays: a file, and a link that leads elsewhere.
func TestExists(t *testing.T) {
	for _, there := range []string{"file", "link"} {
		dir := t.TempDir()
		path := filepath.Join(t.TempDir(), there)
		theirs := filepath.Join(t.TempDir(), "theirs")
		err := os.WriteFile(theirs, []byte("theirs"), 0o600)
		if there == "file" {
			path = theirs
		} else {
			err = errors.Join(err, os.Symlink(theirs, path))
		}
		if err != nil {
			t.Fatal(err)
		}
		for kind, f := range made(t, dir) {
			if _, err := f.WriteString("ours"); err != nil {
				t.Fatal(err)
			}
			if err := f.Name(path); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s over a %s: %v", kind, there, err)
			}
		}
		if b, err := os.ReadFile(theirs); err != nil || string(b) != "theirs" {
			t.Errorf("%s: %q, %v", there, b, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

func TestFolderThatIsNot(t *testing.T) {
	if _, err := Create(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
