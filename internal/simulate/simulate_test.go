package simulate

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
)

func TestSeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), SeedFile)
	if err := NewSeed(path); err != nil {
		t.Fatal(err)
	}
	first, err := ReadSeed(path)
	if err != nil || first == [SeedSize]byte{} {
		t.Fatal(err)
	}
	if err := NewSeed(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a seed was overwritten: %v", err)
	}
	if again, err := ReadSeed(path); err != nil || again != first {
		t.Errorf("another seed the second time: %v", err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSeed(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a seed that others may read: %v", err)
	}
	if _, err := ReadSeed(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for name, content := range map[string]string{
		"empty": "", "short": strings.Repeat("ab", 31), "long": strings.Repeat("ab", 33), "no hex": strings.Repeat("zz", 32), "two lines": strings.Repeat("ab", 32) + "\n\n",
	} {
		if err := os.WriteFile(path+name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSeed(path + name); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// socket is a path short enough for one.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sim")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func TestListen(t *testing.T) {
	path := socket(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(path); err != nil || fi.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	if _, err := Listen(path); err == nil {
		t.Error("two simulators at one socket")
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as if it had been killed
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Listen(path); err != nil {
		t.Errorf("a dead simulator's socket stays in the way: %v", err)
	} else if err := l.Close(); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("listens where a file is")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

// echo is a machine whose evidence is what it was asked.
func echo(q *Question) ([]byte, []attest.Endorsement, error) {
	if q.Nonce != nil {
		return nil, nil, errors.New("no nonces here")
	}
	return []byte(`"` + string(must(q.Signed.MarshalText())) + `"`), []attest.Endorsement{{Type: "t", Data: []byte{1}}}, nil
}

func must(b []byte, _ error) []byte { return b }

func TestAnswers(t *testing.T) {
	path := socket(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- asked("simulated-echo", echo).Serve(ctx, l) }()
	hash := strings.Repeat("A", 43)
	for question, want := range map[string]string{
		`{"v":1,"signed":"` + hash + `"}` + "\n":              `{"type":"simulated-echo","evidence":"` + hash + `","endorsements":[{"type":"t","data":"AQ"}]}`,
		`{"v":1,"signed":"` + hash + `","nonce":"AA"}` + "\n": `{"error":"no nonces here"}`,
		`{"v":2,"signed":"` + hash + `"}` + "\n":              `{"error":"want v 1 and 32 signed bytes"}`,
		`{"v":1,"signed":"AA"}` + "\n":                        `{"error":"want v 1 and 32 signed bytes"}`,
		"\n":                                                  `{"error":"`,
		`{"v":1}{"v":1}` + "\n":                               `{"error":"`,
		strings.Repeat("x", maxQuestion):                      `{"error":"want one line of at most 4096 bytes"}`,
	} {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(question)); err != nil {
			t.Fatal(err)
		}
		got, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%.60q: %q, %v", question, got, err)
		}
		c.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestOptionsRefused(t *testing.T) {
	if _, err := New("psp", [SeedSize]byte{1}, Options{}); err == nil {
		t.Error("psp: accepted")
	}
	for _, kind := range Kinds() {
		if _, err := New(kind, [SeedSize]byte{1}, Options{Measurement: []byte{1}}); err == nil || !strings.Contains(err.Error(), "measurement") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func FuzzParseQuestion(f *testing.F) {
	f.Add([]byte(`{"v":1,"signed":"` + strings.Repeat("A", 43) + `","nonce":"AA"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := ParseQuestion(b); err == nil && (q.V != 1 || len(q.Signed) != 32) {
			t.Fatalf("%+v", q)
		}
	})
}
