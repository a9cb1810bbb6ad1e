package policies

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
)

const referencesName = "references"

// Bounds of data.references.
const (
	maxReferences     = 1 << 20  // values
	maxReferenceBytes = 64 << 20 // as size counts
	maxReferenceDepth = 8
)

// references is one immutable version of the data that policies may read, as an
// OPA store that holds nothing else.
type references struct {
	storage.WritesNotSupported
	storage.TriggersNotSupported
	storage.PolicyNotSupported
	root   ast.Object // {"references": …}
	digest [32]byte   // SHA-256 of the document, zero of an empty one
}

// newReferences copies refs into OPA's values, once, so that a look-up in a large
// table is one step and no conversion.
func newReferences(refs map[string]any) (*references, error) {
	left := maxReferences
	if err := boundReferences(refs, maxReferenceDepth, &left); err != nil {
		return nil, err
	}
	v, err := ast.InterfaceToValue(refs)
	if err != nil {
		return nil, fmt.Errorf("references: %w", err)
	}
	t := ast.NewTerm(v)
	if n := size(t, maxReferenceBytes); n > maxReferenceBytes {
		return nil, fmt.Errorf("references: larger than %d MiB", maxReferenceBytes>>20)
	}
	digest, err := digestOf(refs)
	if err != nil {
		return nil, fmt.Errorf("references: %w", err)
	}
	return &references{root: ast.NewObject([2]*ast.Term{ast.StringTerm(referencesName), t}), digest: digest}, nil
}

// digestOf gives the SHA-256 of refs as JSON with sorted members and no white
// space: what a record says of the references that its decision read.
func digestOf(refs map[string]any) (sum [32]byte, err error) {
	if len(refs) == 0 {
		return sum, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(refs); err != nil {
		return sum, err
	}
	return sha256.Sum256(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

func boundReferences(v any, depth int, left *int) error {
	if *left--; *left < 0 {
		return fmt.Errorf("references: more than %d values", maxReferences)
	}
	if depth == 0 {
		return fmt.Errorf("references: nested deeper than %d", maxReferenceDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if err := boundReferences(e, depth-1, left); err != nil {
				return fmt.Errorf("%w (in %.64q)", err, k)
			}
		}
		return nil
	case []any:
		for _, e := range v {
			if err := boundReferences(e, depth-1, left); err != nil {
				return err
			}
		}
		return nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return fmt.Errorf("references: %v is no JSON number", v)
		}
		return nil
	case string, bool, int, int64, uint64, json.Number, nil:
		return nil
	default:
		return fmt.Errorf("references: a %T is neither string, boolean, number, list nor table", v)
	}
}

type transaction struct{}

func (transaction) ID() uint64 { return 1 }

// NewTransaction implements storage.Store; a version never changes.
func (r *references) NewTransaction(context.Context, ...storage.TransactionParams) (storage.Transaction, error) {
	return transaction{}, nil
}

// Read implements storage.Store.
func (r *references) Read(_ context.Context, _ storage.Transaction, path storage.Path) (any, error) {
	var v ast.Value = r.root
	for _, name := range path {
		o, ok := v.(ast.Object)
		if !ok {
			return nil, errAbsent
		}
		t := o.Get(ast.StringTerm(name))
		if t == nil {
			return nil, errAbsent
		}
		v = t.Value
	}
	return v, nil
}

var errAbsent = &storage.Error{Code: storage.NotFoundErr, Message: "no such reference"}

// Commit implements storage.Store.
func (r *references) Commit(context.Context, storage.Transaction) error {
	return errors.New("references are read-only")
}

// Abort implements storage.Store.
func (r *references) Abort(context.Context, storage.Transaction) {}

// Truncate implements storage.Store.
func (r *references) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return errors.New("references are read-only")
}
