// Package strict decodes JSON that comes from outside: exact member names, no
// duplicates, no unknown members, valid UTF-8, one document, bounded size and
// depth. It is the only way request bodies, runtime data and evidence are read
// (security: a body that two parsers read differently is an attack).
package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth bounds nesting.
const MaxDepth = 32

// ErrTooLarge says that the document is longer than the limit.
var ErrTooLarge = errors.New("JSON document too large")

// Unmarshal decodes the one document in b, of at most limit bytes, into v.
// Unknown members are refused.
func Unmarshal(b []byte, limit int, v any) error {
	if len(b) > limit {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(b), limit)
	}
	if err := scan(b); err != nil {
		return err
	}
	return json.Unmarshal(b, v, json.RejectUnknownMembers(true))
}

// scan checks syntax, duplicates and depth before any value is built, so that
// a hostile document costs a pass over its bytes and nothing else.
func scan(b []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(b)) // of a Buffer it reads the bytes in place
	for {
		_, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.StackDepth() > MaxDepth {
			return fmt.Errorf("JSON nested deeper than %d", MaxDepth)
		}
	}
}

// Marshal encodes v deterministically: members in declaration order, map keys sorted.
func Marshal(v any) ([]byte, error) {
	return json.Marshal(v, json.Deterministic(true))
}
