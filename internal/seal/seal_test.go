package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func write(t *testing.T, mode os.FileMode, content string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, mode); err != nil {
		t.Fatal(err)
	}
	return p
}

var sample = bytes.Repeat([]byte{0xa7, 0x31}, 16)

func TestFileForms(t *testing.T) {
	good := hex.EncodeToString(sample)
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		ok      bool
	}{
		"hex":              {good + "\n", 0o400, true},
		"no line end":      {good, 0o600, true},
		"base64url":        {base64.RawURLEncoding.EncodeToString(sample) + "\n", 0o400, true},
		"group may read":   {good, 0o440, false},
		"world may read":   {good, 0o604, false},
		"executable":       {good, 0o700, false},
		"empty":            {"", 0o400, false},
		"short":            {good[2:], 0o400, false},
		"two lines":        {good + "\n\n", 0o400, false},
		"blank in front":   {" " + good[1:], 0o400, false},
		"raw bytes":        {string(sample), 0o400, false},
		"zero":             {strings.Repeat("0", 64), 0o400, false},
		"loose base64":     {base64.RawURLEncoding.EncodeToString(sample)[:42] + "9", 0o400, false},
		"not hex":          {strings.Repeat("g", 64), 0o400, false},
		"large":            {strings.Repeat(good, 10), 0o400, false},
		"base64 with plus": {"+" + base64.RawURLEncoding.EncodeToString(sample)[1:], 0o400, false},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := File(write(t, c.mode, c.content))
			if (err == nil) != c.ok {
				t.Fatalf("err = %v, want ok %v", err, c.ok)
			}
			if err != nil && c.content != "" && strings.Contains(err.Error(), strings.TrimSpace(c.content)) {
				t.Errorf("the error quotes the key: %v", err)
			}
			if c.ok && k.ID() != mustKEK(t).ID() {
				t.Errorf("id %s differs from that of the same key", k.ID())
			}
		})
	}
}

func mustKEK(t *testing.T) KEK {
	t.Helper()
	k, err := newLocal(bytes.Clone(sample))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestFileRefusesWhatIsNotAFile(t *testing.T) {
	good := write(t, 0o400, hex.EncodeToString(sample))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{link, fifo, t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := File(p); err == nil {
			t.Errorf("%s accepted", p)
		}
	}
}

func TestNewFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "kek")
	made, err := NewFile(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := File(p)
	if err != nil || again.ID() != made.ID() {
		t.Fatalf("read back: %v, ids %v %v", err, made, again)
	}
	before, _ := os.ReadFile(p)
	if _, err := NewFile(p); err == nil {
		t.Error("overwrote a key")
	}
	if after, _ := os.ReadFile(p); !bytes.Equal(before, after) {
		t.Error("the key changed")
	}
	if strings.Contains(string(before), made.ID()) {
		t.Error("the id is part of the key")
	}
}

func TestWrap(t *testing.T) {
	ctx, k := t.Context(), mustKEK(t)
	sealed, err := k.Wrap(ctx, []byte("secret"), []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Unwrap(ctx, sealed, []byte("aad")); err != nil || string(got) != "secret" {
		t.Fatalf("got %q, %v", got, err)
	}
	other, _ := newLocal(bytes.Repeat([]byte{9}, Size))
	if _, err := other.Unwrap(ctx, sealed, []byte("aad")); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	if _, err := k.Unwrap(ctx, sealed, []byte("aae")); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another aad: %v", err)
	}
	for i := range sealed {
		if _, err := k.Unwrap(ctx, sealed[:i], []byte("aad")); !errors.Is(err, ErrWrongKey) {
			t.Errorf("first %d bytes: %v", i, err)
		}
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := k.Unwrap(ctx, bad, []byte("aad")); !errors.Is(err, ErrWrongKey) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); strings.Contains(s, "gcm") || strings.Contains(s, hex.EncodeToString(sample)) {
		t.Errorf("formatting shows the key: %s", s)
	}
}

func TestOutside(t *testing.T) {
	base := t.TempDir()
	data := filepath.Join(base, "data")
	if err := os.MkdirAll(filepath.Join(data, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(data, filepath.Join(base, "alias")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(base, "nowhere"), filepath.Join(base, "dangling")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kek, dir string
		ok       bool
	}{
		{"kek", "data", true},
		{"data.kek", "data", true},
		{"database/kek", "data", true},
		{"kek", "data/new/deeper", true},
		{"data/kek", "data", false},
		{"data/sub/kek", "data", false},
		{"data/../data/kek", "data", false},
		{"alias/kek", "data", false},
		{"data/kek", "alias", false},
		{"alias/new/kek", "alias/new", false},
		{"data", "data", false},
		{"dangling/kek", "data", false},
	} {
		err := Outside(base+"/"+c.kek, base+"/"+c.dir)
		if (err == nil) != c.ok {
			t.Errorf("KEK %s, data %s: %v, want ok %v", c.kek, c.dir, err, c.ok)
		}
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte(hex.EncodeToString(sample)))
	f.Add([]byte(base64.RawURLEncoding.EncodeToString(sample) + "\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parse(b)
		if (err == nil) != (len(k) == Size) {
			t.Fatalf("%d bytes, %v", len(k), err)
		}
	})
}
