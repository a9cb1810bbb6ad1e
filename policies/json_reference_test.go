package policies

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/openskr/openskr/release"
)

// reference decides as the specification of the grammar says, from the JSON and the
// claims alone. It shares nothing with package azure, and takes only policies that
// azure.Parse takes.
type reference struct {
	authority string
	claims    map[string]any
}

func (r reference) policy(src []byte) bool {
	d := json.NewDecoder(strings.NewReader(string(src)))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		panic(err)
	}
	if list, ok := at(doc, "anyOf").([]any); ok {
		for _, a := range list {
			if r.block(a.(map[string]any)) {
				return true
			}
		}
		return false
	}
	for _, a := range at(doc, "allOf").([]any) {
		if !r.block(a.(map[string]any)) {
			return false
		}
	}
	return true
}

// at finds a member whose name may differ in case.
func at(o map[string]any, name string) any {
	for k, v := range o {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return nil
}

func (r reference) block(a map[string]any) bool {
	want := strings.TrimSuffix(at(a, "authority").(string), "/")
	return strings.TrimSuffix(r.authority, "/") == want && r.lists(a)
}

func (r reference) lists(o map[string]any) bool {
	if all, ok := at(o, "allOf").([]any); ok {
		for _, c := range all {
			if !r.condition(c.(map[string]any)) {
				return false
			}
		}
		return true
	}
	for _, c := range at(o, "anyOf").([]any) {
		if r.condition(c.(map[string]any)) {
			return true
		}
	}
	return false
}

func (r reference) find(name string) (any, bool) {
	if v, ok := r.claims[name]; ok {
		return v, true
	}
	var v any = r.claims
	for _, part := range strings.Split(name, ".") {
		o, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = o[part]; !ok {
			return nil, false
		}
	}
	return v, true
}

func (r reference) condition(c map[string]any) bool {
	name, leaf := at(c, "claim").(string)
	if !leaf {
		return r.lists(c)
	}
	got, present := r.find(name)
	for op, want := range c {
		switch strings.ToLower(op) {
		case "claim":
		case "exists":
			return present == want.(bool)
		case "equals":
			text, ok := scalarText(got)
			return present && ok && text == wanted(want)
		case "notequals":
			text, ok := scalarText(got)
			return present && ok && text != wanted(want)
		default:
			a, b := rational(got), rational(want)
			if !present || a == nil || b == nil {
				return false
			}
			n := a.Cmp(b)
			return map[string]bool{"less": n < 0, "lessorequals": n <= 0, "greater": n > 0, "greaterorequals": n >= 0}[strings.ToLower(op)]
		}
	}
	panic("no operator")
}

// scalarText gives the canonical text of a claim: claims hold no fractions.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	}
	return "", false
}

func wanted(v any) string {
	n, ok := v.(json.Number)
	if !ok {
		text, _ := scalarText(v)
		return text
	}
	r, _ := new(big.Rat).SetString(string(n))
	if r.IsInt() {
		return r.Num().String()
	}
	places := len(n) - strings.IndexByte(string(n), '.') - 1
	return strings.TrimRight(r.FloatString(places), "0")
}

var plain = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

func rational(v any) *big.Rat {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = string(v)
	case string:
		if len(v) > 40 {
			return nil
		}
		text = v
	case int64, uint64:
		text, _ = scalarText(v)
	}
	if !plain.MatchString(text) {
		return nil
	}
	r, _ := new(big.Rat).SetString(text)
	return r
}

func referenceAllows(src []byte, in *release.Input) bool {
	return reference{in.Evidence.Authority, in.Claims}.policy(src)
}
