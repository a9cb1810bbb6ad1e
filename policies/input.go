package policies

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
)

const (
	maxInput      = 1 << 20
	maxInputDepth = 32
)

// document turns an input into OPA's values without a JSON round trip: OPA
// converts a member when a policy reads it. It is the same document that
// json.Marshal of in gives, which Explain reads. in must not change meanwhile.
func document(in *release.Input) (*ast.Term, error) {
	if in == nil {
		return nil, errors.New("no input document")
	}
	if err := checkClaims(map[string]any(in.Claims), maxInputDepth); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	r, c, ev := in.Request, in.Caller, in.Evidence
	doc := map[string]any{
		"request": map[string]any{"key": r.Key, "version": r.Version, "purpose": r.Purpose, "enc": r.Enc, "door": string(r.Door), "time": r.Time},
		"caller":  map[string]any{"kind": c.Kind, "id": c.ID, "roles": roles(c.Roles)},
		"evidence": map[string]any{
			"type": ev.Type, "authority": ev.Authority, "freshness": ev.Freshness, "tcb_status": ev.TCBStatus, "collateral_age": ev.CollateralAge,
		},
		"claims": absent(exact(in.Claims)),
		"key":    map[string]any{"name": in.Key.Name, "tags": table(in.Key.Tags), "attributes": attributes(in.Key.Attributes)},
	}
	if in.Machine != nil {
		doc["machine"] = map[string]any{"labels": table(in.Machine.Labels), "enrolled": in.Machine.Enrolled}
	}
	return ast.NewTerm(ast.LazyObject(doc)), nil
}

func attributes(a release.Attributes) map[string]any {
	m := map[string]any{"enabled": a.Enabled, "exportable": a.Exportable}
	if a.NotBefore != 0 {
		m["nbf"] = a.NotBefore
	}
	if a.Expires != 0 {
		m["exp"] = a.Expires
	}
	return m
}

// roles, table and absent give nil for nil, which JSON writes as null.
func roles(in []string) any {
	if in == nil {
		return nil
	}
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

func table(in map[string]string) any {
	if in == nil {
		return nil
	}
	out := make(map[string]any, len(in))
	for k, v := range in {
		out[k] = v
	}
	return out
}

func absent(c attest.Claims) any {
	if c == nil {
		return nil
	}
	return map[string]any(c)
}

// exact gives claims that OPA converts without loss: it makes an int of a uint64,
// and a negative number of one above 2^63. Copies only what holds such a one.
func exact(c attest.Claims) attest.Claims {
	if !huge(map[string]any(c)) {
		return c
	}
	return convert(map[string]any(c)).(map[string]any)
}

func huge(v any) bool {
	switch v := v.(type) {
	case uint64:
		return v > math.MaxInt64
	case map[string]any:
		for _, e := range v {
			if huge(e) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, huge)
	}
	return false
}

func convert(v any) any {
	switch v := v.(type) {
	case uint64:
		return json.Number(strconv.FormatUint(v, 10))
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = convert(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = convert(e)
		}
		return out
	}
	return v
}

var errText = errors.New("text is not UTF-8")

// checkClaims takes only the types that attest.Claims allows: a value of any
// other would look different in the log than to the policy.
func checkClaims(v any, depth int) error {
	if depth == 0 {
		return fmt.Errorf("nested deeper than %d", maxInputDepth)
	}
	switch v := v.(type) {
	case string:
		if !utf8.ValidString(v) { // JSON would write another string than the policy saw
			return errText
		}
	case bool, int64, uint64:
	case map[string]any:
		for k, e := range v {
			if !utf8.ValidString(k) {
				return errText
			}
			if err := checkClaims(e, depth-1); err != nil {
				return fmt.Errorf("%.64q: %w", k, err)
			}
		}
	case []any:
		for i, e := range v {
			if err := checkClaims(e, depth-1); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
	default:
		return fmt.Errorf("a %T is no claim", v)
	}
	return nil
}

// stored reads an input document back from the log. Numbers stay exact.
func stored(doc []byte) (*ast.Term, error) {
	if len(doc) > maxInput {
		return nil, fmt.Errorf("input document larger than %d bytes", maxInput)
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("input document: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("input document: more than one JSON value")
	}
	t, err := ast.InterfaceToValue(v)
	if err != nil {
		return nil, fmt.Errorf("input document: %w", err)
	}
	return ast.NewTerm(t), nil
}
