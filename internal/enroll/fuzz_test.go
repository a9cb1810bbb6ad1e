package enroll

import (
	"bytes"
	"testing"
	"time"

	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/strict"
)

func FuzzStateOpen(f *testing.F) {
	s, err := newSealer(make([]byte, 32), "d1")
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.seal(&state{AK: []byte{1}, Expires: time.Now().Unix()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		// A fuzz run has several processes, each with a seed of its own.
		if st, err := s.open(b); err == nil && (len(b) != len(good) || !bytes.Equal(st.AK, []byte{1})) {
			t.Fatalf("opened a forged state: %+v", st)
		}
	})
}

// FuzzEnroll feeds both bodies of /v1/enroll as a door does.
func FuzzEnroll(f *testing.F) {
	w := newWorld(f, nil)
	tpm := w.tpm(f)
	body, err := strict.Marshal(tpm.request())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{"ek_public":"AA","ek_certificate":"AA","ak":"AA"}`))
	f.Add([]byte(`{"state":"AA","secret":"AA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var req format.EnrollRequest
		if strict.Unmarshal(b, 64<<10, &req) == nil {
			if c, err := w.Begin(t.Context(), req); (c == nil) == (err == nil) {
				t.Fatal("neither a challenge nor an error")
			}
		}
		var proof format.EnrollProof
		if strict.Unmarshal(b, 64<<10, &proof) == nil {
			if _, err := w.Finish(t.Context(), proof); err == nil {
				t.Fatal("enrolled without a credential")
			}
		}
		if len(w.store.Docs) != 0 {
			t.Fatal("a row without a proof")
		}
	})
}
