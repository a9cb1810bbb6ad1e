package agent

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/enclave-agent/file"
)

var material = []byte("not for everybody")

// AG-10: no link is followed, nothing is overwritten, no folder of everybody is used.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if err := WriteFile(path, material); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	target := filepath.Join(dir, "target")
	mustLink := func(name string) string {
		p := filepath.Join(dir, name)
		if err := os.Symlink(target, p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]string{
		"existing": path, "link": mustLink("link"), "folder": dir, "open folder": filepath.Join(open, "key"), "no folder": filepath.Join(dir, "a", "b"),
	} {
		if err := CheckFile(p); err == nil {
			t.Errorf("%s: would be written", name)
		}
		if err := WriteFile(p, material); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a link was followed")
	}
}

func TestWriteFD(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := WriteFD(int(w.Fd()), material); err != nil {
		t.Fatal(err)
	}
	w.Close()
	got := make([]byte, 64)
	n, err := r.Read(got)
	if err != nil || !bytes.Equal(got[:n], material) {
		t.Errorf("%q, %v", got[:n], err)
	}
	for name, fd := range map[string]int{"negative": -1, "closed": 9999} {
		if err := WriteFD(fd, material); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminal to try:", err)
	}
	defer tty.Close()
	if err := WriteFD(int(tty.Fd()), material); !errors.Is(err, ErrConfig) {
		t.Errorf("terminal: %v", err)
	}
}

// sealed writes an encrypted file for the fake's key.
func sealed(t *testing.T, b *broker, plain []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := file.Encrypt(&out, bytes.NewReader(plain), agenttest.KeyURL+"/"+agenttest.Version, b.Material); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "in.skr")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDecrypt(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, nil)
	plain := bytes.Repeat([]byte("words "), 50000)
	in, out := sealed(t, b, plain), filepath.Join(t.TempDir(), "out")
	if _, err := a.Decrypt(t.Context(), in, out, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if fi, err := os.Stat(out); err != nil || fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	before := b.Challenges
	if _, err := a.Decrypt(t.Context(), in, out, ""); err == nil || b.Challenges != before {
		t.Errorf("an existing file: %v, %d challenges", err, b.Challenges-before)
	}
}

func TestDecryptLeavesNothing(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, nil)
	good, err := os.ReadFile(sealed(t, b, bytes.Repeat([]byte("x"), 200000)))
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(good), "disk", "dusk", 1)
	for name, c := range map[string]struct {
		content string
		key     string
		want    error
	}{
		"no container": {"text", "", file.ErrFormat},
		"last chunk":   {string(good[:len(good)-1]) + "?", "", file.ErrTampered},
		"cut":          {string(good[:150000]), "", file.ErrTampered},
		"header":       {other, agenttest.KeyURL, file.ErrKey},
	} {
		dir := t.TempDir()
		in := filepath.Join(t.TempDir(), "in.skr")
		if err := os.WriteFile(in, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Decrypt(t.Context(), in, filepath.Join(dir, "out"), c.key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
}

// A file that appears while another is written is left alone too.
func TestCreateNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	err := create(path, func(io.Writer) error { return os.WriteFile(path, []byte("first"), 0o600) })
	if !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestEvidence(t *testing.T) {
	if shared.err != nil {
		t.Skip(shared.err)
	}
	body, err := Evidence(t.Context(), Hardware{TPM: shared.Socket, Root: t.TempDir()}, []byte("x"))
	if err != nil || !bytes.HasPrefix(body, []byte(`{"type":"tpm"`)) {
		t.Errorf("%.40s, %v", body, err)
	}
}
