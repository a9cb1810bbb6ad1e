package attest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
)

type verifier func() (*attest.Result, error)

func (v verifier) Verify(context.Context, attest.Evidence, attest.Expect) (*attest.Result, error) {
	return v()
}

func TestSet(t *testing.T) {
	good := &attest.Result{Type: "good"}
	set := attest.Set{
		"good":  verifier(func() (*attest.Result, error) { return good, nil }),
		"panic": verifier(func() (*attest.Result, error) { panic("hostile evidence") }),
	}
	now := attest.Expect{At: time.Unix(1790000000, 0)}
	for _, c := range []struct {
		typ   attest.Type
		want  attest.Expect
		check attest.Check
	}{
		{"good", now, ""},
		{"panic", now, attest.CheckInternal},
		{"Good", now, attest.CheckTypeUnsupported}, // types do not fold
		{"", now, attest.CheckTypeUnsupported},
		{"good", attest.Expect{}, attest.CheckInternal}, // no clock, no verdict
	} {
		res, err := set.Verify(t.Context(), attest.Evidence{Type: c.typ}, c.want)
		var rejected *attest.Rejection
		if c.check == "" && (err != nil || res != good) {
			t.Errorf("%q: %v, %v", c.typ, res, err)
		}
		if c.check != "" && (res != nil || !errors.As(err, &rejected) || rejected.Check != c.check) {
			t.Errorf("%q: %v, %v, want %s", c.typ, res, err, c.check)
		}
	}
}

func TestBytesHaveOneSpelling(t *testing.T) {
	for text, want := range map[string][]byte{
		`""`: {}, `"AA"`: {0}, `"-_8"`: {0xfb, 0xff},
		`"AA=="`: nil, `"AB"`: nil, `"+/8"`: nil, `"A"`: nil, `"AA "`: nil, `"A\nA"`: nil, `"\rAA"`: nil, `"é"`: nil,
	} {
		var b attest.Bytes
		err := json.Unmarshal([]byte(text), &b)
		if (err == nil) != (want != nil) || !bytes.Equal(b, want) {
			t.Errorf("%s: %x, %v", text, b, err)
		}
	}
}

func FuzzBytes(f *testing.F) {
	for _, s := range []string{"", "AA", "AA==", "-_8", "A\nA", "+/8"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var b attest.Bytes
		if err := b.UnmarshalText(text); err != nil {
			return
		}
		again, err := b.MarshalText()
		if err != nil || !bytes.Equal(again, text) {
			t.Errorf("%q was read as %x, which is written %q", text, []byte(b), again)
		}
	})
}

func TestRejection(t *testing.T) {
	cause := errors.New("cause")
	r := attest.Reject(attest.CheckSignature, "text: %w", cause)
	r.Expected, r.Got = "a", "b"
	if !errors.Is(r, cause) || r.Error() != "signature_invalid: text: cause (expected a, got b)" {
		t.Error(r)
	}
}
