package boot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
)

// by runs the real cryptsetup on the rig's disk, as an operator does.
func (r *rig) by(t *testing.T, args ...string) {
	t.Helper()
	for i, a := range args {
		if a == "DISK" {
			args[i] = r.disk.Device
		}
	}
	if b, err := exec.CommandContext(t.Context(), r.tool.path, args...).CombinedOutput(); err != nil {
		t.Fatalf("cryptsetup %q: %v: %s", args, err, b)
	}
}

func keyFile(t *testing.T, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// record is the tag of the vault.
func (r *rig) record(_ context.Context, _ string, change func(string) string) error {
	r.vault.tags[HeaderTag] = change(r.vault.tags[HeaderTag])
	return nil
}

// A new recovery key in another slot: refused until the header is recorded again.
func TestUpdate(t *testing.T) {
	r := newRig(t)
	old, next := keyFile(t, r.recovery), keyFile(t, "another recovery key")
	r.by(t, "luksAddKey", "-q", "--key-file", old, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-slot", "1", "--new-key-slot", "3", "DISK", next)
	u := &Update{Device: r.disk.Device, Key: testKey, Record: r.record}
	recorded := r.vault.tags[HeaderTag]
	if _, err := u.Update(t.Context()); !errors.Is(err, agent.ErrDisk) || r.vault.tags[HeaderTag] != recorded {
		t.Errorf("two slots besides the key's: %v", err)
	}
	r.by(t, "luksKillSlot", "-q", "DISK", "1")
	if _, err := r.Unlock(t.Context(), "root", r.disk); !errors.Is(err, agent.ErrDisk) || !strings.Contains(err.Error(), "--update-header") {
		t.Errorf("slot exchanged: %v", err)
	}
	out, err := u.Update(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out.Header != r.vault.tags[HeaderTag] || out.Header == recorded || !out.Recovery || out.Key != testKID {
		t.Errorf("%+v, tag %s", out, r.vault.tags[HeaderTag])
	}
	if _, err := r.Unlock(t.Context(), "root", r.disk); err != nil {
		t.Error(err)
	}
	// As it is: recorded again, and the disk is left alone.
	before := r.bytes(t)
	if again, err := u.Update(t.Context()); err != nil || again.Header != out.Header || !bytes.Equal(before, r.bytes(t)) {
		t.Errorf("%+v, %v", again, err)
	}
}

// A header whose data begin inside it is refused, not sliced.
func TestUpdateOfDataInTheHeader(t *testing.T) {
	b := make([]byte, maxCopy)
	copy(b, magicFirst)
	b[offVersion+1] = 2
	copy(b[offAlgorithm:], "sha256")
	putUint64(b[offSize:], maxCopy)
	copy(b[binarySize:], `{"segments":{"0":{"type":"crypt","offset":"1048576","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":512}}}`)
	sum(b)
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Update{Device: path, Key: testKey}).Update(t.Context()); !errors.Is(err, agent.ErrDisk) || !strings.Contains(err.Error(), "inside the header") {
		t.Error(err)
	}
}

// Whatever fails, the tag allows the header that is on the disk, or the message says what
// to run.
func TestUpdateInterrupted(t *testing.T) {
	broken := errors.New("broker away")
	r := newRig(t)
	r.by(t, "luksKillSlot", "-q", "DISK", "1")
	before := r.bytes(t)
	calls := 0
	u := &Update{Device: r.disk.Device, Key: testKey}
	u.Record = func(context.Context, string, func(string) string) error { return broken }
	if _, err := u.Update(t.Context()); !errors.Is(err, broken) || !bytes.Equal(before, r.bytes(t)) {
		t.Errorf("the disk was changed before the tag: %v", err)
	}
	u.Record = func(ctx context.Context, url string, change func(string) string) error {
		if calls++; calls == 2 {
			return broken
		}
		return r.record(ctx, url, change)
	}
	if _, err := u.Update(t.Context()); !errors.Is(err, broken) || !strings.Contains(err.Error(), "openskr key tag disk") {
		t.Errorf("%v", err)
	}
	if n := len(strings.Split(r.vault.tags[HeaderTag], ",")); n != 2 {
		t.Errorf("%d digests in between, want two", n)
	}
	if _, err := r.Unlock(t.Context(), "root", r.disk); err != nil {
		t.Errorf("interrupted before the second record: %v", err)
	}
	u.Record, u.Key = nil, testKey+"2"
	if _, err := u.Update(t.Context()); !errors.Is(err, agent.ErrDisk) {
		t.Errorf("another key: %v", err)
	}
}

// A disk whose sealing was interrupted has no valid header, at every step.
func TestInterruptedWrite(t *testing.T) {
	r := newRig(t)
	whole := r.bytes(t)[:sealedHeader]
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := replace(f, whole); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, f.Name()), whole) {
		t.Error("what was written is not what is there")
	}
	partial := bytes.Clone(whole)
	clear(partial[:binarySize])
	if _, err := parseHeader(partial); !errors.Is(err, agent.ErrDisk) {
		t.Errorf("%v", err)
	}
}

