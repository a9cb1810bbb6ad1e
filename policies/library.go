package policies

import (
	"crypto/sha256"
	"embed"
	"strings"
)

//go:embed library/*.rego
var libraryFiles embed.FS

// Ready is a policy of the library, to be used as it is or copied and changed.
type Ready struct {
	Name   string // of the file, without .rego
	Title  string
	Threat string // one sentence: which threat it answers
	Source []byte
	Digest [32]byte // SHA-256 of Source
	Tests  []byte   // its _test.rego
}

// Library gives the ready policies, sorted by name.
func Library() []Ready {
	entries, err := libraryFiles.ReadDir("library")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	var out []Ready
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".rego")
		if !ok || strings.HasSuffix(e.Name(), testSuffix) {
			continue
		}
		src, tests := libraryFile(e.Name()), libraryFile(name+testSuffix)
		out = append(out, Ready{
			Name: name, Title: headerLine(src, "# title: "), Threat: headerLine(src, "# threat: "),
			Source: src, Digest: sha256.Sum256(src), Tests: tests,
		})
	}
	return out
}

func libraryFile(name string) []byte {
	b, err := libraryFiles.ReadFile("library/" + name)
	if err != nil {
		panic(err) // a test sees that every policy has its tests
	}
	return b
}

func headerLine(src []byte, prefix string) string {
	for line := range strings.Lines(string(src)) {
		if text, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(text)
		}
	}
	return ""
}
