package policies

import (
	"errors"

	"github.com/open-policy-agent/opa/v1/ast"
)

var errLarge = errors.New("large")

// size estimates the memory of t written out in full, and gives up above limit.
// Values share their parts, so a small one can be exponential when walked.
func size(t *ast.Term, limit int) (n int) {
	switch v := t.Value.(type) {
	case ast.String:
		return 16 + len(v)
	case ast.Number:
		return 16 + len(v)
	case *ast.Array:
		for i := 0; i < v.Len() && n <= limit; i++ {
			n += 16 + size(v.Elem(i), limit-n)
		}
	case ast.Object:
		_ = v.Iter(func(k, e *ast.Term) error {
			if n += 48 + size(k, limit-n); n <= limit {
				n += size(e, limit-n)
			}
			if n > limit {
				return errLarge
			}
			return nil
		})
	case ast.Set:
		_ = v.Iter(func(e *ast.Term) error {
			if n += 48 + size(e, limit-n); n > limit {
				return errLarge
			}
			return nil
		})
	}
	return n + 16
}
