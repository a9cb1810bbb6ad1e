package boot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/release/receipt"
)

const (
	testKey     = "https://vault.example/keys/disk"
	testVersion = "0123456789abcdef0123456789abcdef"
	testKID     = testKey + "/" + testVersion
	testDisk    = 8 << 20
)

// vault releases one key.
type vault struct {
	mu       sync.Mutex
	material []byte
	kid, kty string
	tags     map[string]string
	evidence string // its type, "": not said
	err      error
	asked    []string
	purposes []string      // as asked
	open     *agent.Secret // the last one released
}

func newVault() *vault {
	return &vault{material: bytes.Repeat([]byte{7, 10, 0, 255}, keySize/4), kid: testKID, kty: "oct", tags: map[string]string{}}
}

func (v *vault) Close() error { return nil }

func (v *vault) DiskKey(_ context.Context, url, purpose string) (*agent.Released, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked, v.purposes = append(v.asked, url), append(v.purposes, purpose)
	if v.err != nil {
		return nil, v.err
	}
	s, err := agent.NewSecret(len(v.material))
	if err != nil {
		return nil, err
	}
	copy(s.Bytes(), v.material)
	v.open = s
	record := &receipt.Record{}
	if v.evidence != "" {
		record.Evidence = &receipt.Evidence{Type: v.evidence}
	}
	return &agent.Released{Material: s, KID: v.kid, Kty: v.kty, Tags: v.tags, Record: record, Receipt: &receipt.Receipt{Index: 5}}, nil
}

// rig is a sealed disk in a file, and what opens it.
type rig struct {
	*Unlocker
	vault    *vault
	disk     Disk
	recovery string
	said     bytes.Buffer
	capped   []int
	events   []string
	capErr   error
}

func needCryptsetup(t testing.TB) *cryptsetup {
	t.Helper()
	tool, err := findCryptsetup()
	if err != nil {
		t.Skip(err)
	}
	tool.dry = true
	return tool
}

// original is the disk that every rig has a copy of: sealing takes its time.
var original struct { //nolint:gochecknoglobals // made once
	sync.Once
	disk             []byte
	recovery, header string
}

// newRig has a sealed disk with a recovery key, whose header is recorded.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{vault: newVault(), disk: Disk{Key: testKey, Recovery: Off, Cap: 15}}
	r.disk.Device = blank(t)
	needCryptsetup(t)
	original.Do(func() {
		original.header = r.seal(t, Seal{}).Header
		original.disk, original.recovery = r.bytes(t), r.recovery
	})
	r.write(t, original.disk)
	r.recovery, r.vault.tags[HeaderTag] = original.recovery, original.header
	r.Unlocker = &Unlocker{
		Keys: func(context.Context) (Keys, error) { return r.vault, nil },
		Cap: func(_ context.Context, pcr int, event string) error {
			r.capped, r.events = append(r.capped, pcr), append(r.events, event)
			return r.capErr
		},
		Shown:   func(context.Context) agent.Shown { return agent.Shown{Type: "tpm", PCR: true} },
		Console: &Console{Err: &r.said, Path: filepath.Join(t.TempDir(), "no terminal")},
		Timeout: 20 * time.Second,
		tool:    needCryptsetup(t),
	}
	return r
}

func (r *rig) seal(t *testing.T, s Seal) *Sealed {
	t.Helper()
	needCryptsetup(t)
	s.Device, s.Key = r.disk.Device, testKey
	s.Recovery = func(key []byte) error {
		r.recovery = string(key)
		return nil
	}
	out, err := s.Seal(t.Context(), r.vault)
	if err != nil {
		t.Fatal(err)
	}
	r.vault.tags[HeaderTag] = out.Header
	return out
}

