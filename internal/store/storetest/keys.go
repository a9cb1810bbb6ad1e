package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

var errStop = errors.New("stop")

func (s *suite) keysRoundTrip() {
	full := s.insert(row("full", 1))
	bare := s.insert(&keyvault.Row{Vault: "v", Collection: keyvault.Keys, Name: "bare", Version: "1", ObjectID: "o", Seq: 1, Generation: 1, Kty: "oct", Size: 128})
	for _, want := range []*keyvault.Row{full, bare} {
		got, err := s.Keys.Row(s.ctx, "v", keyvault.Keys, want.Name, want.Version)
		s.must(err)
		if !reflect.DeepEqual(got, want) {
			s.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	_, err := s.Keys.Row(s.ctx, "v", keyvault.Keys, "full", "no such version")
	s.is(err, keyvault.ErrNotFound)
	_, err = s.Keys.Row(s.ctx, "other", keyvault.Keys, "full", "")
	s.is(err, keyvault.ErrNotFound)

	second := s.insert(row("full", 2))
	got, err := s.Keys.Row(s.ctx, "v", keyvault.Keys, "full", "")
	s.must(err)
	if got.Version != second.Version {
		s.Errorf("latest is %s, want %s", got.Version, second.Version)
	}
	_, err = s.update(full, func(r *keyvault.Row) { r.Attributes.Enabled, r.Sealed, r.Tags = false, []byte("again"), nil })
	s.must(err)
	got, err = s.Keys.Row(s.ctx, "v", keyvault.Keys, "full", full.Version)
	s.must(err)
	if got.Generation != 2 || got.Attributes.Enabled || string(got.Sealed) != "again" || got.Tags != nil {
		s.Errorf("after the update: %+v", got)
	}
}

func (s *suite) conflicts() {
	r := s.insert(row("k", 1))
	insert := func(r *keyvault.Row) error {
		_, err := s.Keys.Change(s.ctx, change("keys/create", r.ObjectID), func(tx keyvault.Tx, _ int64) error { return tx.Insert(r) })
		return err
	}
	s.is(insert(r), keyvault.ErrConflict)
	other := row("k", 1)
	other.Version = "another version of the same place in the order"
	s.is(insert(other), keyvault.ErrConflict)

	_, err := s.update(r, func(*keyvault.Row) {})
	s.must(err)
	_, err = s.update(r, func(*keyvault.Row) {}) // r is of the generation before
	s.is(err, keyvault.ErrConflict)
	_, err = s.update(row("none", 1), func(*keyvault.Row) {})
	s.is(err, keyvault.ErrConflict)
}

func (s *suite) lists() {
	for i := range 7 {
		s.insert(row(fmt.Sprintf("k%d", i), 1))
	}
	for seq := int64(2); seq <= 5; seq++ {
		s.insert(row("k3", seq))
	}
	var names []string
	for after := ""; ; {
		page, err := s.Keys.Latest(s.ctx, "v", keyvault.Keys, false, after, 3)
		s.must(err)
		for _, r := range page {
			names, after = append(names, fmt.Sprint(r.Name, ".", r.Seq)), r.Name
		}
		if len(page) < 3 {
			break
		}
	}
	if got, want := fmt.Sprint(names), "[k0.1 k1.1 k2.1 k3.5 k4.1 k5.1 k6.1]"; got != want {
		s.Errorf("latest: %s, want %s", got, want)
	}
	var seqs []int64
	for after := int64(0); ; {
		page, err := s.Keys.Versions(s.ctx, "v", keyvault.Keys, "k3", after, 2)
		s.must(err)
		for _, r := range page {
			seqs, after = append(seqs, r.Seq), r.Seq
		}
		if len(page) < 2 {
			break
		}
	}
	if got := fmt.Sprint(seqs); got != "[1 2 3 4 5]" {
		s.Errorf("versions: %s", got)
	}
	none, err := s.Keys.Latest(s.ctx, "other", keyvault.Keys, false, "", 10)
	s.must(err)
	if len(none) != 0 {
		s.Errorf("another vault shows %d keys", len(none))
	}
}

func (s *suite) secrets() {
	_, err := s.Keys.Secret(s.ctx, "dek/v/1")
	s.is(err, keyvault.ErrNotFound)
	do := func(f func(tx keyvault.Tx) error) error {
		_, err := s.Keys.Change(s.ctx, change("secrets", ""), func(tx keyvault.Tx, _ int64) error { return f(tx) })
		return err
	}
	s.is(do(func(tx keyvault.Tx) error { return tx.ReplaceSecret("dek/v/1", []byte("x")) }), keyvault.ErrNotFound)
	s.must(do(func(tx keyvault.Tx) error { return tx.PutSecret("dek/v/1", []byte{0, 1}) }))
	s.is(do(func(tx keyvault.Tx) error { return tx.PutSecret("dek/v/1", []byte{2}) }), keyvault.ErrConflict)
	s.must(do(func(tx keyvault.Tx) error { return tx.ReplaceSecret("dek/v/1", []byte{0, 3}) }))
	got, err := s.Keys.Secret(s.ctx, "dek/v/1")
	s.must(err)
	if string(got) != "\x00\x03" {
		s.Errorf("secret is %x", got)
	}
}

func (s *suite) changeFails() {
	before := s.append(s.allow(metadata(s.insert(row("k", 1))), s.enrol("m", release.MachineApproved)))
	_, err := s.Keys.Change(s.ctx, change("keys/create", "id-x"), func(tx keyvault.Tx, _ int64) error {
		if err := errors.Join(tx.Insert(row("x", 1)), tx.PutSecret("x", []byte("x"))); err != nil {
			return err
		}
		if _, err := tx.Row("v", keyvault.Keys, "x", ""); err != nil {
			return fmt.Errorf("own write not seen: %w", err)
		}
		return errStop
	})
	s.is(err, errStop)
	_, err = s.Keys.Row(s.ctx, "v", keyvault.Keys, "x", "")
	s.is(err, keyvault.ErrNotFound)
	_, err = s.Keys.Secret(s.ctx, "x")
	s.is(err, keyvault.ErrNotFound)
	_, err = s.Objects.ChangeObject(s.ctx, change("machines/deny", ""), release.ObjectMachine, "x",
		func(*release.Object) ([]byte, error) { return nil, errStop })
	s.is(err, errStop)
	if after := s.insert(row("y", 1)); after.CreatedIndex != before.Receipt.Index+1 {
		s.Errorf("the failed changes took an index: %d after %d", after.CreatedIndex, before.Receipt.Index)
	}
}

// neighbours sends good and failing changes at once, so that they share commits.
func (s *suite) neighbours() {
	const n = 40
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			r := row(fmt.Sprintf("k%02d", i), 1)
			_, errs[i] = s.Keys.Change(s.ctx, change("keys/create", r.ObjectID), func(tx keyvault.Tx, _ int64) error {
				switch err := tx.Insert(r); {
				case err != nil || i%3 == 0:
					return errors.Join(errStop, err)
				case i%7 == 0:
					panic("a bug of the caller")
				default:
					return nil
				}
			})
		})
	}
	wg.Wait()
	for i, err := range errs {
		_, found := s.Keys.Row(s.ctx, "v", keyvault.Keys, fmt.Sprintf("k%02d", i), "")
		switch {
		case i%3 == 0 && (!errors.Is(err, errStop) || !errors.Is(found, keyvault.ErrNotFound)):
			s.Errorf("%d: failing change gave %v, its row %v", i, err, found)
		case i%3 != 0 && i%7 == 0 && (err == nil || !errors.Is(found, keyvault.ErrNotFound)):
			s.Errorf("%d: panicking change gave %v, its row %v", i, err, found)
		case i%3 != 0 && i%7 != 0 && (err != nil || found != nil):
			s.Errorf("%d: good change gave %v, its row %v", i, err, found)
		}
	}
}
