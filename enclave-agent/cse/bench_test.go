package cse

import (
	"context"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// benchSize is that of the blob in bytes: 64 regions.
const benchSize = 256 << 20

// BenchmarkGCM opens regions with the standard library on one core: what decrypting
// cannot do without.
func BenchmarkGCM(b *testing.B) {
	key, err := newContentKey(kek)
	if err != nil {
		b.Fatal(err)
	}
	var nonce [nonceSize]byte
	plain := make([]byte, RegionSize)
	blob := key.aead.Seal(nil, nonce[:], plain, nil)
	b.SetBytes(RegionSize)
	for b.Loop() {
		if _, err := key.aead.Open(plain[:0], nonce[:], blob, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecrypt reads a blob from the page cache and throws the plain text away.
func BenchmarkDecrypt(b *testing.B) {
	r := newRun(b)
	b.SetBytes(benchSize)
	for b.Loop() {
		r.decrypt(b, os.DevNull)
	}
}

// run is a blob in a file.
type run struct {
	e    *EncryptionData
	key  *ContentKey
	path string
}

func newRun(t testing.TB) *run {
	t.Helper()
	w, err := NewAESWrapper(kek)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{path: filepath.Join(t.TempDir(), "blob")}
	if r.e, r.key, err = New(keyURL, w); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := r.key.Encrypt(t.Context(), f, io.LimitReader(rand.Reader, benchSize)); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *run) decrypt(t testing.TB, target string) {
	t.Helper()
	in, err := os.Open(r.path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.Decrypt(context.Background(), out, in, r.key, -1); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRatios prints how decrypting compares with what it cannot do without: AES-GCM on
// one core, and cp. `make bench` runs it.
func TestRatios(t *testing.T) {
	if os.Getenv("OPENSKR_BENCH") == "" {
		t.Skip("measures: OPENSKR_BENCH=1")
	}
	r := newRun(t)
	gcm := testing.Benchmark(BenchmarkGCM)
	raw := float64(gcm.Bytes) * float64(gcm.N) / gcm.T.Seconds()
	out, copied := r.path+".plain", r.path+".copy"
	null := fastest(func() { r.decrypt(t, os.DevNull) })
	file := fastest(func() { _ = os.Remove(out); r.decrypt(t, out) })
	cp := fastest(func() {
		_ = os.Remove(copied)
		if err := exec.Command("cp", "--reflink=never", r.path, copied).Run(); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("AES-256-GCM, one core      %7.0f MB/s", raw/1e6)
	t.Logf("decrypt to /dev/null       %7.0f MB/s  %.2f of it (goal 0.8)", null/1e6, null/raw)
	t.Logf("cp in %-19s  %7.0f MB/s", filepath.Dir(os.TempDir()+"/x"), cp/1e6)
	t.Logf("decrypt to a file there    %7.0f MB/s  %.2f of it (goal 0.9)", file/1e6, file/cp)
}

// fastest gives the best rate of a few runs in bytes a second: the rest is noise of others.
func fastest(do func()) float64 {
	best := time.Hour
	for range 7 {
		start := time.Now()
		do()
		best = min(best, time.Since(start))
	}
	return benchSize / best.Seconds()
}
