package azure

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Parse reads a policy. The error is an *Error. Member names may differ in the case
// of ASCII letters, as published policies do; two that are then equal are refused,
// at every depth, and so is a name that is not one of the grammar.
func Parse(src []byte) (*Policy, error) {
	if len(src) > MaxSize {
		return nil, &Error{0, fmt.Sprintf("%d bytes of policy, limit %d", len(src), MaxSize)}
	}
	r := &reader{dec: jsontext.NewDecoder(bytes.NewReader(src)), src: src}
	p, err := r.policy()
	if err != nil {
		return nil, r.place(err)
	}
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, &Error{int(r.dec.InputOffset()), "something follows the policy"}
	}
	return p, nil
}

// members are the names of the grammar, by their lower case.
var members = map[string]string{
	"version": "version", "authority": "authority", "anyof": "anyOf", "allof": "allOf", "claim": "claim",
	"equals": Equals, "notequals": NotEquals, "less": Less, "lessorequals": LessOrEquals,
	"greater": Greater, "greaterorequals": GreaterOrEquals, "exists": Exists,
}

type reader struct {
	dec     *jsontext.Decoder
	src     []byte
	remarks []Remark
}

// place gives err its position.
func (r *reader) place(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	at := r.dec.InputOffset()
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		at = syntax.ByteOffset
		err = syntax.Err
	}
	return &Error{int(at), "not one JSON document without duplicate members: " + err.Error()}
}

// next gives the offset of the next token, behind white space, colon and comma.
func (r *reader) next() int {
	at := int(r.dec.InputOffset())
	return at + len(r.src[at:]) - len(bytes.TrimLeft(r.src[at:], " \t\r\n:,"))
}

func (r *reader) bad(at int, format string, args ...any) error {
	return &Error{at, fmt.Sprintf(format, args...)}
}

func (r *reader) warn(at int, format string, args ...any) {
	r.remarks = append(r.remarks, Remark{at, fmt.Sprintf(format, args...)})
}

// begin reads the bracket that opens an object or array.
func (r *reader) begin(kind jsontext.Kind, what string) error {
	if k := r.dec.PeekKind(); k != kind && k != 0 { // 0: not JSON, ReadToken says why
		return r.bad(r.next(), "%s is a JSON %s", what, kindName(k))
	}
	_, err := r.dec.ReadToken()
	return err
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case '0':
		return "number"
	case 'n':
		return "null"
	}
	return "boolean"
}

