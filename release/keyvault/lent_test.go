package keyvault

import "testing"

// TestLent: whoever has them last clears them, and a transaction has them once.
func TestLent(t *testing.T) {
	for name, c := range map[string]struct {
		use     func(l *lent) error
		cleared bool
		refused bool
	}{
		"taken, and the caller went":  {func(l *lent) error { err := l.take(); l.recall(); return err }, false, false},
		"taken, and over":             {func(l *lent) error { err := l.take(); l.clear(); l.recall(); return err }, true, false},
		"never taken":                 {func(l *lent) error { l.recall(); return nil }, true, false},
		"taken after the caller went": {func(l *lent) error { l.recall(); return l.take() }, true, true},
		"taken twice":                 {func(l *lent) error { _ = l.take(); return l.take() }, false, true},
	} {
		key, payload := []byte{1, 2}, []byte{3}
		err := c.use(lend(key, payload))
		if (err != nil) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
		if cleared := key[0]+key[1]+payload[0] == 0; cleared != c.cleared {
			t.Errorf("%s: %v %v", name, key, payload)
		}
	}
}