// blank is a file of zeros that stands for a disk.
func blank(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, testDisk); err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *rig) bytes(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(r.disk.Device)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *rig) write(t *testing.T, b []byte) {
	t.Helper()
	if err := os.WriteFile(r.disk.Device, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSealAndUnlock(t *testing.T) {
	r := newRig(t)
	before := r.bytes(t)
	out, err := r.Unlock(t.Context(), "root", r.disk)
	if err != nil {
		t.Fatal(err)
	}
	if out.Key != testKID || out.Header != r.vault.tags[HeaderTag] || !out.Capped || out.Recovered || out.LogIndex != 5 {
		t.Errorf("%+v", out)
	}
	if len(r.capped) != 1 || r.capped[0] != 15 || r.events[0] != agent.CapEvent {
		t.Errorf("capped %v with %q", r.capped, r.events)
	}
	if r.vault.open.Bytes() != nil {
		t.Error("the key is still in memory")
	}
	if !bytes.Equal(before, r.bytes(t)) {
		t.Error("unlocking changed the disk")
	}
	if bytes.Contains(r.said.Bytes(), r.vault.material) {
		t.Error("the key was shown")
	}
	if want := testKID; r.vault.asked[len(r.vault.asked)-1] != want {
		t.Errorf("asked for %s, want the version that the disk was sealed with", r.vault.asked)
	}
}

func TestSealRefuses(t *testing.T) {
	needCryptsetup(t)
	for name, at := range map[string]int64{"start": 0x438, "end": testDisk - 512} {
		path := blank(t)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("something"), at); err != nil {
			t.Fatal(err)
		}
		f.Close()
		v, before := newVault(), read(t, path)
		s := Seal{Device: path, Key: testKey}
		if _, err := s.Seal(t.Context(), v); err == nil {
			t.Errorf("%s: a disk that is not empty was sealed", name)
		}
		if len(v.asked) > 0 || !bytes.Equal(before, read(t, path)) {
			t.Errorf("%s: a key was asked for, or the disk was changed", name)
		}
		s.Erase = true
		if _, err := s.Seal(t.Context(), v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	wrong := newVault()
	wrong.material = wrong.material[:16]
	if _, err := (&Seal{Device: blank(t), Key: testKey}).Seal(t.Context(), wrong); !errors.Is(err, agent.ErrConfig) {
		t.Errorf("key of 16 bytes: %v", err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// failing is a disk that fails after a few steps, in the middle of a write.
type failing struct {
	bytes []byte
	left  int
}

var errFull = errors.New("the disk fails")

func (f *failing) WriteAt(b []byte, at int64) (int, error) {
	if f.left--; f.left < 0 {
		return copy(f.bytes[at:], b[:min(len(b)/2, 3*sealedCopy)]), errFull
	}
	return copy(f.bytes[at:], b), nil
}

func (f *failing) Sync() error {
	if f.left--; f.left < 0 {
		return errFull
	}
	return nil
}

// Sealing that is interrupted leaves no header that opens, of neither the old nor the new
// disk, once it began to write.
func TestSealInterrupted(t *testing.T) {
	r := newRig(t)
	old := r.bytes(t)
	raw := mutate(t, old[:sealedHeader], set("config", "flags", []any{"allow-discards"}))
	raw[sealedHeader-1] ^= 1 // key slots are others too
	h, err := parseHeader(raw)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		disk := &failing{bytes.Clone(old), n}
		err := new(Seal).write(disk, int64(len(old)), h)
		got, herr := readHeader(bytes.NewReader(disk.bytes))
		switch {
		case err == nil:
			if n < 6 || herr != nil || got.digest() != h.digest() {
				t.Errorf("after %d steps: %v", n, herr)
			}
			return
		case !errors.Is(err, errFull):
			t.Fatal(err)
		case herr == nil && !bytes.Equal(disk.bytes[:sealedHeader], h.raw):
			t.Errorf("after %d of its steps the disk has a header that is half new", n)
		}
	}
}

// TestNamesOfVolumes holds names and digests against what they may be.
func TestNamesOfVolumes(t *testing.T) {
	for s, want := range map[string]bool{
		"root": true, "A1_.-": true, strings.Repeat("a", 64): true,
		"": false, "_a": false, ".a": false, "-a": false, "a/b": false, "a b": false, "a\n": false, "ä": false, strings.Repeat("a", 65): false,
	} {
		if isVolumeName(s) != want {
			t.Errorf("volume %q: %v", s, !want)
		}
	}
	good := strings.Repeat("0af", 21) + "9"
	for s, want := range map[string]bool{
		"sha256:" + good: true, good: false, "sha256:" + good + "0": false, "sha256:" + good[1:]: false, "sha256:" + strings.ToUpper(good): false,
		"SHA256:" + good: false, "sha256:" + good + "\n": false,
	} {
		if isDigest(s) != want {
			t.Errorf("digest %q: %v", s, !want)
		}
	}
}
