package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

// person is at the other end of a terminal and answers each prompt.
type person struct {
	master *os.File
	seen   chan string // everything that was shown, when the terminal is closed
}

// terminal makes a pseudo terminal and a person who types answers, one for each prompt.
func terminal(t *testing.T, c *Console, answers ...string) *person {
	t.Helper()
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	raw, err := m.SyscallConn() // Fd would make it block
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var errs [2]error
	err = raw.Control(func(fd uintptr) {
		n, errs[0] = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		errs[1] = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
	})
	if err := errors.Join(err, errs[0], errs[1]); err != nil {
		t.Skip(err)
	}
	c.Path = "/dev/pts/" + strconv.Itoa(n)
	slave, err := os.OpenFile(c.Path, os.O_RDWR|unix.O_NOCTTY, 0) // keeps it up between prompts
	if err != nil {
		t.Skip(err)
	}
	p := &person{m, make(chan string, 1)}
	go func() {
		var seen bytes.Buffer
		b := make([]byte, 256)
		for {
			k, err := m.Read(b)
			if err != nil {
				p.seen <- seen.String()
				return
			}
			seen.Write(b[:k])
			if strings.HasSuffix(seen.String(), "): ") && len(answers) > 0 {
				_, _ = m.WriteString(answers[0])
				answers = answers[1:]
			}
		}
	}()
	t.Cleanup(func() { slave.Close(); m.Close() })
	return p
}

func TestRecoveryKey(t *testing.T) {
	shape := regexp.MustCompile(`^([a-z2-7]{4}-){6}[a-z2-7]{4}$`)
	seen := map[string]bool{}
	for range 100 {
		s, err := newRecoveryKey()
		if err != nil {
			t.Fatal(err)
		}
		k := string(s.Bytes())
		if !shape.MatchString(k) || seen[k] {
			t.Fatalf("%s", k)
		}
		seen[k] = true
		s.Close()
	}
}

// BU-11: a refusal asks for the recovery key and nothing else; three tries.
func TestBU11Recovery(t *testing.T) {
	refused := &agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied", Correlation: "c-9"}
	t.Run("right at the second try", func(t *testing.T) {
		r := newRig(t)
		r.vault.err, r.disk.Recovery = refused, Prompt
		p := terminal(t, r.Console, "wrong\n", r.recovery+"\n")
		out, err := r.Unlock(t.Context(), "root", r.disk)
		if err != nil || !out.Recovered || !out.Capped || out.Key != "" {
			t.Fatalf("%+v, %v", out, err)
		}
		p.master.Close()
		if seen := <-p.seen; strings.Contains(seen, r.recovery) || strings.Contains(seen, "wrong") {
			t.Errorf("what was typed shows: %q", seen)
		}
		if said := r.said.String(); !strings.Contains(said, "policy_denied") || !strings.Contains(said, "c-9") || strings.Contains(said, r.recovery) {
			t.Errorf("%s", said)
		}
	})
	t.Run("three wrong", func(t *testing.T) {
		r := newRig(t)
		r.vault.err, r.disk.Recovery = refused, Prompt
		terminal(t, r.Console, "a\n", "\n", string(r.vault.material)+"\n", r.recovery+"\n")
		if _, err := r.Unlock(t.Context(), "root", r.disk); !errors.Is(err, errWrongKey) || agent.ExitCode(err) != agent.ExitRefused {
			t.Errorf("%v", err)
		}
		if len(r.capped) > 0 {
			t.Error("capped")
		}
	})
	t.Run("off", func(t *testing.T) {
		r := newRig(t)
		r.vault.err = refused
		terminal(t, r.Console, r.recovery+"\n")
		if _, err := r.Unlock(t.Context(), "root", r.disk); !errors.Is(err, refused) {
			t.Errorf("%v", err)
		}
	})
	t.Run("no recovery slot", func(t *testing.T) {
		r := newRig(t)
		s := Seal{Device: r.disk.Device, Key: testKey, Erase: true}
		if _, err := s.Seal(t.Context(), r.vault); err != nil {
			t.Fatal(err)
		}
		r.vault.err, r.disk.Recovery = refused, Prompt
		terminal(t, r.Console, r.recovery+"\n")
		if _, err := r.Unlock(t.Context(), "root", r.disk); !errors.Is(err, refused) || !strings.Contains(err.Error(), "no recovery key") {
			t.Errorf("%v", err)
		}
	})
	t.Run("other shape", func(t *testing.T) {
		r := newRig(t)
		b := r.bytes(t)
		copy(b, mutate(t, b[:sealedHeader], set("segments/0", "encryption", "cipher_null-ecb")))
		r.write(t, b)
		r.disk.Recovery = Prompt
		terminal(t, r.Console, r.recovery+"\n")
		if _, err := r.Unlock(t.Context(), "root", r.disk); !errors.Is(err, agent.ErrDisk) {
			t.Errorf("%v", err)
		}
	})
	t.Run("no terminal", func(t *testing.T) {
		r := newRig(t)
		r.vault.err, r.disk.Recovery = refused, Prompt
		r.Console.Path = filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(r.Console.Path, []byte(r.recovery+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Unlock(t.Context(), "root", r.disk); !errors.Is(err, refused) || !strings.Contains(err.Error(), "no terminal") {
			t.Errorf("%v", err)
		}
	})
}

// Nobody answers: the wait is over when ctx is, and the terminal echoes again.
func TestNobodyAnswers(t *testing.T) {
	c := &Console{Err: &bytes.Buffer{}}
	terminal(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.askSecret(ctx, "Key (try): "); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	fd, err := c.terminal()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if s, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil || s.Lflag&unix.ECHO == 0 {
		t.Errorf("echo is off: %v", err)
	}
}

// Whoever has disk and console brings a disk with a key of his own: what starts from it
// must not get this machine's keys. So a PCR says that it was opened by hand, also where
// the configuration caps none, and where there is no PCR nothing opens.
func TestRecoveryIsMarked(t *testing.T) {
	refused := &agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied"}
	for _, d := range []struct{ given, want int }{{15, 15}, {14, 14}, {NoCap, agent.DefaultCap}} {
		for _, capErr := range []error{nil, agent.ErrNoPCR, errors.New("TPM broken")} {
			t.Run(fmt.Sprint(d.given, capErr), func(t *testing.T) {
				r := newRig(t)
				r.vault.err, r.disk.Recovery, r.disk.Cap, r.capErr = refused, Prompt, d.given, capErr
				log := filepath.Join(t.TempDir(), "log")
				r.tool = &cryptsetup{path: script(t, "echo $1 >>"+log)}
				terminal(t, r.Console, r.recovery+"\n", r.recovery+"\n")
				_, err := r.Unlock(t.Context(), "root", r.disk)
				if !errors.Is(err, capErr) || (err == nil) != (capErr == nil) {
					t.Errorf("%v", err)
				}
				if got := string(read(t, log)); got != map[bool]string{true: "open\n", false: "open\nclose\n"}[capErr == nil] {
					t.Errorf("cryptsetup was run for %q", got)
				}
				s := serve(t, r, nil)
				if got := s.ask(t, peer("root")); (string(got) == r.recovery) != (capErr == nil) {
					t.Errorf("the key socket gave %d bytes", len(got))
				}
				s.stop()
				for i := range 2 {
					if len(r.capped) != 2 || r.capped[i] != d.want || r.events[i] != agent.RecoveryEvent {
						t.Fatalf("extended %v with %q", r.capped, r.events)
					}
				}
			})
		}
	}
}
