package file

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

const keyURL = "https://vault.example/keys/disk/0123456789abcdef0123456789abcdef"

var key = bytes.Repeat([]byte{7}, KeySize)

func encrypt(t testing.TB, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Encrypt(&out, bytes.NewReader(plain), keyURL, key); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func decrypt(sealed, key []byte) ([]byte, error) {
	f, err := Open(bytes.NewReader(sealed))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err = f.Unlock(key); err == nil {
		err = f.Decrypt(&out)
	}
	return out.Bytes(), err
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, ChunkSize - 1, ChunkSize, ChunkSize + 1, 2 * ChunkSize, 2*ChunkSize + 7} {
		plain := bytes.Repeat([]byte("x"), n)
		sealed := encrypt(t, plain)
		f, err := Open(bytes.NewReader(sealed))
		if err != nil || f.KeyURL != keyURL {
			t.Fatalf("%d: header %v", n, err)
		}
		got, err := decrypt(sealed, key)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if bytes.Contains(sealed, bytes.Repeat([]byte("x"), 16)) {
			t.Errorf("%d bytes: plain text in the container", n)
		}
	}
	if bytes.Equal(encrypt(t, nil), encrypt(t, nil)) {
		t.Error("two containers with the same salt")
	}
}

func TestRefused(t *testing.T) {
	plain := bytes.Repeat([]byte("y"), 2*ChunkSize+100)
	good := encrypt(t, plain)
	head := len(good) - len(plain) - 3*tagSize
	chunk := ChunkSize + tagSize
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		sealed []byte
		want   error
	}{
		"empty":            {nil, ErrFormat},
		"other magic":      {cat([]byte("OPENSKR\x02"), good[8:]), ErrFormat},
		"header cut":       {good[:20], ErrFormat},
		"header re-cased":  {bytes.Replace(good, []byte(`"key"`), []byte(`"Key"`), 1), ErrFormat},
		"header key":       {bytes.Replace(good, []byte("keys/disk"), []byte("keys/dusk"), 1), ErrKey},
		"plain http":       {bytes.Replace(good, []byte("https:"), []byte("httpx:"), 1), ErrFormat},
		"proof cut":        {good[:head-1], ErrTampered},
		"proof flipped":    {flip(good, head-1), ErrKey},
		"no chunk":         {good[:head], ErrTampered},
		"first only":       {good[:head+chunk], ErrTampered},
		"last dropped":     {good[:head+2*chunk], ErrTampered},
		"last cut":         {good[:len(good)-1], ErrTampered},
		"swapped":          {cat(good[:head], good[head+chunk:head+2*chunk], good[head:head+chunk], good[head+2*chunk:]), ErrTampered},
		"trailing byte":    {cat(good, []byte{0}), ErrTampered},
		"first flipped":    {flip(good, head), ErrTampered},
		"last bit flipped": {flip(good, len(good)-1), ErrTampered},
	} {
		if _, err := decrypt(c.sealed, key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for _, k := range [][]byte{nil, key[:16], bytes.Repeat([]byte{8}, KeySize)} {
		if got, err := decrypt(good, k); !errors.Is(err, ErrKey) || len(got) != 0 {
			t.Errorf("key of %d bytes: %v", len(k), err)
		}
	}
	whole := encrypt(t, bytes.Repeat([]byte("z"), ChunkSize))
	if _, err := decrypt(cat(whole, make([]byte, tagSize)), key); !errors.Is(err, ErrTampered) {
		t.Errorf("empty chunk after a full one: %v", err)
	}
}

func flip(b []byte, i int) []byte {
	out := bytes.Clone(b)
	out[i] ^= 1
	return out
}

func TestEncryptRefuses(t *testing.T) {
	for name, url := range map[string]string{"no url": "", "http": "http://h/keys/k", "too long": "https://h/" + strings.Repeat("k", maxURL)} {
		if err := Encrypt(&bytes.Buffer{}, strings.NewReader("x"), url, key); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := Encrypt(&bytes.Buffer{}, strings.NewReader("x"), keyURL, key[:31]); !errors.Is(err, ErrKey) {
		t.Errorf("short key: %v", err)
	}
}

// FuzzOpen: whatever opens was made with the key, and gives back what went in. (Each
// worker makes its own container, so bytes cannot be compared.)
func FuzzOpen(f *testing.F) {
	good := encrypt(f, []byte("plain"))
	f.Add(good)
	f.Add(good[:30])
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Open(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("error without a class: %v", err)
			}
			return
		}
		var out bytes.Buffer
		if r.Unlock(key) == nil && r.Decrypt(&out) == nil && out.String() != "plain" {
			t.Fatal("a container that nobody made opens")
		}
	})
}
