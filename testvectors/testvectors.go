// Package testvectors holds known inputs with known outcomes, embedded, so that the
// tests here and other implementations run the same files. It is imported by tests
// only.
//
// A vector is a text file, <folder>/<name>.txt: header lines "key: value", an empty
// line, and a JSON body whose members its folder's test documents. Required in
// every header:
//
//	expect:  success, or the reason of the failure
//	source:  where the data comes from: a publication, or the test that made it
//	comment: what it shows, in a sentence
//
// Vectors of folder wrap whose source is generated are made anew by
// go test ./release/wrap -run TestVectors -update.
package testvectors

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed wrap
var files embed.FS

// ExpectSuccess is the expect header of a vector that must be accepted.
const ExpectSuccess = "success"

// Vector is one file.
type Vector struct {
	Name    string // file name without .txt
	Expect  string
	Source  string
	Comment string
	Body    []byte // JSON
}

// Load reads every vector of a folder, in name order.
func Load(folder string) ([]*Vector, error) {
	names, err := fs.Glob(files, folder+"/*.txt")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("testvectors: no folder %s", folder)
	}
	var out []*Vector
	for _, name := range names {
		b, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		v, err := Parse(strings.TrimSuffix(path.Base(name), ".txt"), b)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Parse reads one file.
func Parse(name string, b []byte) (*Vector, error) {
	head, body, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return nil, fmt.Errorf("testvectors: %s: no empty line after the header", name)
	}
	v := &Vector{Name: name, Body: body}
	fields := map[string]*string{"expect": &v.Expect, "source": &v.Source, "comment": &v.Comment}
	for line := range strings.Lines(string(head)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		field, known := fields[key]
		if !known || *field != "" || value == "" {
			return nil, fmt.Errorf("testvectors: %s: header line %q is unknown, repeated or empty", name, key)
		}
		*field = value
	}
	for key, field := range fields {
		if *field == "" {
			return nil, fmt.Errorf("testvectors: %s: header has no %s", name, key)
		}
	}
	return v, nil
}

// Encode gives the file of v.
func (v *Vector) Encode() []byte {
	return fmt.Appendf(nil, "expect: %s\nsource: %s\ncomment: %s\n\n%s", v.Expect, v.Source, v.Comment, v.Body)
}
