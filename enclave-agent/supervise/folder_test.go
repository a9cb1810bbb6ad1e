package supervise

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

// unprivileged calls f in a thread that is no superuser's for files.
func unprivileged(f func(string) error, path string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		_, err := unix.SetfsuidRetUid(65534)
		done <- errors.Join(err, f(path))
	}()
	return <-done
}

// TestWouldMake: what is said of a path is what comes of it, and saying it makes nothing.
func TestWouldMake(t *testing.T) {
	for name, c := range map[string]struct {
		mode    os.FileMode
		prepare func(a string) error
		path    string
		made    bool
	}{
		"there":               {0o777, func(a string) error { return os.Mkdir(a, 0o755) }, "a", true},
		"to be made":          {0o777, nil, "a/b", true},
		"where it may not":    {0o555, nil, "a", false},
		"below where it may":  {0o555, func(a string) error { return os.Mkdir(a, 0o755) }, "a/b/c", os.Geteuid() != 0},
		"a file":              {0o777, func(a string) error { return os.WriteFile(a, nil, 0o600) }, "a", false},
		"below a file":        {0o777, func(a string) error { return os.WriteFile(a, nil, 0o600) }, "a/b", false},
		"below a link":        {0o777, func(a string) error { return os.Symlink(".", a) }, "a/b", true},
		"a link to nothing":   {0o777, func(a string) error { return os.Symlink("none", a) }, "a", false},
		"below such":          {0o777, func(a string) error { return os.Symlink("none", a) }, "a/b", false},
		"below what is shut":  {0o777, func(a string) error { return os.Mkdir(a, 0) }, "a/b", false},
		"deep below the same": {0o777, func(a string) error { return os.Mkdir(a, 0) }, "a/b/c/d", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.prepare != nil {
				if err := c.prepare(filepath.Join(dir, "a")); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, c.mode)); err != nil {
				t.Fatal(err)
			}
			path, before := filepath.Join(dir, c.path), names(t, dir)
			would := unprivileged(wouldMake, path)
			if after := names(t, dir); after != before {
				t.Errorf("%d names, and %d before", after, before)
			}
			if err := unprivileged(makeFolder, path); (err == nil) != c.made || (would == nil) != c.made {
				t.Errorf("said %v, is %v", would, err)
			}
		})
	}
}

func names(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestCheckRunMakesNothing: the path of the secrets is not there after a look at it either,
// and one that cannot be made is a fault of the configuration.
func TestCheckRunMakesNothing(t *testing.T) {
	dir := t.TempDir()
	c := good()
	c.Dir = filepath.Join(dir, "a", "b")
	err := c.CheckRun()
	if fd, may := mount(); may == nil {
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			t.Error(err)
		}
	}
	if names(t, dir) != 0 {
		t.Error("something is left behind")
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.CheckRun(); !errors.Is(err, agent.ErrConfig) {
		t.Errorf("below a file: %v", err)
	}
}
