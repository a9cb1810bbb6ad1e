package binding

import (
	"crypto/subtle"
	"encoding/hex"
	"errors"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/strict"
)

// ReportDataSize is the length of SNP, TDX and SGX report data in bytes.
const ReportDataSize = 64

// Body reads the body of ev, of at most limit bytes, into body: the Evidence of a format
// package, whose own word for its type is said. Both types must be the one that the
// verifier takes.
func Body(ev attest.Evidence, want attest.Type, limit int, body any, said *attest.Type) *attest.Rejection {
	if ev.Type != want {
		return attest.Reject(attest.CheckTypeNotAllowed, "verifier of %s got evidence of type %.32q", want, ev.Type)
	}
	if err := strict.Unmarshal(ev.Body, limit, body); err != nil {
		return attest.Reject(attest.CheckMalformed, "body of type %s: %w", want, err)
	}
	if *said != want {
		return attest.Reject(attest.CheckTypeNotAllowed, "evidence of type %s calls itself %.32q", want, *said)
	}
	return nil
}

// Signed is what the hardware must have signed: the hash of the runtime data, or the
// raw value that an offline verification asks for. nil: nothing was asked for
// (want.Unbound). It refuses an Expect that contradicts itself.
func Signed(runtimeData []byte, want attest.Expect) ([]byte, *attest.Rejection) {
	switch {
	case want.At.IsZero() || want.Unbound && (want.SignedData != nil || len(runtimeData) > 0):
		return nil, attest.Reject(attest.CheckInternal, "expectation without a time, or unbound with something to bind to")
	case want.Unbound:
		return nil, nil
	case want.SignedData != nil:
		if len(want.SignedData) == 0 {
			return nil, attest.Reject(attest.CheckReportData, "empty signed data binds to nothing")
		}
		return want.SignedData, nil
	case len(runtimeData) == 0:
		return nil, attest.Reject(attest.CheckRuntimeData, "no runtime data")
	case len(runtimeData) > MaxSize:
		return nil, attest.Reject(attest.CheckRuntimeData, "runtime data of %d bytes, limit %d", len(runtimeData), MaxSize)
	}
	d := Digest(runtimeData)
	return d[:], nil
}

// CheckSigned compares what the hardware signed with what it should have: the very
// bytes. Use [CheckReportData] for fields of fixed length.
func CheckSigned(got, signed []byte) *attest.Rejection {
	if len(signed) > 0 && subtle.ConstantTimeCompare(got, signed) == 1 {
		return nil
	}
	r := attest.Reject(attest.CheckReportData, "the signed bytes do not cover this data")
	r.Expected, r.Got = hex.EncodeToString(signed), hex.EncodeToString(got)
	return r
}

// CheckReportData compares report data of 64 bytes with signed, the rest of it zero.
// A tail given is what must stand behind instead: composites put the hash of a second
// key there.
func CheckReportData(got, signed []byte, tail ...byte) *attest.Rejection {
	want := make([]byte, ReportDataSize)
	if len(signed) > ReportDataSize || len(signed)+len(tail) > ReportDataSize {
		return attest.Reject(attest.CheckReportData, "signed data of %d bytes, report data has %d", len(signed)+len(tail), ReportDataSize)
	}
	copy(want[copy(want, signed):], tail)
	if len(signed) == 0 {
		want = nil
	}
	return CheckSigned(got, want)
}

// Recipient parses runtime data that the hardware's signature covers and gives its
// recipient key.
func Recipient(runtimeData []byte) ([]byte, *attest.Rejection) {
	doc, err := Parse(runtimeData)
	switch {
	case errors.Is(err, ErrNoRecipient):
		return nil, attest.Reject(attest.CheckNoRecipient, "%w", err)
	case errors.Is(err, ErrAmbiguous):
		return nil, attest.Reject(attest.CheckAmbiguous, "%w", err)
	case err != nil:
		return nil, attest.Reject(attest.CheckRuntimeData, "%w", err)
	}
	return doc.Recipient(), nil
}

// Bind fills in what was proven by comparing signed data: freshness, and for a
// binding to runtime data the recipient key.
func Bind(res *attest.Result, runtimeData []byte, want attest.Expect) *attest.Rejection {
	if want.Unbound {
		res.Facts.Freshness = attest.NotChecked
		return nil
	}
	res.Facts.Freshness = attest.Checked
	if want.SignedData != nil {
		return nil
	}
	key, rej := Recipient(runtimeData)
	if rej != nil {
		return rej
	}
	res.Recipient, res.Facts.Bound, res.Facts.Recipient = key, true, true
	return nil
}
