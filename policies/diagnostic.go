package policies

import (
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/openskr/openskr/release"
)

// Severities of a Diagnostic.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

const (
	maxDiagnostics = 64
	maxMessage     = 1 << 10 // bytes, of a diagnostic and of a deny message
)

// Diagnostic is one remark on a policy's source. Row and Col count from 1, Col in
// bytes; both are 0 when the remark is about the whole policy. Code is a stable
// word: ours (policy_…, lint_…) or OPA's (rego_parse_error, rego_type_error, …).
type Diagnostic struct {
	File     string `json:"file,omitempty"` // only in tests of several files
	Row      int    `json:"row"`
	Col      int    `json:"col"`
	Code     string `json:"code"`
	Message  string `json:"message"`
	Severity string `json:"severity"` // SeverityError or SeverityWarning
}

func (d Diagnostic) String() string {
	at := ""
	if d.Row > 0 {
		at = fmt.Sprintf("%d:%d:", d.Row, d.Col)
	}
	if d.File != "" {
		at = d.File + ":" + at
	}
	if at != "" {
		at += " "
	}
	if d.Severity == SeverityWarning {
		at += "warning: "
	}
	return at + d.Message + " [" + d.Code + "]"
}

// CheckError is why an upload was refused. Diagnostics holds every error and
// warning found, in source order.
type CheckError struct {
	Diagnostics []Diagnostic
}

func (e *CheckError) Error() string {
	lines := make([]string, len(e.Diagnostics))
	for i, d := range e.Diagnostics {
		lines[i] = d.String()
	}
	return "release policy refused:\n" + strings.Join(lines, "\n")
}

// verdict splits diagnostics: nil when none is an error.
func verdict(ds []Diagnostic) error {
	for _, d := range ds {
		if d.Severity != SeverityWarning {
			return &release.Error{Reason: release.ReasonPolicyInvalid, Err: &CheckError{ds}}
		}
	}
	return nil
}

// diagnose turns OPA's errors into ours.
func diagnose(errs ast.Errors) []Diagnostic {
	out := make([]Diagnostic, 0, len(errs))
	for _, e := range errs {
		d := Diagnostic{Code: e.Code, Message: e.Message}
		if e.Details != nil { // e.g. the names that the schema knows
			d.Message += "\n" + strings.Join(e.Details.Lines(), "\n")
		}
		if e.Location != nil {
			d.Row, d.Col = e.Location.Row, e.Location.Col
		}
		out = append(out, d)
	}
	return out
}

// tidy bounds and orders what goes out: the source order, errors before warnings
// of one place, texts cut and made printable.
func tidy(ds []Diagnostic) []Diagnostic {
	for i := range ds {
		if ds[i].Severity == "" {
			ds[i].Severity = SeverityError
		}
		ds[i].Message = clean(ds[i].Message, maxMessage)
	}
	sortDiagnostics(ds)
	return ds[:min(len(ds), maxDiagnostics)]
}