// object reads an object, and calls member for each value with the name as the
// grammar spells it.
func (r *reader) object(what string, allowed func(name string) bool, member func(name string) error) error {
	if err := r.begin('{', what+", which must be an object,"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for r.dec.PeekKind() != '}' {
		at := r.next()
		t, err := r.dec.ReadToken()
		if err != nil {
			return err
		}
		written := t.String()
		name := members[lower(written)]
		switch {
		case written == "condition" || written == "value":
			return r.bad(at, `%q is of the 2021 preview: write {"claim": "…", "equals": "…"}`, written)
		case name == "" || !allowed(name):
			return r.bad(at, "%s has no member %.64q", what, written)
		case seen[name]:
			return r.bad(at, "%s has two members %s, in any case", what, name)
		}
		seen[name] = true
		if err := member(name); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

// lower folds ASCII only: Unicode's rules make other letters equal to ours.
func lower(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

func (r *reader) text(what string) (string, error) {
	if k := r.dec.PeekKind(); k != '"' && k != 0 {
		return "", r.bad(r.next(), "%s must be a string, it is a JSON %s", what, kindName(k))
	}
	t, err := r.dec.ReadToken()
	if err != nil {
		return "", err
	}
	return t.String(), nil
}

func isList(name string) bool { return name == "anyOf" || name == "allOf" }

func (r *reader) policy() (*Policy, error) {
	p, lists, versioned := &Policy{}, 0, false
	err := r.object("the policy", func(name string) bool { return name == "version" || isList(name) }, func(name string) (err error) {
		at := r.next()
		if name == "version" {
			versioned = true
			p.Version, err = r.version(at)
			return err
		}
		if lists++; lists > 1 {
			return r.bad(at, "the policy has both anyOf and allOf")
		}
		if p.All = name == "allOf"; p.All {
			r.warn(at, "the outermost list is allOf: every authority must pass at once, and evidence has one authority; Azure's grammar has anyOf here")
		}
		return r.array(name, func() error {
			a, err := r.authority()
			p.Authorities = append(p.Authorities, a)
			return err
		})
	})
	switch {
	case err != nil:
		return nil, err
	case !versioned:
		return nil, r.bad(0, `the policy has no "version": write "version": "1.0.0"`)
	case lists == 0:
		return nil, r.bad(0, "the policy has no anyOf with authorities")
	}
	p.Remarks = r.remarks
	return p, nil
}

// version takes those of the one grammar there is. 0.2 stands in samples of
// Microsoft's; a later major could mean anything.
func (r *reader) version(at int) (string, error) {
	v, err := r.text("version")
	if err != nil {
		return "", err
	}
	major, rest, _ := strings.Cut(v, ".")
	if major != "0" && major != "1" || strings.Trim(rest, "0123456789.") != "" || len(v) > 16 {
		return "", r.bad(at, "version %.32q is not known: 1.0.0 is", v)
	}
	if v != "1.0.0" {
		r.warn(at, "version %q is read as 1.0.0", v)
	}
	return v, nil
}

func (r *reader) array(what string, element func() error) error {
	at := r.next()
	if err := r.begin('[', what+", which must be an array,"); err != nil {
		return err
	}
	n := 0
	for ; r.dec.PeekKind() != ']'; n++ {
		if n == maxList {
			return r.bad(at, "%s has more than %d elements", what, maxList)
		}
		if err := element(); err != nil {
			return err
		}
	}
	if n == 0 {
		return r.bad(at, "%s is empty", what)
	}
	_, err := r.dec.ReadToken()
	return err
}

func (r *reader) authority() (a Authority, err error) {
	a.at = r.next()
	lists, named := 0, false
	err = r.object("an authority", func(name string) bool { return name == "authority" || isList(name) }, func(name string) (err error) {
		at := r.next()
		if name == "authority" {
			named = true
			a.URL, err = r.issuer(at)
			return err
		}
		if lists++; lists > 1 {
			return r.bad(at, "an authority has both anyOf and allOf")
		}
		a.List, err = r.list(name, 2)
		return err
	})
	switch {
	case err != nil:
	case !named:
		err = r.bad(a.at, `an authority has no "authority"`)
	case lists == 0:
		err = r.bad(a.at, "an authority has neither anyOf nor allOf: it would allow whatever that authority signs")
	}
	return a, err
}

func (r *reader) issuer(at int) (string, error) {
	url, err := r.text("authority")
	if err != nil {
		return "", err
	}
	url = strings.TrimSuffix(url, "/")
	if url == "" || len(url) > maxName {
		return "", r.bad(at, "authority must be 1 to %d bytes long", maxName)
	}
	switch {
	case !strings.HasPrefix(url, "https://"):
		r.warn(at, "authority %q is no https URL, as issuers of tokens are", url)
	case url != strings.ToLower(url):
		r.warn(at, "authority %q is compared exactly, capitals too", url)
	}
	return url, nil
}

func (r *reader) list(name string, level int) (List, error) {
	l := List{All: name == "allOf"}
	if level > maxLevels {
		return l, r.bad(r.next(), "anyOf and allOf nested deeper than %d", maxLevels)
	}
	err := r.array(name, func() error {
		c, err := r.condition(level)
		l.Conditions = append(l.Conditions, c)
		return err
	})
	return l, err
}

func (r *reader) condition(level int) (c Condition, err error) {
	c.Offset = r.next()
	claimed := false
	err = r.object("a condition", func(name string) bool { return name != "version" && name != "authority" }, func(name string) (err error) {
		at := r.next()
		switch {
		case name == "claim":
			claimed = true
			c.Claim, err = r.claim(at)
		case c.List != nil || c.Operator != "":
			err = r.bad(at, "a condition has two of operators, anyOf and allOf: write one condition for each")
		case isList(name):
			var l List
			l, err = r.list(name, level+1)
			c.List = &l
		default:
			c.Operator = name
			c.Value, err = r.value(at, name)
		}
		return err
	})
	switch {
	case err != nil:
	case c.List == nil && c.Operator == "":
		err = r.bad(c.Offset, "a condition has no operator and is no anyOf or allOf")
	case c.List == nil && !claimed:
		err = r.bad(c.Offset, "a condition has no claim")
	case c.List != nil && claimed:
		err = r.bad(c.Offset, "a condition has both a claim and a list")
	}
	return c, err
}

func (r *reader) claim(at int) (string, error) {
	name, err := r.text("claim")
	if err != nil {
		return "", err
	}
	parts := strings.Split(name, ".")
	if len(name) > maxName || len(parts) > maxSegments {
		return "", r.bad(at, "claim name longer than %d bytes or %d parts", maxName, maxSegments)
	}
	for _, part := range parts {
		if part == "" {
			return "", r.bad(at, "claim name %q is empty or has an empty part", name)
		}
	}
	return name, nil
}

func (r *reader) value(at int, operator string) (v Value, err error) {
	t, err := r.dec.ReadToken()
	if err != nil {
		return v, err
	}
	v.kind = byte(t.Kind())
	switch {
	case operator == Exists && v.kind != 't' && v.kind != 'f':
		return v, r.bad(at, "exists is true or false, without quotes")
	case v.kind == '"':
		v.Text = t.String()
		v.raw = strconv.Quote(v.Text)
	case v.kind == 't', v.kind == 'f':
		v.Text = t.String()
		v.raw = v.Text
	case v.kind == '0':
		v.raw = t.String()
		if v.Text = canonical(v.raw); len(v.raw) > maxNumber || !decimal(v.raw) {
			return v, r.bad(at, "write the number %.50s in at most %d digits, without exponent", v.raw, maxNumber)
		}
	default:
		return v, r.bad(at, "%s takes a string, a number, true or false, not a JSON %s", operator, kindName(t.Kind()))
	}
	switch operator {
	case Less, LessOrEquals, Greater, GreaterOrEquals:
		if !ordered(v.Text) {
			r.warn(at, "%s compares numbers, and %.64s is none: the condition never holds", operator, v.raw)
		}
	}
	return v, nil
}
