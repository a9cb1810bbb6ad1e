package storetest

import (
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// marks: what was written has another mark as soon as its change is acknowledged, in
// any spelling of its name, and so has its collection.
func (s *suite) marks() {
	key := func() [3]int64 {
		return [3]int64{
			s.Keys.Mark("v", keyvault.Keys, "Marked"), s.Keys.Mark("v", keyvault.Keys, "mARKED"),
			s.Keys.Mark("v", keyvault.Keys, ""),
		}
	}
	moved := func(what string, before, after [3]int64) {
		s.Helper()
		for i := range before {
			if before[i] == after[i] {
				s.Errorf("%s: mark %d stayed", what, i)
			}
		}
	}
	last := key()
	step := func(what string, do func()) {
		s.Helper()
		do()
		now := key()
		moved(what, last, now)
		last = now
	}
	var r *keyvault.Row
	step("insert", func() { r = s.insert(row("Marked", 1)) })
	step("another version", func() { s.insert(row("Marked", 2)) })
	step("update", func() {
		_, err := s.update(r, func(r *keyvault.Row) { r.Attributes.Enabled = false })
		s.must(err)
		r.Generation++
	})
	step("remove", func() {
		_, err := s.Keys.Change(s.ctx, change("keys/purge", r.ObjectID), func(tx keyvault.Tx, _ int64) error { return tx.Remove(r) })
		s.must(err)
	})
	// What a service remembers under marks is what there is.
	for n := range 3 {
		value := []byte{'"', 'a' + byte(n), '"'}
		_, err := s.Objects.ChangeObject(s.ctx, change("test", ""), release.ObjectSetting, "marked", func(*release.Object) ([]byte, error) { return value, nil })
		s.must(err)
		for range 2 {
			o, err := s.Objects.Object(s.ctx, release.ObjectSetting, "marked")
			s.must(err)
			if string(o.Value) != string(value) || o.Generation != int64(n+1) {
				s.Errorf("read %s of generation %d, written %s", o.Value, o.Generation, value)
			}
		}
	}
}
