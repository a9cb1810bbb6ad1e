package endorser

import (
	"container/list"
	"time"

	"github.com/openskr/openskr/attest"
)

// maxOthers bounds documents that are not VCEKs: two for each platform (FMSPC) of
// Intel, and a dozen more. Their IDs are proven before they are asked for.
const maxOthers = 512

// entry is a document that passed.
type entry struct {
	need  attest.Need
	doc   *attest.Document
	valid attest.Validity
	fresh time.Time // until then it is given without asking anybody
	until time.Time // until then it is given when nobody answers; zero: always
}

// older says whether v is from before w: a number that fell, or an earlier issue under
// the same number (Intel's CRLs all have number 1).
func older(v, w attest.Validity) bool {
	return v.Number < w.Number || v.Number == w.Number && v.Issued.Before(w.Issued)
}

// shelf keeps the most recently used entries.
type shelf struct {
	max   int
	order *list.List // of *entry, most recently used first
	items map[attest.Need]*list.Element
}

func newShelf(size int) *shelf {
	return &shelf{max: size, order: list.New(), items: map[attest.Need]*list.Element{}}
}

func (s *shelf) get(need attest.Need) *entry {
	el, ok := s.items[need]
	if !ok {
		return nil
	}
	s.order.MoveToFront(el)
	return el.Value.(*entry)
}

// put keeps en and gives the entries that made room.
func (s *shelf) put(en *entry) (out []*entry) {
	if el, ok := s.items[en.need]; ok {
		el.Value = en
		s.order.MoveToFront(el)
		return nil
	}
	s.items[en.need] = s.order.PushFront(en)
	for len(s.items) > s.max {
		last := s.order.Remove(s.order.Back()).(*entry)
		delete(s.items, last.need)
		out = append(out, last)
	}
	return out
}

// shelves keep VCEKs, which strangers can name, apart from all else, so that a flood
// of chips drives out no CRL.
type shelves struct {
	chips, others *shelf
}

func newShelves(chips int) *shelves { return &shelves{newShelf(chips), newShelf(maxOthers)} }

func (s *shelves) of(need attest.Need) *shelf {
	if need.Kind == attest.NeedAMDVCEK {
		return s.chips
	}
	return s.others
}
