package cse

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
)

const keyURL = "https://vault.example/keys/blob/0123456789abcdef0123456789abcdef"

var kek = bytes.Repeat([]byte{7}, 32)

// rsaKey is made once: making it takes longer than all the rest.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func pkcs8(t testing.TB) []byte {
	t.Helper()
	b, err := x509.MarshalPKCS8PrivateKey(rsaKey())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sealed makes a blob with kek.
func sealed(t testing.TB, plain []byte) (*EncryptionData, []byte) {
	t.Helper()
	w, err := NewAESWrapper(kek)
	if err != nil {
		t.Fatal(err)
	}
	e, key, err := New(keyURL, w)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if n, err := key.Encrypt(t.Context(), &out, bytes.NewReader(plain)); err != nil || n != int64(len(plain)) {
		t.Fatal(n, err)
	}
	return e, out.Bytes()
}

func opened(t testing.TB, e *EncryptionData, blob, material []byte, size int64) ([]byte, error) {
	t.Helper()
	key, err := e.Unwrap(material)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err = e.Decrypt(t.Context(), &out, bytes.NewReader(blob), key, size)
	return out.Bytes(), err
}

func TestRoundTrip(t *testing.T) {
	random := make([]byte, 5*RegionSize+1)
	_, _ = rand.Read(random)
	for _, n := range []int{0, 1, RegionSize - 1, RegionSize, RegionSize + 1, 5 * RegionSize, 5*RegionSize + 1} {
		e, blob := sealed(t, random[:n])
		doc, err := e.Marshal("test")
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(doc)
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		got, err := opened(t, again, blob, kek, -1)
		if err != nil || !bytes.Equal(got, random[:n]) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if plain, proven, err := e.PlainSize(int64(len(blob))); plain != int64(n) || !proven || err != nil {
			t.Errorf("%d bytes: size %d, %v, %v", n, plain, proven, err)
		}
	}
}

