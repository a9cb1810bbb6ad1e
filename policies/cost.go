package policies

import (
	"errors"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// work is what a call of a built-in will do, known from its operands.
type work struct {
	bytes  int // looked at, 64 a step
	result int // upper bound of the size of its result
}

// glance prices an operand that the built-in does not walk: it looks at a
// header, at one key, or at a scalar.
func glance(name string, o *ast.Term) (int, bool) {
	if s, ok := o.Value.(ast.String); ok {
		return 16 + len(s), true
	}
	if ast.IsScalar(o.Value) {
		return 16, true
	}
	switch name {
	case "count", "object.get", "is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "type_name":
		return 16, true
	case "internal.member_2", "internal.member_3":
		if c, ok := o.Value.(interface{ Len() int }); ok {
			return 16 * c.Len(), true
		}
	}
	return 0, false
}

var (
	errWidth   = errors.New("widths above 999 and * are not allowed")
	errPattern = errors.New("pattern longer than 256 bytes or text longer than 4096 (64 and 512 with counted repetition)")
	errDigits  = errors.New("number of more than 400 digits")
	errCutset  = errors.New("search or cut set longer than 256 bytes")
)

// cost refuses calls that cannot be bounded and prices the rest. in is the size
// of all operands.
func cost(name string, ops []*ast.Term, in int) (work, error) {
	w := work{bytes: in, result: in}
	switch name {
	case "sprintf":
		// Widths allocate, * takes a width from an argument, and %[1]v can name one argument many times.
		widths, err := widths(str(ops[0]))
		w.result = widths + (strings.Count(str(ops[0]), "%")+1)*in
		return w, err
	case "replace":
		w.result = len(str(ops[0])) + (strings.Count(str(ops[0]), str(ops[1]))+1)*len(str(ops[2]))
	case "concat":
		w.result = in + in/16*len(str(ops[0]))
	case "split":
		w.result = 48*(strings.Count(str(ops[0]), str(ops[1]))+1) + in
	case "trim", "indexof": // look at every pair of characters
		if len(str(ops[1])) > 256 {
			return w, errCutset
		}
		w.bytes += len(str(ops[0])) * len(str(ops[1])) / 8
	case "regex.match":
		// Linear, but counted repetition multiplies the automaton.
		pattern, text := str(ops[0]), str(ops[1])
		if len(pattern) > 256 || len(text) > 4096 || strings.Contains(pattern, "{") && (len(pattern) > 64 || len(text) > 512) {
			return w, errPattern
		}
		w.bytes *= 64
	case "equal", "neq", "count":
		w.bytes /= 8
	case "plus", "minus", "mul", "div", "rem", "abs", "ceil", "floor", "round", "sum", "max", "min", "sort", "to_number", "lt", "lte", "gt", "gte":
		for _, o := range ops {
			if hugeNumber(o) {
				return w, errDigits
			}
		}
	}
	return w, nil
}

func str(t *ast.Term) string {
	s, _ := t.Value.(ast.String)
	return string(s)
}

func widths(format string) (sum int, err error) {
	if strings.Contains(format, "*") && strings.Contains(format, "%") {
		return 0, errWidth
	}
	for _, digits := range strings.FieldsFunc(format, func(r rune) bool { return r < '0' || r > '9' }) {
		if len(digits) > 3 {
			return 0, errWidth
		}
		sum += 1000
	}
	return sum, nil
}

// hugeNumber finds numbers whose digits, written out, cost more than any
// honest policy needs. Strings count for to_number.
func hugeNumber(t *ast.Term) bool {
	switch v := t.Value.(type) {
	case ast.Number:
		return hugeDigits(string(v))
	case ast.String:
		return hugeDigits(string(v))
	case *ast.Array:
		for i := range v.Len() {
			if hugeNumber(v.Elem(i)) {
				return true
			}
		}
	case ast.Set:
		return v.Until(hugeNumber)
	}
	return false
}

func hugeDigits(s string) bool {
	if len(s) > 400 {
		return true
	}
	i := strings.IndexAny(s, "eE")
	if i < 0 {
		return false
	}
	exp, err := strconv.Atoi(strings.TrimPrefix(s[i+1:], "+"))
	return err == nil && (exp > 400 || exp < -400)
}
