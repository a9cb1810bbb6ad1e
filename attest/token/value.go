package token

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/internal/strict"
)

// object is a JSON object whose members are not read yet; names are exact.
type object map[string]jsontext.Value

// parse reads one JSON object of bounded size and depth, without duplicate members at
// any depth.
func parse(b []byte, limit int) (object, error) {
	var o object
	if err := strict.Unmarshal(b, limit, &o); err != nil {
		return nil, err
	}
	if o == nil { // null
		return nil, fmt.Errorf("not a JSON object")
	}
	return o, nil
}

// equal says whether two documents are the same JSON value: members in any order,
// strings however they are escaped, numbers in the same digits. Nil is no document.
func equal(a, b []byte, limit int) bool {
	x, okX := normal(a, limit)
	y, okY := normal(b, limit)
	return okX && okY && bytes.Equal(x, y)
}

func normal(b []byte, limit int) ([]byte, bool) {
	var v jsontext.Value
	if len(b) == 0 || strict.Unmarshal(b, limit, &v) != nil {
		return nil, false
	}
	if err := v.Format(jsontext.ReorderRawObjects(true), jsontext.AllowDuplicateNames(false)); err != nil {
		return nil, false
	}
	return v, true
}

// reader takes members out of an object and remembers the first that has not the type
// it must have: a service that changes what a claim is must not be misread. A member
// that is absent or null is not there.
type reader struct {
	members object
	path    string
	err     *error
}

func read(o object) reader { return reader{members: o, err: new(error)} }

func (r reader) failed() error { return *r.err }

func (r reader) has(name string) bool {
	v, ok := r.members[name]
	return ok && v.Kind() != 'n'
}

func (r reader) fail(name, want string) {
	if *r.err == nil {
		*r.err = fmt.Errorf("%s%s is not %s", r.path, name, want)
	}
}

func (r reader) text(name string) (s string, ok bool) {
	if !r.has(name) {
		return "", false
	}
	if json.Unmarshal(r.members[name], &s) != nil {
		r.fail(name, "a string")
		return "", false
	}
	return s, true
}

// hex is size bytes in lower-case hex.
func (r reader) hex(name string, size int) (string, bool) {
	s, ok := r.text(name)
	if !ok {
		return "", false
	}
	if _, err := hex.DecodeString(s); err != nil || len(s) != 2*size || strings.ToLower(s) != s {
		r.fail(name, fmt.Sprintf("%d bytes of lower-case hex", size))
		return "", false
	}
	return s, true
}

func (r reader) boolean(name string) (b, ok bool) {
	if !r.has(name) {
		return false, false
	}
	if json.Unmarshal(r.members[name], &b) != nil {
		r.fail(name, "a boolean")
		return false, false
	}
	return b, true
}

func (r reader) integer(name string) (n int64, ok bool) {
	if !r.has(name) {
		return 0, false
	}
	if json.Unmarshal(r.members[name], &n) != nil {
		r.fail(name, "an integer")
		return 0, false
	}
	return n, true
}

// texts is an array of strings, or one string for an array of one.
func (r reader) texts(name string) []string {
	if !r.has(name) {
		return nil
	}
	if r.members[name].Kind() == '"' {
		s, _ := r.text(name)
		return []string{s}
	}
	var out []string
	if json.Unmarshal(r.members[name], &out) != nil {
		r.fail(name, "an array of strings")
		return nil
	}
	return out
}

// integers is an array of integers.
func (r reader) integers(name string) (out []int64) {
	if r.has(name) && json.Unmarshal(r.members[name], &out) != nil {
		r.fail(name, "an array of integers")
		return nil
	}
	return out
}

// object reads a member's members; an absent one has none.
func (r reader) object(name string) reader {
	child := reader{path: r.path + name + ".", err: r.err}
	if r.has(name) && json.Unmarshal(r.members[name], &child.members) != nil {
		r.fail(name, "an object")
	}
	return child
}

// objects is an array of objects.
func (r reader) objects(name string) (out []reader) {
	var list []object
	if r.has(name) && json.Unmarshal(r.members[name], &list) != nil {
		r.fail(name, "an array of objects")
		return nil
	}
	for _, o := range list {
		out = append(out, reader{members: o, path: r.path + name + ".", err: r.err})
	}
	return out
}
