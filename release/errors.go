package release

import (
	"errors"
	"fmt"
	"strings"

	"github.com/openskr/openskr/attest"
)

// Error is a refusal or failure with a stable reason. Err is for the operator
// and never reaches a caller outside.
type Error struct {
	Reason Reason
	Err    error
	// Retry, when not zero, is the Retry-After of a 429 or 503, in seconds.
	Retry int
	// What the check wanted and what it got, where that helps; as Err for the operator.
	Expected, Got string
}

func (e *Error) Error() string {
	if e.Err == nil {
		return string(e.Reason)
	}
	return string(e.Reason) + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Refuse makes an Error; the format may wrap an error with %w.
func Refuse(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Err: fmt.Errorf(format, args...)}
}

// Compared adds what the check wanted and what it got.
func (e *Error) Compared(expected, got string) *Error {
	e.Expected, e.Got = expected, got
	return e
}

// reasoned is an error of a package that may not import this one (release/wrap).
type reasoned interface{ ReleaseReason() string }

// ReasonOf finds the code of any error: an [*Error], an [*attest.Rejection], an
// error with a ReleaseReason method whose word is on the closed list, or else
// [ReasonInternal]. nil has none, "".
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	var r *attest.Rejection
	if errors.As(err, &r) {
		return Reason(r.Check)
	}
	var w reasoned
	if errors.As(err, &w) {
		if _, ok := reasons[Reason(w.ReleaseReason())]; ok {
			return Reason(w.ReleaseReason())
		}
	}
	return ReasonInternal
}

// Refusal is what the operator is told about a refusal. That of a denial is kept
// beside its record, which does not cover it.
type Refusal struct {
	Check    Reason `json:"check"`
	Detail   string `json:"detail"`
	Expected string `json:"expected,omitempty"`
	Got      string `json:"got,omitempty"`
}

// maxDetail bounds what is kept of an error's text, in bytes.
const maxDetail = 1 << 10

// RefusalOf tells what an error says, with bounded texts.
func RefusalOf(why error) *Refusal {
	r := &Refusal{Check: ReasonOf(why), Detail: cut(why.Error())}
	var own *Error
	if errors.As(why, &own) {
		r.Expected, r.Got = cut(own.Expected), cut(own.Got)
		if error(own) == why && own.Err != nil { // else the text would repeat the reason
			r.Detail = cut(own.Err.Error())
		}
	}
	var rej *attest.Rejection
	if errors.As(why, &rej) {
		r.Detail, r.Expected, r.Got = cut(rej.Err.Error()), cut(rej.Expected), cut(rej.Got)
	}
	return r
}

func cut(s string) string {
	if len(s) > maxDetail {
		s = s[:maxDetail]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
