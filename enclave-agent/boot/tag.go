package boot

import (
	"errors"
	"fmt"
	"strings"

	agent "github.com/openskr/openskr/enclave-agent"
)

// maxDigests is how many headers a tag may allow.
const maxDigests = 3

func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && agent.Consists(hex, "0123456789abcdef", 64, 64)
}

// parseTag reads the value of [HeaderTag].
func parseTag(s string) ([]string, error) {
	if s == "" {
		return nil, errors.New("there is none")
	}
	digests := strings.Split(s, ",")
	if len(digests) > maxDigests {
		return nil, fmt.Errorf("%d digests, want %d at most", len(digests), maxDigests)
	}
	for _, d := range digests {
		if !isDigest(d) {
			return nil, fmt.Errorf("%.80q is not sha256: and 64 hex digits", d)
		}
	}
	return digests, nil
}

// tagCommand is what an operator runs to record a header.
func tagCommand(kid, digest string) string {
	name, version := operands(kid)
	return "openskr key tag " + name + version + " " + HeaderTag + "=" + digest
}

// grantCommand is what an operator runs to let a disk be made with a key.
func grantCommand(kid string) string {
	name, version := operands(kid)
	return "openskr key grant-format " + name + version
}

// operands name a key to the operator's program.
func operands(kid string) (name, version string) {
	key, version, err := agent.SplitKeyURL(kid)
	if err != nil {
		return "NAME", ""
	}
	if _, name, _ = strings.Cut(key, "/keys/"); version != "" {
		version = " --version " + version
	}
	return name, version
}
