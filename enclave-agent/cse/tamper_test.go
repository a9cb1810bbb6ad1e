package cse

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"testing"
)

// foreign writes a blob as an SDK does that counts so, with regions of its own size.
func foreign(t testing.TB, version string, region int, count counting, plain []byte) (*EncryptionData, []byte) {
	t.Helper()
	w, err := NewAESWrapper(kek)
	if err != nil {
		t.Fatal(err)
	}
	cek := make([]byte, keySize)
	_, _ = rand.Read(cek)
	e := &EncryptionData{KeyID: keyURL, Algorithm: "A256KW", Version: version, Region: region}
	if e.wrapped, err = w.wrap(append(versionPrefix(version), cek...)); err != nil {
		t.Fatal(err)
	}
	key, err := newContentKey(cek)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for i := uint64(0); len(plain) > 0; i++ {
		n := min(region, len(plain))
		nonce := count(i)
		out = key.aead.Seal(append(out, nonce[:]...), nonce[:], plain[:n], nil)
		plain = plain[n:]
	}
	return e, out
}

func TestForeign(t *testing.T) {
	for i, count := range countings() {
		for _, region := range []int{MinRegion, 1000, RegionSize - 1, RegionSize, RegionSize + 1, MaxRegion} {
			plain := make([]byte, 2*region+region/2)
			_, _ = rand.Read(plain)
			e, blob := foreign(t, version21, region, count, plain)
			if got, err := opened(t, e, blob, kek, -1); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("SDK %d, regions of %d: %v", i, region, err)
			}
		}
	}
	// More regions than fit into one batch.
	plain := bytes.Repeat([]byte("0123456789abcdef"), 3*RegionSize/44)
	e, blob := foreign(t, version21, 16, countJava, plain[:len(plain)-3])
	if got, err := opened(t, e, blob, kek, -1); err != nil || !bytes.Equal(got, plain[:len(plain)-3]) {
		t.Errorf("many small regions: %v", err)
	}
}

// TestTampered changes blobs of five regions, the last one short.
func TestTampered(t *testing.T) {
	const region = 100
	const full = region + overhead
	plain := bytes.Repeat([]byte("0123456789"), 45)
	for i, count := range countings() {
		e, good := foreign(t, version21, region, count, plain)
		_, other := foreign(t, version21, region, count, plain)
		part := func(n int) []byte { return good[n*full : min((n+1)*full, len(good))] }
		cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
		for name, blob := range map[string][]byte{
			"first dropped":     good[full:],
			"one dropped":       cat(part(0), part(2), part(3), part(4)),
			"exchanged":         cat(part(0), part(2), part(1), part(3), part(4)),
			"twice":             cat(part(0), part(0), part(1), part(2), part(3), part(4)),
			"last first":        cat(part(4), part(0), part(1), part(2), part(3)),
			"of another blob":   cat(part(0), other[full:2*full], part(2), part(3), part(4)),
			"last of another":   cat(part(0), part(1), part(2), part(3), other[4*full:]),
			"bit of nonce":      flip(good, full+3),
			"bit of text":       flip(good, full+nonceSize),
			"bit of tag":        flip(good, 2*full-1),
			"last byte cut":     good[:len(good)-1],
			"last tag cut":      good[:len(good)-tagSize],
			"last nearly gone":  good[:4*full+5],
			"short in between":  cat(part(0), part(4)),
			"byte added":        cat(good, []byte{0}),
			"region added":      cat(good, part(0)),
			"not a byte of it":  bytes.Repeat([]byte{0}, len(good)),
			"smaller than one":  good[:overhead-1],
			"only last":         part(4),
			"empty region, end": cat(part(0), good[:overhead]),
		} {
			if got, err := opened(t, e, blob, kek, -1); !errors.Is(err, ErrTampered) {
				t.Errorf("SDK %d, %s: %v", i, name, err)
			} else if !bytes.HasPrefix(plain, got) {
				t.Errorf("SDK %d, %s: %q given out", i, name, got)
			}
			if _, err := opened(t, e, blob, kek, int64(len(plain))); !errors.Is(err, ErrTampered) {
				t.Errorf("SDK %d, %s, with the size: %v", i, name, err)
			}
		}
	}
}

func flip(b []byte, i int) []byte {
	out := bytes.Clone(b)
	out[i] ^= 1
	return out
}

