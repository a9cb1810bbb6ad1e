// Package strict decodes JSON that comes from outside: exact member names, no
// duplicates, no unknown members (but for UnmarshalKnown), valid UTF-8, one document,
// bounded size and depth. It is the only way request bodies, runtime data and evidence are read
// (security: a body that two parsers read differently is an attack).
package strict

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// MaxDepth bounds nesting.
const MaxDepth = 32

// ErrTooLarge says that the document is longer than the limit.
var ErrTooLarge = errors.New("JSON document too large")

// Unmarshal decodes the one document in b, of at most limit bytes, into v.
// Unknown members are refused.
func Unmarshal(b []byte, limit int, v any) error { return unmarshal(b, limit, v, true) }

// UnmarshalKnown is Unmarshal with unknown members ignored, for documents of others that
// may have more of them one day.
func UnmarshalKnown(b []byte, limit int, v any) error { return unmarshal(b, limit, v, false) }

func unmarshal(b []byte, limit int, v any, rejectUnknown bool) error {
	if len(b) > limit {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(b), limit)
	}
	if err := shallow(b); err != nil {
		return err
	}
	return json.Unmarshal(b, v, json.RejectUnknownMembers(rejectUnknown))
}

// shallow refuses a document that nests deeper than MaxDepth, before a parser that
// recurses sees it. It knows strings and brackets, nothing else: what is not JSON
// is left to the parser.
func shallow(b []byte) error {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += closing(b[i+1:]) + 1
		case '[', '{':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("JSON nested deeper than %d", MaxDepth)
			}
		case ']', '}':
			depth--
		}
	}
	return nil
}

// closing gives the index of the quote that ends a string, or the length of b.
// Most bytes from outside are long base64 strings, hence the search by word.
func closing(b []byte) int {
	for i := 0; ; i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return len(b)
		}
		i += n
		escapes := 0
		for escapes < i && b[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
	}
}

// Marshal encodes v deterministically: members in declaration order, map keys sorted.
func Marshal(v any) ([]byte, error) {
	return json.Marshal(v, json.Deterministic(true))
}
