package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
)

// serving is a key socket for the rig's disk.
type serving struct {
	*Server
	socket string
	closed chan struct{}
	stop   func() // what it did may be looked at afterwards
}

// serve copies the header and serves the disk as volume root until the test ends.
func serve(t *testing.T, r *rig, change func(*Server)) *serving {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	s := &serving{closed: make(chan struct{}, 8), socket: filepath.Join(t.TempDir(), "s")}
	s.Server = &Server{
		Unlocker: Unlocker{Keys: r.Keys, Cap: r.Cap, CapRTMR: r.CapRTMR, Shown: r.Shown, Console: r.Console, Timeout: r.Timeout, tool: r.tool},
		Disks:    map[string]Disk{"root": r.disk}, Idle: time.Minute, dir: dir, uid: uint32(os.Getuid()),
		Closed:  func() { s.closed <- struct{}{} },
		options: func(int32, string) (string, error) { return "luks,header=" + dir + "/root.header,headless=true", nil },
	}
	if _, err := r.copyHeader(t.Context(), dir, "root", r.disk); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s.Server)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, l.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// ask is what systemd-cryptsetup does; nil is a refusal.
func (s *serving) ask(t *testing.T, peer string) []byte {
	t.Helper()
	var from *net.UnixAddr
	if peer != "" {
		from = &net.UnixAddr{Name: peer, Net: "unix"}
	}
	c, err := net.DialUnix("unix", from, &net.UnixAddr{Name: s.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func peer(name string) string { return fmt.Sprintf("@%x/cryptsetup/%s", time.Now().UnixNano(), name) }

func TestServe(t *testing.T) {
	r := newRig(t)
	s := serve(t, r, nil)
	for range 3 {
		if got := s.ask(t, peer("root")); !bytes.Equal(got, r.vault.material) {
			t.Errorf("%d bytes", len(got))
		}
	}
	s.stop()
	if r.vault.open.Bytes() != nil {
		t.Error("the key is still in memory")
	}
	if bytes.Contains(r.said.Bytes(), r.vault.material) {
		t.Error("the key was shown")
	}
}

func TestServeRefuses(t *testing.T) {
	denied := &agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied"}
	for name, c := range map[string]struct {
		peer   string
		change func(*rig, *Server)
		closed bool // a volume that stays closed, and no stranger
	}{
		"no name":               {"", nil, false},
		"other name":            {"@x/somebody/root", nil, false},
		"longer name":           {"@x/cryptsetup/root/more", nil, false},
		"path as volume":        {"@x/cryptsetup/..", nil, false},
		"unknown volume":        {peer("swap"), nil, true},
		"other user":            {peer("root"), func(_ *rig, s *Server) { s.uid++ }, false},
		"denied":                {peer("root"), func(r *rig, _ *Server) { r.vault.err = denied }, true},
		"other header recorded": {peer("root"), func(r *rig, _ *Server) { r.vault.tags[HeaderTag] = "sha256:" + strings.Repeat("0", 64) }, true},
		"sealed with another key": {peer("root"), func(_ *rig, s *Server) {
			d := s.Disks["root"]
			d.Key += "2"
			s.Disks = map[string]Disk{"root": d}
		}, true},
		"no header copied":       {peer("root"), func(_ *rig, s *Server) { os.Remove(filepath.Join(s.dir, "root.header")) }, true},
		"folder open to others":  {peer("root"), func(_ *rig, s *Server) { os.Chmod(s.dir, 0o777) }, true},
		"header is a link":       {peer("root"), func(_ *rig, s *Server) { link(s.dir) }, true},
		"no header option":       {peer("root"), options("luks"), true},
		"header of the device":   {peer("root"), options("luks,header=/dev/vda"), true},
		"header option, longer":  {peer("root"), func(_ *rig, s *Server) { options("luks,header="+s.dir+"/root.headers")(nil, s) }, true},
		"header of another name": {peer("root"), func(_ *rig, s *Server) { options("luks,header="+s.dir+"/swap.header")(nil, s) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := serve(t, r, func(s *Server) {
				if c.change != nil {
					c.change(r, s)
				}
			})
			if got := s.ask(t, c.peer); len(got) > 0 {
				t.Errorf("%d bytes", len(got))
			}
			// It is told before the connection ends.
			select {
			case <-s.closed:
				if !c.closed {
					t.Error("a stranger closed a volume")
				}
			default:
				if c.closed {
					t.Error("nobody was told that the volume stays closed")
				}
			}
		})
	}
}

func options(text string) func(*rig, *Server) {
	return func(_ *rig, s *Server) { s.options = func(int32, string) (string, error) { return text, nil } }
}

func link(dir string) {
	path := filepath.Join(dir, "root.header")
	_ = os.Rename(path, path+".real")
	_ = os.Symlink(path+".real", path)
}

// The recovery key is handed over instead, when it opens its slot.
func TestServeRecovery(t *testing.T) {
	r := newRig(t)
	r.vault.err, r.disk.Recovery = &agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied"}, Prompt
	terminal(t, r.Console, "wrong\n", r.recovery+"\n")
	s := serve(t, r, nil)
	if got := s.ask(t, peer("root")); string(got) != r.recovery {
		t.Errorf("%d bytes", len(got))
	}
}

// The real systemd-cryptsetup asks, with its own words. Without a device-mapper it fails
// once it has the key.
func TestRealSystemdCryptsetup(t *testing.T) {
	const program = "/lib/systemd/systemd-cryptsetup"
	if _, err := os.Stat(program); err != nil {
		t.Skip(err)
	}
	r := newRig(t)
	handed := make(chan string, 4)
	s := serve(t, r, func(s *Server) {
		s.options = func(pid int32, name string) (string, error) {
			o, err := attachOptions(pid, name)
			handed <- o
			return o, err
		}
	})
	want := "luks,headless=true,tries=1,header=" + s.dir + "/root.header"
	out, err := exec.CommandContext(t.Context(), program, "attach", "root", r.disk.Device, s.socket, want).CombinedOutput()
	t.Logf("%v: %s", err, out)
	select {
	case got := <-handed:
		if got != want {
			t.Errorf("options %q, want %q", got, want)
		}
	default:
		t.Skip("this systemd-cryptsetup gives up before it asks")
	}
}

func TestAttachOptions(t *testing.T) {
	if _, err := attachOptions(int32(os.Getpid()), "root"); err == nil {
		t.Error("this test was taken for systemd-cryptsetup")
	}
	if _, err := attachOptions(1<<30, "root"); err == nil {
		t.Error("no process was taken for systemd-cryptsetup")
	}
}

// A key socket that nobody asks any more ends; one under way is finished before.
func TestServeEnds(t *testing.T) {
	r := newRig(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &Server{Unlocker: Unlocker{tool: r.tool, Console: r.Console}, Idle: time.Millisecond}
	if err := s.Serve(t.Context(), l); err != nil {
		t.Error(err)
	}
}

func TestCopyHeader(t *testing.T) {
	r := newRig(t)
	dir := filepath.Join(t.TempDir(), "run")
	for range 2 { // again after a first time
		digest, err := r.copyHeader(t.Context(), dir, "root", r.disk)
		if err != nil || digest != r.vault.tags[HeaderTag] {
			t.Fatalf("%s, %v", digest, err)
		}
	}
	path := filepath.Join(dir, "root.header")
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 || fi.Size() != sealedHeader {
		t.Errorf("%v, %v", fi, err)
	}
	b := r.bytes(t)
	copy(b, mutate(t, b[:sealedHeader], set("segments/0", "encryption", "cipher_null-ecb")))
	r.write(t, b)
	if _, err := r.copyHeader(t.Context(), filepath.Join(t.TempDir(), "other"), "root", r.disk); !errors.Is(err, agent.ErrDisk) {
		t.Errorf("%v", err)
	}
	r.write(t, original.disk)
	if err := os.Chmod(dir, 0o722); err != nil {
		t.Fatal(err)
	}
	if _, err := r.copyHeader(t.Context(), dir, "root", r.disk); err == nil {
		t.Error("a header was put where others may write")
	}
}
