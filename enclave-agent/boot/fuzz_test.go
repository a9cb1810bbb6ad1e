package boot

import (
	"bytes"
	"encoding/json"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
)

// FuzzHeader throws changed headers at the parser: what it takes has the shape that
// seal-disk writes.
func FuzzHeader(f *testing.F) {
	tool := needCryptsetup(f)
	raw := seedHeader(f, tool)
	js, _, _ := bytes.Cut(raw[binarySize:], []byte{0})
	f.Add(raw[:offChecksum], js, uint32(sealedHeader))
	f.Add(raw[:offLabel], []byte(`{}`), uint32(sealedHeader))
	f.Add([]byte("LUKS\xba\xbe\x00\x01"), []byte(nil), uint32(2*minCopy))
	f.Fuzz(func(t *testing.T, binary, js []byte, size uint32) {
		b := make([]byte, min(size, sealedHeader))
		if len(b) < 2*sealedCopy || len(js) > sealedCopy-binarySize-1 {
			return
		}
		// A right checksum, so that what is behind it is reached.
		forge(b, binary[:min(len(binary), offChecksum)], js)
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		if h.Segments["0"].Encryption != cipher || len(h.Keyslots) > 2 || len(h.raw) != len(b) || h.key == h.recovery {
			t.Errorf("taken: %+v", h.metadata)
		}
	})
}

func FuzzDisks(f *testing.F) {
	f.Add([]byte(`{"v":1,"disks":{"root":{"device":"/dev/vda","key":"https://h/keys/k","recovery":"off","cap":15}}}`))
	f.Add([]byte(`{"v":1,"disks":{"root":{"device":"/dev/vda","key":"https://h/keys/k","no_cap":true}}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		disks, err := ParseDisks(b)
		if err != nil {
			return
		}
		for name, d := range disks {
			if err := d.Check(name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func FuzzTag(f *testing.F) {
	f.Add("sha256:0000000000000000000000000000000000000000000000000000000000000000")
	f.Add(",")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := parseTag(s); err == nil && (len(got) == 0 || len(got) > maxDigests || len(s) != len(got)*(71+1)-1) {
			t.Errorf("%q: %q", s, got)
		}
	})
}

func seedHeader(t testing.TB, tool *cryptsetup) []byte {
	t.Helper()
	s := Seal{Device: blank(t), Key: testKey, Recovery: func([]byte) error { return nil }}
	v := newVault()
	r, err := v.DiskKey(t.Context(), testKey, agent.ToUnlock)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Material.Close()
	h, err := s.format(t.Context(), tool, r, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return h.raw
}

// forge writes both copies of a header with this JSON and right checksums.
func forge(b, binary, js []byte) {
	for i, magic := range []string{magicFirst, magicSecond} {
		c := b[i*sealedCopy : (i+1)*sealedCopy]
		clear(c[binarySize:])
		copy(c[binarySize:], js)
		copy(c, binary)
		copy(c, magic)
		putUint64(c[offSize:], sealedCopy)
		putUint64(c[offPosition:], uint64(i*sealedCopy))
		sum(c)
	}
}

// mutate changes the JSON of a header.
func mutate(t *testing.T, raw []byte, change func(map[string]any)) []byte {
	t.Helper()
	out := bytes.Clone(raw)
	js, _, _ := bytes.Cut(out[binarySize:sealedCopy], []byte{0})
	var m map[string]any
	if err := json.Unmarshal(js, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	changed, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	forge(out, raw[:offChecksum], changed)
	return out
}
