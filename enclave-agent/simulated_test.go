package agent

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
)

// device is a socket that answers each line as it is told.
func device(t *testing.T, answer func(c net.Conn, line string)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dev") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); os.RemoveAll(dir) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if line, err := bufio.NewReader(c).ReadString('\n'); err == nil {
					answer(c, line)
				}
			}()
		}
	}()
	return path
}

func says(text string) func(net.Conn, string) {
	return func(c net.Conn, _ string) { _, _ = c.Write([]byte(text)) }
}

// A device that is broken ends an attempt with an error that says how, and in time.
func TestBrokenDevice(t *testing.T) {
	const good = `{"type":"simulated-snp","evidence":{"type":"simulated-snp"},"endorsements":[]}`
	for name, c := range map[string]struct {
		answer func(net.Conn, string)
		text   string
	}{
		"honest":        {says(good + "\n"), ""},
		"gone at once":  {says(""), "no whole line"},
		"half a line":   {says(good), "no whole line"},
		"no JSON":       {says("hello\n"), "invalid"},
		"two documents": {says(good + good + "\n"), "invalid"},
		"unknown":       {says(`{"type":"simulated-snp","trust":"me"}` + "\n"), "unknown"},
		"duplicate":     {says(`{"type":"a","type":"simulated-snp"}` + "\n"), "duplicate"},
		"other":         {says(`{"type":"simulated-tdx"}` + "\n"), "it plays"},
		"no type":       {says("{}\n"), "it plays"},
		"null":          {says("null\n"), "it plays"},
		"refuses":       {says(`{"error":"no"}` + "\n"), `it says: "no"`},
		"huge": {func(c net.Conn, _ string) {
			for junk := make([]byte, 64<<10); ; {
				if _, err := c.Write(junk); err != nil {
					return
				}
			}
		}, "no whole line"},
	} {
		s := &simulated{"simulated-snp", device(t, c.answer)}
		ev, err := s.evidence(t.Context(), Ask{RuntimeData: []byte("x")}, nil)
		if c.text == "" {
			if err != nil || ev.Type != s.platform || string(ev.RuntimeData) != "x" {
				t.Errorf("%s: %+v, %v", name, ev, err)
			}
			continue
		}
		if err == nil || !errors.Is(err, ErrNoHardware) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %q", name, err, c.text)
		}
	}
}

func TestSilentDevice(t *testing.T) {
	asked, done := make(chan bool), make(chan bool)
	s := &simulated{"simulated-snp", device(t, func(net.Conn, string) { asked <- true; <-done })}
	defer close(done)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := s.evidence(ctx, Ask{}, nil); ExitCode(err) != ExitNoHardware {
		t.Errorf("%v", err)
	}
	late, stop := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer stop()
	if _, err := s.evidence(late, Ask{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	absent := &simulated{"simulated-snp", filepath.Join(t.TempDir(), "absent")}
	if _, err := absent.evidence(t.Context(), Ask{}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// What is asked is the hash of the runtime data and the nonce, nothing else.
func TestQuestion(t *testing.T) {
	lines := make(chan string, 1)
	s := &simulated{attest.TypeNitro.Simulated(), device(t, func(c net.Conn, line string) {
		lines <- line
		says(`{"type":"simulated-nitro","evidence":{}}`+"\n")(c, line)
	})}
	if _, err := s.evidence(t.Context(), Ask{RuntimeData: []byte("x"), Nonce: []byte{1}}, nil); err != nil {
		t.Fatal(err)
	}
	const want = `{"v":1,"signed":"LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE","nonce":"AQ"}` + "\n"
	if got := <-lines; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
