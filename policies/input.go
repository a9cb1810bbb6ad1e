package policies

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/openskr/openskr/release"
)

const (
	maxInput      = 1 << 20
	maxInputDepth = 32
)

// document turns an input into OPA's values without a JSON round trip. It is the
// same document that json.Marshal of in gives, which Explain reads.
func document(in *release.Input) (*ast.Term, error) {
	if in == nil {
		return nil, errors.New("no input document")
	}
	claims, err := value(map[string]any(in.Claims), maxInputDepth)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if in.Claims == nil {
		claims = ast.NewTerm(ast.NullValue)
	}
	roles := ast.NewTerm(ast.NullValue)
	if in.Caller.Roles != nil {
		roles = texts(in.Caller.Roles)
	}
	members := [][2]*ast.Term{
		member("request", fields(
			member("key", text(in.Request.Key)), member("version", text(in.Request.Version)), member("enc", text(in.Request.Enc)),
			member("door", text(string(in.Request.Door))), member("time", integer(in.Request.Time)))),
		member("caller", fields(member("kind", text(in.Caller.Kind)), member("id", text(in.Caller.ID)), member("roles", roles))),
		member("evidence", fields(
			member("type", text(in.Evidence.Type)), member("authority", text(in.Evidence.Authority)), member("freshness", text(in.Evidence.Freshness)),
			member("tcb_status", text(in.Evidence.TCBStatus)), member("collateral_age", integer(in.Evidence.CollateralAge)))),
		member("claims", claims),
		member("key", fields(member("name", text(in.Key.Name)), member("tags", table(in.Key.Tags)), member("attributes", attributes(in.Key.Attributes)))),
	}
	if in.Machine != nil {
		members = append(members, member("machine", fields(
			member("labels", table(in.Machine.Labels)), member("enrolled", ast.InternedTerm(in.Machine.Enrolled)))))
	}
	return fields(members...), nil
}

func attributes(a release.Attributes) *ast.Term {
	m := [][2]*ast.Term{member("enabled", ast.InternedTerm(a.Enabled)), member("exportable", ast.InternedTerm(a.Exportable))}
	if a.NotBefore != 0 {
		m = append(m, member("nbf", integer(a.NotBefore)))
	}
	if a.Expires != 0 {
		m = append(m, member("exp", integer(a.Expires)))
	}
	return fields(m...)
}

func member(name string, v *ast.Term) [2]*ast.Term { return [2]*ast.Term{text(name), v} }

func fields(m ...[2]*ast.Term) *ast.Term { return ast.NewTerm(ast.NewObject(m...)) }

func text(s string) *ast.Term { return ast.StringTerm(s) }

func integer(n int64) *ast.Term { return ast.NewTerm(ast.Number(strconv.FormatInt(n, 10))) }

func texts(list []string) *ast.Term {
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = text(s)
	}
	return ast.ArrayTerm(terms...)
}

func table(m map[string]string) *ast.Term {
	if m == nil {
		return ast.NewTerm(ast.NullValue)
	}
	members := make([][2]*ast.Term, 0, len(m))
	for k, v := range m {
		members = append(members, member(k, text(v)))
	}
	return fields(members...)
}

// value converts claims. Only the types that attest.Claims allows are taken: a
// value of any other would look different in the log than to the policy.
func value(v any, depth int) (*ast.Term, error) {
	if depth == 0 {
		return nil, fmt.Errorf("nested deeper than %d", maxInputDepth)
	}
	switch v := v.(type) {
	case string:
		return text(v), nil
	case bool:
		return ast.InternedTerm(v), nil
	case int64:
		return integer(v), nil
	case uint64:
		return ast.NewTerm(ast.Number(strconv.FormatUint(v, 10))), nil
	case map[string]any:
		members := make([][2]*ast.Term, 0, len(v))
		for k, e := range v {
			t, err := value(e, depth-1)
			if err != nil {
				return nil, fmt.Errorf("%.64q: %w", k, err)
			}
			members = append(members, member(k, t))
		}
		return fields(members...), nil
	case []any:
		terms := make([]*ast.Term, len(v))
		for i, e := range v {
			t, err := value(e, depth-1)
			if err != nil {
				return nil, fmt.Errorf("element %d: %w", i, err)
			}
			terms[i] = t
		}
		return ast.ArrayTerm(terms...), nil
	default:
		return nil, fmt.Errorf("a %T is no claim", v)
	}
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
