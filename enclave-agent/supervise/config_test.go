package supervise

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

func good() *Config {
	return &Config{
		Secrets: []Secret{{"A", Env}, {"B", File}, {"C", FD}}, Dir: "/run/x", Command: []string{"true"},
		Watch: time.Minute, Change: Restart, Stop: time.Second, Notice: func(string) {},
	}
}

func TestCheck(t *testing.T) {
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no secret":           func(c *Config) { c.Secrets = nil },
		"no command":          func(c *Config) { c.Command = nil },
		"empty name":          func(c *Config) { c.Secrets[0].Name = "" },
		"name with =":         func(c *Config) { c.Secrets[0].Name = "A=B" },
		"name is a path":      func(c *Config) { c.Secrets[1].Name = "../B" },
		"name with a line":    func(c *Config) { c.Secrets[0].Name = "A\n" },
		"digit first":         func(c *Config) { c.Secrets[0].Name = "1A" },
		"long name":           func(c *Config) { c.Secrets[0].Name = strings.Repeat("A", 129) },
		"name twice":          func(c *Config) { c.Secrets[1] = c.Secrets[0] },
		"variable twice":      func(c *Config) { c.Secrets[0].Name = "B_FILE" },
		"one file, two forms": func(c *Config) { c.Secrets[2].Name = "B" },
		"relative folder":     func(c *Config) { c.Dir = "run/x" },
		"folder not clean":    func(c *Config) { c.Dir = "/run/../x" },
		"root as folder":      func(c *Config) { c.Dir = "/" },
		"too often":           func(c *Config) { c.Watch = MinWatch - 1 },
		"negative":            func(c *Config) { c.Watch = -time.Minute },
		"no change":           func(c *Config) { c.Change = "" },
		"signal for env":      func(c *Config) { c.Secrets, c.Change = c.Secrets[:2], Signal },
		"signal for fd":       func(c *Config) { c.Secrets, c.Change = c.Secrets[1:], Signal },
	} {
		c := good()
		change(c)
		if err := c.Check(); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Looks that fail move apart, up to an hour or what was asked for, and none is at the
// same time on all machines.
func TestSchedule(t *testing.T) {
	for _, c := range []struct {
		watch    time.Duration
		failures int
		want     time.Duration
	}{
		{time.Minute, 0, time.Minute},
		{time.Minute, 1, 2 * time.Minute},
		{time.Minute, 5, 32 * time.Minute},
		{time.Minute, 6, time.Hour},
		{time.Minute, 1000, time.Hour},
		{24 * time.Hour, 0, 24 * time.Hour},
		{24 * time.Hour, 3, 24 * time.Hour},
	} {
		s := &supervisor{Config: good(), look: stopped(), failures: c.failures}
		s.Watch = c.watch
		seen := map[time.Duration]bool{}
		for range 20 {
			got := s.schedule()
			if got < c.want*9/10 || got > c.want*11/10+time.Second {
				t.Errorf("%s after %d failures: %s, want about %s", c.watch, c.failures, got, c.want)
			}
			seen[got] = true
		}
		if s.look.Stop(); len(seen) < 10 {
			t.Errorf("%s: always the same: %v", c.watch, seen)
		}
	}
	if got := (&supervisor{Config: &Config{}}).schedule(); got != 0 {
		t.Errorf("looks without being asked: %s", got)
	}
}

func TestKept(t *testing.T) {
	for s := syscall.Signal(1); s <= maxSignal; s++ {
		own := s == unix.SIGKILL || s == unix.SIGSTOP || s == unix.SIGCHLD || s == unix.SIGURG
		asked := s == unix.SIGHUP || s == unix.SIGINT || s == unix.SIGQUIT || s == unix.SIGTERM || s == unix.SIGUSR1 || s == unix.SIGUSR2 || s == unix.SIGWINCH || s > 34
		if own && !kept(s) || asked && kept(s) {
			t.Errorf("%d %s: kept: %v", s, s, kept(s))
		}
	}
}

func TestEndAs(t *testing.T) {
	for ws, want := range map[syscall.WaitStatus]int{0: 0, 42 << 8: 42, 255 << 8: 255, syscall.WaitStatus(unix.SIGUSR1): 138, syscall.WaitStatus(unix.SIGSEGV) | 0x80: 139} {
		if got := EndAs(ws); got != want {
			t.Errorf("%#x: %d, want %d", ws, got, want)
		}
	}
}

func TestNotRun(t *testing.T) {
	for err, want := range map[error]int{unix.ENOENT: 127, unix.EACCES: 126, unix.ENOEXEC: 126} {
		if got := (&NotRun{err}).ExitCode(); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

// A folder gets files whole, over nothing unless told, and gives them back.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := &folder{fd: fd, path: dir}
	if err := f.write("A", []byte("one"), false); err != nil {
		t.Fatal(err)
	}
	if err := f.write("A", []byte("two"), false); err == nil || !strings.Contains(err.Error(), "exists: it is not overwritten") {
		t.Errorf("over a file: %v", err)
	}
	if err := f.write("A", []byte("two"), true); err != nil {
		t.Error(err)
	}
	if err := f.close([]Secret{{"A", File}, {"B", File}}); err != nil {
		t.Error(err)
	}
	if got := list(t, dir); got != "" {
		t.Errorf("left: %s", got)
	}
}

func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestUnfit: no reader is started once the machine may hold no secrets any more, and that
// is said; the program keeps what it has.
func TestUnfit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		c := good()
		c.Fit, c.Notice = func() error { return errors.New("plain swap") }, func(s string) { said = append(said, s) }
		s := &supervisor{Config: c, look: time.NewTimer(time.Second), deadline: time.NewTimer(time.Minute)}
		s.current = &process{pid: 1 << 30} // which no process has, at the deadline
		if _, err := s.loop(nil, nil); !errors.Is(err, unix.ESRCH) {
			t.Error(err)
		}
		if len(said) != 2 || !strings.Contains(said[0], "failed (plain swap): the program keeps") || s.next != nil || s.failures != 1 {
			t.Errorf("%q, %d failures", said, s.failures)
		}
		s.look.Stop()
	})
}
