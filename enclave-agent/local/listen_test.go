package local

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
)

func mode(t *testing.T, path string) (os.FileMode, *syscall.Stat_t) {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Mode().Perm(), fi.Sys().(*syscall.Stat_t)
}

// AG-01: the socket and its folder are for those who may connect.
func TestListenUnix(t *testing.T) {
	for _, c := range []struct {
		group       string
		dir, socket os.FileMode
	}{{"", 0o700, 0o600}, {"65533", 0o750, 0o660}} {
		if c.group != "" && os.Geteuid() != 0 {
			continue
		}
		path := filepath.Join(shortDir(t), "made", "api")
		l, err := ListenUnix(path, c.group)
		if err != nil {
			t.Fatal(err)
		}
		if m, st := mode(t, filepath.Dir(path)); m != c.dir || c.group != "" && st.Gid != other {
			t.Errorf("folder: %#o, group %d", m, st.Gid)
		}
		if m, st := mode(t, path); m != c.socket || c.group != "" && st.Gid != other {
			t.Errorf("socket: %#o, group %d", m, st.Gid)
		}
		if conn, err := net.Dial("unix", path); err != nil {
			t.Error(err)
		} else {
			conn.Close()
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	}
}

// AG-01: what others could have put in the way is refused, and left as it was.
func TestListenUnixRefuses(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, dir, path string) error{
		"a file":           func(_ *testing.T, _, path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"a folder":         func(_ *testing.T, _, path string) error { return os.Mkdir(path, 0o700) },
		"a link":           func(_ *testing.T, dir, path string) error { return os.Symlink(filepath.Join(dir, "elsewhere"), path) },
		"a FIFO":           func(_ *testing.T, _, path string) error { return syscall.Mkfifo(path, 0o600) },
		"writable folder":  func(_ *testing.T, dir, _ string) error { return os.Chmod(dir, 0o777) },
		"sticky folder":    func(_ *testing.T, dir, _ string) error { return os.Chmod(dir, 0o777|os.ModeSticky) },
		"group's folder":   func(_ *testing.T, dir, _ string) error { return os.Chmod(dir, 0o770) },
		"another's folder": func(_ *testing.T, dir, _ string) error { return os.Chown(dir, other, -1) },
		"folder is a link": func(_ *testing.T, dir, _ string) error {
			return errors.Join(os.Rename(dir, dir+"-real"), os.Symlink(dir+"-real", dir))
		},
		"a socket that is answered": func(t *testing.T, _, path string) error {
			l, err := net.Listen("unix", path)
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		},
		"another's socket": func(_ *testing.T, _, path string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return errors.Join(l.Close(), os.Chown(path, other, -1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "another's") && os.Geteuid() != 0 {
				t.Skip("needs root: it gives a file away")
			}
			dir := filepath.Join(shortDir(t), "d")
			path := filepath.Join(dir, "api")
			if err := errors.Join(os.Mkdir(dir, 0o700), prepare(t, dir, path)); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path)
			l, err := ListenUnix(path, "")
			if !errors.Is(err, agent.ErrConfig) || l != nil {
				t.Errorf("%v", err)
			}
			if after, _ := os.Lstat(path); before != nil && (after == nil || before.Mode() != after.Mode()) {
				t.Errorf("%v became %v", before, after)
			}
		})
	}
}

// What an earlier run left behind is in nobody's way.
func TestListenUnixStale(t *testing.T) {
	path := filepath.Join(shortDir(t), "d", "api")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	l, err := ListenUnix(path, "")
	if err != nil {
		t.Fatal(err)
	}
	// Closing takes away its own socket, not one that came after it.
	if err := os.Rename(path, path+"-old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another's file is gone: %v", err)
	}
}

// A folder that is exchanged after it was opened changes nothing.
func TestListenUnixRace(t *testing.T) {
	dir := filepath.Join(shortDir(t), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := openFolder(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(dir, dir+"-mine"), os.Mkdir(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	l := &unixListener{dir: f, name: "api"}
	if err := l.bind(nil); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := os.Lstat(filepath.Join(dir+"-mine", "api")); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "api")); err == nil {
		t.Error("the socket is in the folder that was put in the way")
	}
}

func TestActivated(t *testing.T) {
	for name, env := range map[string][2]string{
		"not started by systemd": {"", ""}, "for another process": {"1", "1"}, "more than one": {"", "2"}, "none": {"", "0"},
	} {
		pid := env[0]
		if pid == "" && env[1] != "" {
			pid = strconv.Itoa(os.Getpid())
		}
		t.Setenv("LISTEN_PID", pid)
		t.Setenv("LISTEN_FDS", env[1])
		if _, err := activated(); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Connections beyond the bound wait until another is closed.
// TestLimits: no connection lasts because its other side sends or reads nothing.
func TestLimits(t *testing.T) {
	c, err := ParseConfig([]byte(`{"v":1,"tcp":{"address":"127.0.0.1:0"},"callers":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(c, Options{Agent: &fake{}, Trust: testTrust(), Log: newLog(&logged{})})
	if err != nil {
		t.Fatal(err)
	}
	srv := s.server(nil)
	for name, d := range map[string]time.Duration{"header": srv.ReadHeaderTimeout, "request": srv.ReadTimeout, "answer": srv.WriteTimeout, "idle": srv.IdleTimeout} {
		if d <= 0 || d > 2*time.Minute {
			t.Errorf("%s: %s", name, d)
		}
	}
	if srv.MaxHeaderBytes <= 0 || srv.MaxHeaderBytes > 64<<10 {
		t.Errorf("headers of %d bytes", srv.MaxHeaderBytes)
	}
}

func TestBounded(t *testing.T) {
	inner, outer := net.Pipe()
	defer outer.Close()
	l := bounded(&endless{inner}).(*boundedListener)
	var conns []net.Conn
	for range maxConns {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	accepted := make(chan error)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	conns[0].Close()
	conns[0].Close() // gives its place back once
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	if len(l.places) != maxConns {
		t.Errorf("%d places taken of %d", len(l.places), maxConns)
	}
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// endless accepts the same connection again and again.
type endless struct{ net.Conn }

func (e *endless) Accept() (net.Conn, error) { return e.Conn, nil }
func (e *endless) Addr() net.Addr            { return e.LocalAddr() }
