// Package compat holds what clients may do with a broker, operation by
// operation, and holds docs/compatibility.md against what the tests really did:
// each test notes what it saw, and the page is made of the notes.
package compat

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Client is a column of the table.
type Client string

// Clients.
const (
	Go        Client = "Go"
	JS        Client = "JavaScript"
	Python    Client = "Python"
	CLI       Client = "Azure CLI"
	Sidecar   Client = "SKR sidecar"
	AttestSKR Client = "AzureAttestSKR"
)

// Clients are the columns in order.
func Clients() []Client { return []Client{Go, JS, Python, CLI, Sidecar, AttestSKR} }

// Outcome is what a test saw.
type Outcome string

// Outcomes.
const (
	Works   Outcome = "works"
	Differs Outcome = "differs" // it works, but not as at Azure
	Refused Outcome = "refused" // on purpose
)

// Note is one line of the record that tests write: client, operation and
// outcome, separated by tabs.
type Note struct {
	Client    Client
	Operation string
	Outcome   Outcome
}

// Notes are what the tests of one run noted.
type Notes map[Note]bool

// Append writes a note to the record at path. Other programs append lines of the same form.
func Append(path string, n Note) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, "%s\t%s\t%s\n", n.Client, n.Operation, n.Outcome); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// Read reads a record strictly: a misspelt operation would leave its row without proof.
func Read(path string) (Notes, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	known := map[string]bool{}
	for _, g := range Operations() {
		for _, o := range g.Rows {
			known[o.Name] = true
		}
	}
	out := Notes{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		parts := strings.Split(lines.Text(), "\t")
		if len(parts) != 3 {
			return nil, fmt.Errorf("note %q: want client, operation and outcome", lines.Text())
		}
		n := Note{Client(parts[0]), parts[1], Outcome(parts[2])}
		switch {
		case !slices.Contains(Clients(), n.Client):
			return nil, fmt.Errorf("note %q: no such client", lines.Text())
		case !known[n.Operation]:
			return nil, fmt.Errorf("note %q: no such operation; see compat/table.go", lines.Text())
		case n.Outcome != Works && n.Outcome != Differs && n.Outcome != Refused:
			return nil, fmt.Errorf("note %q: no such outcome", lines.Text())
		}
		out[n] = true
	}
	return out, lines.Err()
}
