package identity

import (
	"slices"
	"time"

	"github.com/openskr/openskr/attest/verified"
	"github.com/openskr/openskr/release"
)

// parsed keeps what documents say, by their bytes: the same bytes say the same. Which
// bytes there are now is read at every use.
type parsed struct {
	principals *verified.Cache[*Principal]
	lists      *verified.Cache[[]Assignment]
}

func newParsed() parsed {
	return parsed{verified.NewCache[*Principal](1024), verified.NewCache[[]Assignment](1024)}
}

// principal is readPrincipal.
func (p parsed) principal(o *release.Object) (*Principal, error) {
	key := verified.Key([]byte(o.Name), o.Value)
	have, ok := p.principals.Get(key, time.Time{})
	if !ok {
		var err error
		if have, err = readPrincipal(o); err != nil {
			return nil, err
		}
		p.principals.Put(key, have, time.Time{}, time.Time{})
	}
	own := *have
	own.generation = o.Generation
	return &own, nil
}

// roles is DecodeAssignments. Whoever appends to the list gets one of their own.
func (p parsed) roles(value []byte) ([]Assignment, error) {
	key := verified.Key(value)
	if have, ok := p.lists.Get(key, time.Time{}); ok {
		return have, nil
	}
	list, err := DecodeAssignments(value)
	if err != nil {
		return nil, err
	}
	list = slices.Clip(list)
	p.lists.Put(key, list, time.Time{}, time.Time{})
	return list, nil
}