func TestWrappings(t *testing.T) {
	pub, err := NewRSAWrapper(&rsaKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		w        *Wrapper
		material []byte
	}{
		"RSA-OAEP-256": {pub, pkcs8(t)},
		"A256KW":       {aesWrapper(t, 32), bytes.Repeat([]byte{9}, 32)},
		"A192KW":       {aesWrapper(t, 24), bytes.Repeat([]byte{9}, 24)},
		"A128KW":       {aesWrapper(t, 16), bytes.Repeat([]byte{9}, 16)},
	} {
		e, _, err := New(keyURL, c.w)
		if err != nil || e.Algorithm != name {
			t.Fatal(name, e.Algorithm, err)
		}
		if _, err := e.Unwrap(c.material); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for other, material := range map[string][]byte{"none": nil, "short": c.material[:15], "another": bytes.Repeat([]byte{1}, len(c.material))} {
			if _, err := e.Unwrap(material); !errors.Is(err, ErrKey) {
				t.Errorf("%s with %s key: %v", name, other, err)
			}
		}
	}
	// Metadata does not make a key one of another algorithm, even where it would open.
	e, _, err := New(keyURL, aesWrapper(t, 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{"A192KW", "A128KW"} {
		e.Algorithm = algorithm
		if _, err := e.Unwrap(bytes.Repeat([]byte{9}, 32)); !errors.Is(err, ErrKey) {
			t.Errorf("A256KW as %s: %v", algorithm, err)
		}
	}
	if _, err := NewAESWrapper(kek[:20]); err == nil {
		t.Error("a key of 20 bytes wraps")
	}
	small := &rsa.PublicKey{N: rsaKey().Primes[0], E: 65537}
	if _, err := NewRSAWrapper(small); err == nil {
		t.Error("an RSA key of 1024 bits wraps")
	}
}

func aesWrapper(t *testing.T, size int) *Wrapper {
	t.Helper()
	w, err := NewAESWrapper(bytes.Repeat([]byte{9}, size))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestWrappedVersion: the version stands in the wrapped key, so that metadata cannot
// claim another one.
func TestWrappedVersion(t *testing.T) {
	e, blob := sealed(t, []byte("text"))
	e.Version = version21
	if _, err := opened(t, e, blob, kek, 4); !errors.Is(err, ErrKey) {
		t.Errorf("2.0 read as 2.1: %v", err)
	}
	w := aesWrapper(t, 32)
	for name, plain := range map[string][]byte{
		"no version": make([]byte, 32), "other version": append([]byte("1.0\x00\x00\x00\x00\x00"), make([]byte, 32)...),
		"longer version": append([]byte("2.0\x00\x00\x00\x00\x01"), make([]byte, 32)...),
		"short key":      append(versionPrefix(version2), make([]byte, 16)...), "long key": append(versionPrefix(version2), make([]byte, 40)...),
	} {
		e.Version = version2
		var err error
		if e.wrapped, err = w.wrap(plain); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Unwrap(bytes.Repeat([]byte{9}, 32)); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const document20 = `{"WrappedContentKey":{"KeyId":"k","EncryptedKey":"AAAA","Algorithm":"A256KW"},` +
	`"EncryptionAgent":{"Protocol":"2.0","EncryptionAlgorithm":"AES_GCM_256"},` +
	`"EncryptedRegionInfo":{"DataLength":4194304,"NonceLength":12},` +
	`"KeyWrappingMetadata":{"EncryptionLibrary":"x"},"EncryptionMode":"FullBlob"}`

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string
		want     error
	}{
		"as it is":          {"", "", nil},
		"unknown member":    {`"EncryptionMode"`, `"New":[1],"EncryptionMode"`, nil},
		"unknown inside":    {`"NonceLength"`, `"TagLength":16,"NonceLength"`, nil},
		"other metadata":    {`{"EncryptionLibrary":"x"}`, `{"n":{"m":null}}`, nil},
		"no metadata":       {`{"EncryptionLibrary":"x"}`, `null`, nil},
		"no mode":           {`,"EncryptionMode":"FullBlob"`, ``, nil},
		"2.1":               {`"2.0"`, `"2.1"`, nil},
		"no JSON":           {`{`, ``, ErrFormat},
		"trailing":          {`"FullBlob"}`, `"FullBlob"}}`, ErrFormat},
		"duplicate":         {`"KeyId":"k"`, `"KeyId":"k","KeyId":"k"`, ErrFormat},
		"other case":        {`"KeyId"`, `"KeyID"`, ErrFormat},
		"version 1":         {`"2.0"`, `"1.0"`, ErrVersion1},
		"version 3":         {`"2.0"`, `"3.0"`, ErrFormat},
		"no version":        {`"Protocol":"2.0",`, ``, ErrFormat},
		"CBC":               {`AES_GCM_256`, `AES_CBC_256`, ErrFormat},
		"stream mode":       {`FullBlob`, `Stream`, ErrFormat},
		"nonce of 16":       {`:12`, `:16`, ErrFormat},
		"2.0, 8 MiB":        {`4194304`, `8388608`, ErrFormat},
		"negative":          {`4194304`, `-1`, ErrFormat},
		"fraction":          {`4194304`, `4194304.5`, ErrFormat},
		"no region":         {`"DataLength":4194304,`, ``, ErrFormat},
		"no key id":         {`"KeyId":"k",`, ``, ErrFormat},
		"no key":            {`"AAAA"`, `""`, ErrFormat},
		"key not base64":    {`"AAAA"`, `"A"`, ErrFormat},
		"key a number":      {`"AAAA"`, `1`, ErrFormat},
		"RSA1_5":            {`A256KW`, `RSA1_5`, ErrFormat},
		"unknown algorithm": {`A256KW`, `ECDH-ES+A256KW`, ErrFormat},
		"long":              {`"k"`, `"` + strings.Repeat("k", MaxMetadata) + `"`, ErrFormat},
	} {
		_, err := Parse([]byte(strings.Replace(document20, c.old, c.new, 1)))
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for region, ok := range map[string]bool{"15": false, "16": true, "16777216": true, "16777217": false, "1073741824": false} {
		doc := strings.NewReplacer("2.0", "2.1", "4194304", region).Replace(document20)
		if _, err := Parse([]byte(doc)); (err == nil) != ok {
			t.Errorf("2.1 with regions of %s: %v", region, err)
		}
	}
}

// TestPython reads blobs that azure-storage-blob of PyPI wrote (testdata/README.md).
func TestPython(t *testing.T) {
	js, err := os.ReadFile("testdata/python.json")
	if err != nil {
		t.Fatal(err)
	}
	var blobs []struct {
		Name, Blob, Material, Plain string
		EncryptionData              json.RawMessage
	}
	if err := json.Unmarshal(js, &blobs); err != nil || len(blobs) == 0 {
		t.Fatal(len(blobs), err)
	}
	raw := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, b := range blobs {
		e, err := Parse(b.EncryptionData)
		if err != nil {
			t.Fatalf("%s: %v", b.Name, err)
		}
		if got, err := opened(t, e, raw(b.Blob), raw(b.Material), -1); err != nil || string(got) != b.Plain {
			t.Errorf("%s: %q, %v", b.Name, got, err)
		}
	}
}

// TestCancel: a source that gives nothing more does not hold the end of ctx up.
func TestCancel(t *testing.T) {
	e, blob := sealed(t, make([]byte, RegionSize))
	key, err := e.Unwrap(kek)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	src := &stuck{data: blob[:RegionSize+overhead], stuck: func() { cancel(stop) }, release: make(chan struct{})}
	defer close(src.release)
	if _, err := e.Decrypt(ctx, &bytes.Buffer{}, src, key, -1); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

// stuck gives data, then waits.
type stuck struct {
	data    []byte
	stuck   func()
	release chan struct{}
}

func (s *stuck) Read(p []byte) (int, error) {
	if n := copy(p, s.data); n > 0 {
		s.data = s.data[n:]
		return n, nil
	}
	s.stuck()
	<-s.release
	return 0, errors.New("released")
}