func TestAlsoAllow(t *testing.T) {
	d := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	for old, want := range map[string]string{
		"":                                    d("1"),
		d("1"):                                d("1"),
		d("2"):                                d("1") + "," + d("2"),
		d("2") + "," + d("1"):                 d("1") + "," + d("2"),
		d("2") + "," + d("3") + "," + d("4"):  d("1") + "," + d("2") + "," + d("3"),
		"what somebody else meant by the tag": d("1"),
	} {
		if got := alsoAllow(old, d("1")); got != want {
			t.Errorf("%s: %s", old, got)
		}
	}
}

func TestDisks(t *testing.T) {
	const entry = `"device":"/dev/vda","key":"https://vault.example/keys/disk"`
	const otherVersion = "ffffffffffffffffffffffffffffffff"
	for in, want := range map[string]*Disk{
		`{"v":1,"disks":{"root":{` + entry + `}}}`:                               {"/dev/vda", testKey, Prompt, 15, 0},
		`{"v":1,"disks":{"root":{` + entry + `,"recovery":"off","cap":8}}}`:      {"/dev/vda", testKey, Off, 8, 0},
		`{"v":1,"disks":{"root":{` + entry + `,"no_cap":true}}}`:                 {"/dev/vda", testKey, Prompt, NoCap, 0},
		`{"v":1,"disks":{"root":{` + entry + `,"cap_rtmr":2}}}`:                  {"/dev/vda", testKey, Prompt, 15, 2},
		`{"v":1,"disks":{"root":{` + entry + `,"cap_rtmr":1}}}`:                  nil,
		`{"v":1,"disks":{"root":{` + entry + `,"cap_rtmr":4}}}`:                  nil,
		`{"v":1,"disks":{"root":{` + entry + `,"cap_rtmr":0}}}`:                  nil,
		`{"v":1,"disks":{"root":{` + entry + `,"cap_rtmr":3,"no_cap":true}}}`:    nil,
		`{"v":1,"disks":{"root":{` + entry + `,"no_cap":true,"cap":15}}}`:        nil,
		`{"v":1,"disks":{"root":{` + entry + `,"cap":7}}}`:                       nil,
		`{"v":1,"disks":{"root":{` + entry + `,"cap":16}}}`:                      nil,
		`{"v":1,"disks":{"root":{` + entry + `,"cap":-1}}}`:                      nil,
		`{"v":1,"disks":{"root":{` + entry + `,"recovery":"shell"}}}`:            nil,
		`{"v":1,"disks":{"root":{` + entry + `,"broker":"https://evil"}}}`:       nil,
		`{"v":1,"disks":{"../root":{` + entry + `}}}`:                            nil,
		`{"v":1,"disks":{"root":{"device":"vda","key":"https://h/keys/disk"}}}`:  nil,
		`{"v":1,"disks":{"root":{"device":"/dev/vda","key":"http://h/keys/d"}}}`: nil,
		`{"v":2,"disks":{"root":{` + entry + `}}}`:                               nil,
		`{"v":1,"disks":{}}`: nil,
		// A header must not open two disks.
		`{"v":1,"disks":{"root":{` + entry + `},"data":{` + entry + `,"no_cap":true}}}`:                                                                    nil,
		`{"v":1,"disks":{"root":{` + entry + `},"data":{"device":"/dev/vdb","key":"` + testKID + `"}}}`:                                                    nil,
		`{"v":1,"disks":{"root":{"device":"/dev/vda","key":"` + testKID + `"},"data":{"device":"/dev/vdb","key":"` + testKID + `"}}}`:                      nil,
		`{"v":1,"disks":{"root":{` + entry + `},"data":{"device":"/dev/vdb","key":"` + testKey + `2"}}}`:                                                   {"/dev/vda", testKey, Prompt, 15, 0},
		`{"v":1,"disks":{"root":{"device":"/dev/vda","key":"` + testKID + `"},"data":{"device":"/dev/vdb","key":"` + testKey + `/` + otherVersion + `"}}}`: {"/dev/vda", testKID, Prompt, 15, 0},
	} {
		got, err := ParseDisks([]byte(in))
		switch {
		case want == nil && !errors.Is(err, agent.ErrConfig):
			t.Errorf("%s: %v", in, err)
		case want != nil && (err != nil || got["root"] != *want):
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}
