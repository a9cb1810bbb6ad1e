package policies

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// The parent writes one task and closes; the child writes a line "ready" once it
// is confined and has read the task, then one answer. A child that dies before
// ready is our failure, one that dies after it is the policy's.
const ready = "ready\n"

const (
	maxTask   = 8 << 20
	maxAnswer = 4 << 20
)

type task struct {
	Claims map[string]any    `json:"claims"` // schema of input.claims
	Source []byte            `json:"source,omitempty"`
	Files  map[string][]byte `json:"files,omitempty"` // a test run, not a check
	Filter string            `json:"filter,omitempty"`
}

type answer struct {
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
	Report      *TestReport  `json:"report,omitempty"`
}

var errNotReady = errors.New("the compiler process did not start")

// readAnswer reads what a child wrote. The child ran hostile code: its words are
// bounded and cleaned like the policy's own.
func readAnswer(out []byte) (*answer, error) {
	body, ok := bytes.CutPrefix(out, []byte(ready))
	if !ok {
		return nil, errNotReady
	}
	var a answer
	if err := json.Unmarshal(body, &a, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("answer of the compiler process: %w", err)
	}
	for _, d := range a.Diagnostics {
		if d.Row < 0 || d.Col < 0 || d.Severity != SeverityError && d.Severity != SeverityWarning {
			return nil, errors.New("answer of the compiler process: malformed diagnostic")
		}
	}
	a.Diagnostics = tidy(a.Diagnostics)
	return &a, nil
}
