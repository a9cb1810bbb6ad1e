package agent

import (
	"errors"
	"fmt"
	"strings"
)

// Refused is a broker's decision against this request.
type Refused struct {
	Status      int    // HTTP
	Code        string // Key Vault word, e.g. "Forbidden"
	Reason      string // docs/reasons.md, e.g. "policy_denied"
	Correlation string // under which the operator finds why
}

func (r *Refused) Error() string {
	s := "refused by the broker: " + r.detail()
	switch r.Reason {
	case "purpose_not_stated":
		s += "; the key is a disk's: openskr-agent unlock, crypttab and seal-disk alone get it"
	case "purpose_mismatch": // an agent asks each route for its own
		s += "; the broker is older than this program: update the broker first"
	}
	return s
}

func (r *Refused) detail() string {
	s := fmt.Sprintf("%d %s", r.Status, r.Code)
	if r.Reason != "" {
		s = r.Reason + ", " + s
	}
	if r.Correlation != "" {
		s += ", correlation " + r.Correlation
	}
	return s
}

// Is makes a machine that waits for approval an [ErrPending], and a disk that must not be
// made just now an [ErrNotGranted].
func (r *Refused) Is(target error) bool {
	return target == ErrPending && r.Reason == "machine_pending" || target == ErrNotGranted && r.Reason == "format_not_granted"
}

// Invalid is an answer that must not be believed: the key in it is not used.
type Invalid struct {
	Check string // stable word for what did not hold
	Err   error
}

func (e *Invalid) Error() string {
	return "the broker's answer does not check out (" + e.Check + "): " + e.Err.Error()
}

func (e *Invalid) Unwrap() error { return e.Err }

func invalid(check, format string, args ...any) error {
	return &Invalid{Check: check, Err: fmt.Errorf(format, args...)}
}

// word lets only plain words of a broker's error reach a terminal.
func word(s string) string {
	if Consists(s, Alphanumeric+"_-", 1, 64) {
		return s
	}
	return ""
}

func trimSlash(url string) string { return strings.TrimRight(url, "/") }

// Failure is an error as programs print it with --json.
type Failure struct {
	Exit        int    `json:"exit"`
	Error       string `json:"error"`
	Reason      string `json:"reason,omitempty"`      // of a refusal
	Correlation string `json:"correlation,omitempty"` // of a refusal
	Check       string `json:"check,omitempty"`       // of an answer that does not check out
}

// Report is err as programs print it.
func Report(err error) Failure {
	out := Failure{Exit: ExitCode(err), Error: err.Error()}
	if r := (*Refused)(nil); errors.As(err, &r) {
		out.Reason, out.Correlation = r.Reason, r.Correlation
	}
	if i := (*Invalid)(nil); errors.As(err, &i) {
		out.Check = i.Check
	}
	return out
}
