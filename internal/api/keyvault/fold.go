package keyvault

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
)

// shape says which members an object has. Clients of Key Vault differ in the
// case of names and send members that we do not know; objects that decide about
// access must not be read differently by two parsers all the same.
type shape struct {
	members map[string]*shape // exact name to the shape of its value, nil: no object
	guarded []string          // members whose near-misses are refused instead of ignored
	free    bool              // names are data (tags)
	items   *shape            // of the elements, where the value is an array
	flat    bool              // the members are all that the request has, and text or numbers each
}

// fold makes the strict reading of a compatible body: names in the case of the
// shape, unknown members left out. Refused are: two members of one object that
// are equal but for ASCII case, at every depth, known or not; names outside ASCII
// where the shape has names (U+017F and U+212A fold to ASCII letters in other
// parsers); and unknown names that are a near-miss of a guarded one.
func fold(body []byte, s *shape) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(len(body))
	f := folder{in: jsontext.NewDecoder(bytes.NewBuffer(body)), out: jsontext.NewEncoder(&out)} // a Buffer is read in place
	if f.in.PeekKind() != '{' {
		return nil, release.Refuse(release.ReasonBadRequest, "body is not a JSON object")
	}
	if err := f.object(s, true); err != nil {
		return nil, refusal(err)
	}
	if _, err := f.in.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, release.Refuse(release.ReasonBadRequest, "body goes on after the JSON object")
	}
	return out.Bytes(), nil
}

func refusal(err error) error {
	var e *release.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, jsontext.ErrDuplicateName):
		return release.Refuse(release.ReasonDuplicateMember, "body: %w", err)
	default:
		return release.Refuse(release.ReasonBadRequest, "body: %w", err)
	}
}

type folder struct {
	in  *jsontext.Decoder
	out *jsontext.Encoder
}

// object copies the object that comes next; with keep false it is only checked.
func (f *folder) object(s *shape, keep bool) error {
	if err := f.token(keep); err != nil { // {
		return err
	}
	seen := map[string]bool{}
	for f.in.PeekKind() != '}' {
		t, err := f.in.ReadToken()
		if err != nil {
			return err
		}
		name := t.String()
		if low := route.FoldMember(name); seen[low] {
			return release.Refuse(release.ReasonDuplicateMember, "member %.64q twice", name)
		} else {
			seen[low] = true
		}
		exact, child, known, err := s.member(name)
		if err != nil {
			return err
		}
		if keep && known {
			if err := f.out.WriteToken(jsontext.String(exact)); err != nil {
				return err
			}
		}
		if err := f.value(child, keep && known); err != nil {
			return err
		}
	}
	return f.token(keep) // }
}

// value copies or checks one value of any kind.
func (f *folder) value(s *shape, keep bool) error {
	if f.in.StackDepth() > strict.MaxDepth {
		return fmt.Errorf("JSON nested deeper than %d", strict.MaxDepth)
	}
	switch f.in.PeekKind() {
	case '{':
		return f.object(s, keep)
	case '[':
		if err := f.token(keep); err != nil {
			return err
		}
		var items *shape
		if s != nil {
			items = s.items
		}
		for f.in.PeekKind() != ']' {
			if err := f.value(items, keep); err != nil {
				return err
			}
		}
		return f.token(keep)
	default:
		return f.token(keep)
	}
}

func (f *folder) token(keep bool) error {
	t, err := f.in.ReadToken()
	if err != nil || !keep {
		return err
	}
	return f.out.WriteToken(t)
}

// member finds what a name of this object means.
func (s *shape) member(name string) (exact string, child *shape, known bool, err error) {
	if s == nil { // an object where none belongs, or inside an ignored one: the strict decoder judges what is kept
		return name, nil, true, nil
	}
	if s.free {
		return name, nil, true, nil
	}
	low := route.FoldMember(name)
	for exact, child := range s.members {
		if route.FoldMember(exact) == low {
			return exact, child, true, nil
		}
	}
	return "", nil, false, route.Ignore(name, s.guarded...)
}
