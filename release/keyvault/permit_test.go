package keyvault

import (
	"testing"
	"time"

	"github.com/openskr/openskr/release"
)

// A permission opens once, soon, and only when a record made it.
func TestPermit(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	s := &Service{Config: Config{Now: func() time.Time { return now }}} // no store: nothing may get that far
	for name, p := range map[string]*permit{
		"none": nil, "zero": {}, "spent": {key: &release.Key{}, at: now, spent: true},
		"old":        {key: &release.Key{}, at: now.Add(-release.GrantLife - 1)},
		"from later": {key: &release.Key{}, at: now.Add(1)},
	} {
		if b, err := s.openPermitted(t.Context(), p); err == nil || b != nil {
			t.Errorf("%s: opened", name)
		}
	}
}