// TestMixedCounters: a region that is authentic, in the place where another SDK would
// have had the same nonce.
func TestMixedCounters(t *testing.T) {
	if countJava(1) != countNET(1<<24-1) {
		t.Fatal("the counters do not collide where they are said to")
	}
	for i, c := range []struct {
		first, second [nonceSize]byte
		ok            bool
	}{
		{countPython(0), countPython(1), true},
		{countPython(0), countJava(1), true}, // the first region is alike
		{countNET(0), countNET(1), true},
		{countNET(0), countPython(1), false},
		{countNET(0), countJava(1), false},
		{countPython(0), countNET(1), false},
		{countPython(1), countPython(2), false},
	} {
		s := newSequence()
		if ok := s.follows(c.first[:]) && s.follows(c.second[:]); ok != c.ok {
			t.Errorf("%d: %v", i, ok)
		}
	}
	s := newSequence()
	for i, n := range [][nonceSize]byte{countPython(0), countJava(1), countPython(2)} {
		if ok := s.follows(n[:]); ok != (i < 2) {
			t.Errorf("Java's, then Python's: %d %v", i, ok)
		}
	}
}

// TestTruncated cuts whole regions off the end.
func TestTruncated(t *testing.T) {
	const region = 100
	plain := bytes.Repeat([]byte("0123456789"), 30)
	e, blob := foreign(t, version21, region, countPython, plain)
	for n := range 4 {
		cut := blob[:n*(region+overhead)]
		if _, err := opened(t, e, cut, kek, -1); !errors.Is(err, ErrUnproven) {
			t.Errorf("%d of 3 regions: %v", n, err)
		}
		_, err := opened(t, e, cut, kek, int64(len(plain)))
		if n == 3 && err != nil || n < 3 && !errors.Is(err, ErrTampered) {
			t.Errorf("%d of 3 regions, with the size: %v", n, err)
		}
	}
	if got, err := opened(t, e, nil, kek, 0); err != nil || len(got) != 0 {
		t.Errorf("empty, and said to be: %v", err)
	}
	// Ours: the empty region at the end is gone.
	e, blob = sealed(t, make([]byte, RegionSize))
	if _, err := opened(t, e, blob[:len(blob)-overhead], kek, -1); !errors.Is(err, ErrUnproven) {
		t.Errorf("ours without its end: %v", err)
	}
}

// TestEnlargedRegion: a blob cut to its first region, which metadata that says of larger
// regions makes look like a short one. Nothing but a second region shows the lie.
func TestEnlargedRegion(t *testing.T) {
	e, blob := foreign(t, version21, 100, countPython, make([]byte, 250))
	e.Region = 1000
	if _, err := opened(t, e, blob[:100+overhead], kek, -1); !errors.Is(err, ErrUnproven) {
		t.Errorf("one region: %v", err)
	}
	if _, err := opened(t, e, blob, kek, -1); !errors.Is(err, ErrTampered) {
		t.Errorf("all: %v", err)
	}
}

// TestErrorsOfStreams: what reading and writing say comes back as it is.
func TestErrorsOfStreams(t *testing.T) {
	e, blob := sealed(t, make([]byte, 3*RegionSize))
	key, err := e.Unwrap(kek)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	src := io.MultiReader(bytes.NewReader(blob[:2*RegionSize]), failing{broken})
	if _, err := e.Decrypt(t.Context(), io.Discard, src, key, -1); !errors.Is(err, broken) {
		t.Errorf("reading: %v", err)
	}
	if _, err := e.Decrypt(t.Context(), failing{broken}, bytes.NewReader(blob), key, -1); !errors.Is(err, broken) {
		t.Errorf("writing: %v", err)
	}
	if _, err := key.Encrypt(t.Context(), failing{broken}, bytes.NewReader(blob)); !errors.Is(err, broken) {
		t.Errorf("writing: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzParse: what is read is written and read again as the same, and nothing opens but
// what was made with the key.
func FuzzParse(f *testing.F) {
	f.Add([]byte(document20), []byte("blob"))
	e, blob := sealed(f, []byte("plain"))
	doc, err := e.Marshal("fuzz")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc, blob)
	f.Fuzz(func(t *testing.T, doc, blob []byte) {
		e, err := Parse(doc)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion1) {
				t.Fatalf("error without a class: %v", err)
			}
			return
		}
		out, err := e.Marshal("")
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil || fmt.Sprint(*again) != fmt.Sprint(*e) {
			t.Fatalf("%s: %v", out, err)
		}
		if got, err := opened(t, e, blob, kek, -1); err == nil && string(got) != "plain" {
			t.Fatal("a blob that nobody made opens")
		}
	})
}
