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
	as      func(name string) string // what the service calls a member; nil: as it is asked for
	path    string
	err     *error
}

func read(o object) reader { return reader{members: o, err: new(error)} }

func (r reader) failed() error { return *r.err }

func (r reader) named(name string) string {
	if r.as == nil {
		return name
	}
	return r.as(name)
}

func (r reader) member(name string) jsontext.Value { return r.members[r.named(name)] }

func (r reader) has(name string) bool {
	v := r.member(name)
	return len(v) > 0 && v.Kind() != 'n'
}

func (r reader) fail(name, want string) {
	if *r.err == nil {
		*r.err = fmt.Errorf("%s%s is not %s", r.path, r.named(name), want)
	}
}

// value reads a member of one type.
func value[T any](r reader, name, want string) (v T, ok bool) {
	if !r.has(name) {
		return v, false
	}
	if json.Unmarshal(r.member(name), &v) != nil {
		r.fail(name, want)
		return *new(T), false
	}
	return v, true
}

func (r reader) text(name string) (string, bool)   { return value[string](r, name, "a string") }
func (r reader) boolean(name string) (b, ok bool)  { return value[bool](r, name, "a boolean") }
func (r reader) integer(name string) (int64, bool) { return value[int64](r, name, "an integer") }

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

// texts is an array of strings, or one string for an array of one.
func (r reader) texts(name string) []string {
	if r.member(name).Kind() == '"' {
		s, _ := r.text(name)
		return []string{s}
	}
	out, _ := value[[]string](r, name, "an array of strings")
	return out
}

func (r reader) integers(name string) []int64 {
	out, _ := value[[]int64](r, name, "an array of integers")
	return out
}

// object reads a member's members; an absent one has none.
func (r reader) object(name string) reader {
	members, _ := value[object](r, name, "an object")
	return reader{members: members, path: r.path + r.named(name) + ".", err: r.err}
}

// sole is an object, or an array of one.
func (r reader) sole(name string) reader {
	if r.member(name).Kind() != '[' {
		return r.object(name)
	}
	list := r.objects(name)
	if len(list) != 1 {
		r.fail(name, "one object")
		return reader{err: r.err}
	}
	return list[0]
}

// objects is an array of objects.
func (r reader) objects(name string) (out []reader) {
	list, _ := value[[]object](r, name, "an array of objects")
	for _, o := range list {
		out = append(out, reader{members: o, path: r.path + r.named(name) + ".", err: r.err})
	}
	return out
}
