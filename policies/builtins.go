package policies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/openskr/openskr/release"
)

// allowed is the whole surface of built-ins: pure, and total or an error.
// Nothing that reads a clock, a random source, the network or the process;
// nothing that makes large values out of small ones (numbers.range, bits.lsh);
// nothing whose one call cannot be bounded (json.*, graph.*, templates).
func allowed() []string {
	return strings.Fields(`eq assign equal neq lt lte gt gte plus minus mul div rem abs ceil floor round
 and or internal.member_2 internal.member_3 count sum max min sort object.get object.keys array.concat array.slice
 concat contains startswith endswith lower upper split replace sprintf trim trim_prefix trim_suffix trim_space
 indexof substring to_number is_array is_boolean is_null is_number is_object is_set is_string type_name
 regex.match semver.compare union intersection time.parse_rfc3339_ns`)
}

// install bounds the allowed built-ins of this process, once. It has to be
// process-wide: OPA looks standard built-ins up in a global table that beats
// every per-query override, and gives built-ins with CanSkipBctx an empty
// context, in which the meter is missing. It runs in New and in the child, not
// in init, so that linking this package changes nothing.
var install = sync.OnceValue(func() error {
	if !slices.Contains(ast.AllStages(), ast.StageRewriteDynamicTerms) {
		return errors.New("policies: this OPA has no stage RewriteDynamicTerms and would silently leave values unbounded")
	}
	for _, name := range allowed() {
		b, f := ast.BuiltinMap[name], topdown.GetBuiltin(name)
		switch {
		case name == "eq" || name == "assign": // part of the language, compiled away
		case b == nil || f == nil || b.Nondeterministic:
			return fmt.Errorf("policies: built-in %s of this OPA cannot be used", name)
		default:
			b.CanSkipBctx = false
			topdown.RegisterBuiltinFunc(name, bounded(name, b.Decl.Arity(), f))
		}
	}
	return nil
})

// bounded puts the meter in front of and behind a built-in and makes every
// failure, empty result and mixed-type order stop the evaluation: in plain Rego
// they are undefined, and `not` turns undefined into true.
//
// next is the rest of the evaluation, not only of the built-in: operands are
// bounded before the call, the result inside the callback.
func bounded(name string, arity int, f topdown.BuiltinFunc) topdown.BuiltinFunc {
	return func(b topdown.BuiltinContext, ops []*ast.Term, next func(*ast.Term) error) error {
		m, ok := b.Cancel.(*meter)
		if !ok { // a caller without a budget gets a fresh one for each call, never none
			m = newMeter(context.Background(), defaultLimits, time.Now)
		}
		if err := before(m, b.Location, name, ops[:arity]); err != nil {
			return err
		}
		called := false
		err := f(b, ops, func(t *ast.Term) error {
			called = true
			if err := after(m, b.Location, name, t); err != nil {
				return err
			}
			return next(t)
		})
		switch e := err.(type) {
		case nil:
			if !called { // max([]): undefined without an error
				return halt(b.Location, release.ReasonPolicyError, "%s has no result for these operands", name)
			}
			return nil
		case topdown.Halt: // from next: stops and OPA's early exit
			return e
		case *topdown.Error:
			return halt(b.Location, release.ReasonPolicyError, "%s", e.Message)
		default:
			return halt(b.Location, release.ReasonPolicyError, "%s: %v", name, e)
		}
	}
}

func before(m *meter, at *ast.Location, name string, ops []*ast.Term) error {
	if ordered(name) && ast.ValueName(ops[0].Value) != ast.ValueName(ops[1].Value) { // "abc" > 5 is true in Rego
		return halt(at, release.ReasonPolicyError, "%s compares a %s with a %s", name, ast.ValueName(ops[0].Value), ast.ValueName(ops[1].Value))
	}
	if c := ops[len(ops)-1].Value; strings.HasPrefix(name, "internal.member_") && !collection(c) { // "a" in "abc" is false in Rego
		return halt(at, release.ReasonPolicyError, "in looks into a %s, which is no collection", ast.ValueName(c))
	}
	in, whole := 0, m.limits.value
	for _, o := range ops {
		if n, ok := glance(name, o); ok {
			in += n
		} else if in += size(o, whole-in); in > whole {
			return halt(at, release.ReasonPolicyResource, "%s: operand larger than %d bytes", name, whole)
		}
	}
	work, err := cost(name, ops, in)
	if err != nil {
		return halt(at, release.ReasonPolicyResource, "%s: %v", name, err)
	}
	if work.result > whole {
		return halt(at, release.ReasonPolicyResource, "%s: result could be larger than %d bytes", name, whole)
	}
	if s := m.charge(int64(work.bytes>>6), 0); s != nil {
		return topdown.Halt{Err: s}
	}
	return nil
}

func after(m *meter, at *ast.Location, name string, t *ast.Term) error {
	s, isString := t.Value.(ast.String)
	if isString && name == "sprintf" && strings.Contains(string(s), "%!") {
		return halt(at, release.ReasonPolicyError, "sprintf: a verb does not fit its argument")
	}
	if ast.IsScalar(t.Value) && !isString {
		return nil
	}
	n := size(t, m.limits.value)
	if n > m.limits.value {
		return halt(at, release.ReasonPolicyResource, "%s: result larger than %d bytes", name, m.limits.value)
	}
	if s := m.charge(int64(n>>6), int64(n)); s != nil {
		return topdown.Halt{Err: s}
	}
	return nil
}

func ordered(name string) bool {
	return name == "lt" || name == "lte" || name == "gt" || name == "gte"
}

func collection(v ast.Value) bool {
	switch v.(type) {
	case *ast.Array, ast.Object, ast.Set:
		return true
	}
	return false
}
