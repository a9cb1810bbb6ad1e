package canary

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func newKey(t *testing.T) (*Keys, []byte) {
	t.Helper()
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	k, err := New(b)
	if err != nil {
		t.Fatal(err)
	}
	return k, b
}

func TestForms(t *testing.T) {
	k, key := newKey(t)
	for name, text := range map[string]string{
		"raw": string(key), "first half": string(key[:16]), "one register": string(key[8:16]),
		"hex": hex.EncodeToString(key), "HEX": fmt.Sprintf("%X", key),
		"base64": base64.StdEncoding.EncodeToString(key), "base64 URL": base64.RawURLEncoding.EncodeToString(key),
		"base64 inside, 1": base64.RawURLEncoding.EncodeToString(append([]byte(`"`), key...)),
		"base64 inside, 2": base64.RawURLEncoding.EncodeToString(append([]byte(`{"`), key...)),
	} {
		if len(k.In([]byte("before "+text+" after"))) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
	if found := k.In(make([]byte, 100)); found != nil {
		t.Error(found)
	}
	if _, err := New(key[:15]); err == nil {
		t.Error("a canary of 15 bytes")
	}
}

func TestFiles(t *testing.T) {
	k, key := newKey(t)
	dir := t.TempDir()
	if found, err := k.Files(dir); found != nil || err != nil {
		t.Error(found, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "log"), []byte("key="+hex.EncodeToString(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := k.Files(dir); found == nil || err != nil {
		t.Error("a file with the key is clean", err)
	}
}

// TestCanaryOfAProcess scans a process of its own that was told the key.
func TestCanaryOfAProcess(t *testing.T) {
	if os.Getenv("OPENSKR_TEST_CHILD") != "" {
		child()
		return
	}
	k, key := newKey(t)
	for name, c := range map[string]struct {
		args, env []string
		in        string
		found     bool
	}{
		"clean":       {},
		"argument":    {args: []string{hex.EncodeToString(key)}, found: true},
		"environment": {env: []string{"KEY=" + hex.EncodeToString(key)}, found: true},
		"heap":        {in: hex.EncodeToString(key), found: true},
	} {
		cmd := exec.Command("/proc/self/exe", append([]string{"-test.run=^TestCanaryOfAProcess$"}, c.args...)...)
		cmd.Env = append(append(os.Environ(), "OPENSKR_TEST_CHILD=1"), c.env...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(in, c.in)
		_, _ = bufio.NewReader(out).ReadString('\n')
		found, err := k.Process(cmd.Process.Pid)
		if err != nil || (found != nil) != c.found {
			t.Errorf("%s: %v %q", name, err, found)
		}
		if found, err := k.Astray(cmd.Process.Pid); err != nil || (found != nil) != c.found {
			t.Errorf("%s, outside the pages of secrets: %v %q", name, err, found)
		}
		in.Close()
		_ = cmd.Wait()
	}
}

// child keeps the line that it was told.
func child() {
	in := bufio.NewReader(os.Stdin)
	line, _ := in.ReadString('\n')
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, in)
	fmt.Fprintln(io.Discard, line)
}
