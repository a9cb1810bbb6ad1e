package attesttest_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// subject is one mutant of sound evidence.
type subject struct {
	what         string       // was changed, for whoever reads a failure
	ours, theirs func() error // what the two verifiers say of it
	// excuse says, once both were asked, why the other verifier may refuse what is
	// accepted here; "": it may not.
	excuse func() string
}

// differ is EV-28: of mutants of sound evidence, nothing that is accepted here may be
// refused by the verifier that the vendor of the hardware, or of the cloud, publishes: what
// it looks at was then overlooked here. By hand with more than the usual number of each:
//
//	OPENSKR_MUTANTS=100000 go test ./attest/attesttest -run Differential -timeout 1h -v
func differ(t *testing.T, sound func() subject, mutant func(r *rand.Rand) subject) {
	t.Helper()
	s := sound()
	if err := s.ours(); err != nil {
		t.Fatalf("sound evidence is refused here: %v", err)
	}
	if err := s.theirs(); err != nil {
		t.Fatalf("sound evidence is refused there: %v", err)
	}
	n := 2000
	if testing.Short() {
		n = 300
	}
	if v, err := strconv.Atoi(os.Getenv("OPENSKR_MUTANTS")); err == nil {
		n = v
	}
	accepted, excused := 0, map[string]int{}
	for i := range n {
		s := mutant(rand.New(rand.NewPCG(uint64(i), 0)))
		if s.ours() != nil {
			continue
		}
		accepted++
		err := s.theirs()
		if err == nil {
			continue
		}
		if why := s.excuse(); why != "" {
			excused[why]++
		} else {
			t.Errorf("mutant %d, %s: accepted here; there: %v", i, s.what, err)
		}
	}
	if accepted < n/100 {
		t.Errorf("%d of %d mutants accepted: too few to tell anything", accepted, n)
	}
	t.Logf("%d mutants, %d accepted here, of these refused there:", n, accepted)
	for why, n := range maps.All(excused) {
		t.Logf("%d: %s", n, why)
	}
}

// changed gives b with a few changes, of its length too if resize.
func changed(r *rand.Rand, b []byte, resize bool) []byte {
	b = bytes.Clone(b)
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			return b
		}
		at := r.IntN(len(b))
		n := min(1+r.IntN(16), len(b)-at)
		switch r.IntN(8) {
		case 0, 1, 2:
			b[at] ^= 1 << r.IntN(8)
		case 3:
			b[at] = byte(r.Uint32())
		case 4:
			copy(b[at:at+n], bytes.Repeat([]byte{[]byte{0, 0x7f, 0x80, 0xff}[r.IntN(4)]}, n))
		case 5: // a length, a version, a count
			if v := []uint32{0, 1, 2, 3, 0xffff, 0xffffffff, uint32(len(b))}[r.IntN(7)]; r.IntN(2) == 0 && at+4 <= len(b) {
				binary.LittleEndian.PutUint32(b[at:], v)
			} else if at+4 <= len(b) {
				binary.BigEndian.PutUint32(b[at:], v)
			}
		case 6:
			copy(b[at:at+n], b[r.IntN(len(b)):])
		case 7:
			if !resize {
				b[at]++
				continue
			}
			switch r.IntN(3) {
			case 0:
				b = append(b[:at], b[at+n:]...)
			case 1:
				b = append(b[:at:at], append(bytes.Clone(b[at:at+n]), b[at:]...)...)
			case 2:
				b = b[:at]
			}
		}
	}
	return b
}

// must is for what a test builds.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
