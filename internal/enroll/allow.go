package enroll

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// MaxAllowFile bounds an allow file in bytes: about 100 000 machines.
const MaxAllowFile = 8 << 20

// AllowList is a set of SHA-256 hashes, each of an EK's SubjectPublicKeyInfo or of
// an EK certificate (DER).
type AllowList map[[32]byte]struct{}

// ParseAllowList reads the file of --ek-allow: a hash of 64 hex digits a line, empty
// lines, and comments from # to the end of the line. Anything else is an error with
// its line: a list that is half understood approves nothing.
func ParseAllowList(b []byte) (AllowList, error) {
	if len(b) > MaxAllowFile {
		return nil, fmt.Errorf("allow file: %d bytes, limit %d", len(b), MaxAllowFile)
	}
	list, n := AllowList{}, 0
	for line := range strings.Lines(string(b)) {
		n++
		text, _, _ := strings.Cut(line, "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		h, err := hex.DecodeString(text)
		if err != nil || len(h) != 32 {
			return nil, fmt.Errorf("allow file: line %d: want 64 hex digits, the SHA-256 of an EK public key (SPKI) or certificate", n)
		}
		list[[32]byte(h)] = struct{}{}
	}
	return list, nil
}

// Allows is for Config.AllowList.
func (l AllowList) Allows(hash [32]byte) bool {
	_, ok := l[hash]
	return ok
}
