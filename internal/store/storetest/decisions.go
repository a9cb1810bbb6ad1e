package storetest

import (
	"fmt"
	"sync"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

func (s *suite) objects() {
	_, err := s.Objects.Object(s.ctx, release.ObjectMachine, "m")
	if err == nil || release.ReasonOf(err) != release.ReasonNotFound {
		s.Fatalf("missing object: %v", err)
	}
	put := func(kind, name, value string) *release.Committed {
		c, err := s.Objects.ChangeObject(s.ctx, change("objects/put", ""), kind, name,
			func(old *release.Object) ([]byte, error) {
				if old != nil {
					value = string(old.Value) + value
				}
				return []byte(value), nil
			})
		s.must(err)
		return c
	}
	for _, n := range []string{"c", "a", "b", "d"} {
		put(release.ObjectPrincipal, n, n)
	}
	put(release.ObjectMachine, "a", "machine")
	c := put(release.ObjectPrincipal, "b", "!")
	o, err := s.Objects.Object(s.ctx, release.ObjectPrincipal, "b")
	s.must(err)
	if string(o.Value) != "b!" || o.Generation != 2 || o.Index != c.Receipt.Index || c.Record.Generation != 2 {
		s.Errorf("object %+v, record %+v", o, c.Record)
	}
	var names string
	for after := ""; ; {
		page, err := s.Objects.List(s.ctx, release.ObjectPrincipal, after, 3)
		s.must(err)
		for _, o := range page {
			names, after = names+o.Name, o.Name
		}
		if len(page) < 3 {
			break
		}
	}
	if names != "abcd" {
		s.Errorf("list: %s", names)
	}
}

func (s *suite) objectRaces() {
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			_, err := s.Objects.ChangeObject(s.ctx, change("objects/put", ""), release.ObjectSetting, "s",
				func(old *release.Object) ([]byte, error) {
					if old == nil {
						return []byte("x"), nil
					}
					return append(old.Value, 'x'), nil
				})
			if err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	o, err := s.Objects.Object(s.ctx, release.ObjectSetting, "s")
	s.must(err)
	if o.Generation != 32 || len(o.Value) != 32 {
		s.Errorf("generation %d, %d bytes: changes were lost", o.Generation, len(o.Value))
	}
}

func (s *suite) receipts() {
	k, m := metadata(s.insert(row("k", 1))), s.enrol("m", release.MachineApproved)
	var last *release.Committed
	for range 20 {
		e := s.allow(k, m)
		c := s.append(e)
		rec, err := c.Receipt.Verify(s.Origin, s.VKey)
		s.must(err)
		if rec.Nonce != e.Record.Nonce || rec.Decision != receipt.Allow || rec.V != 1 {
			s.Fatalf("receipt of another record: %+v", rec)
		}
		if c.At.IsZero() || rec.Time == 0 {
			s.Error("no time")
		}
		if last != nil && (rec.PrevObject != last.Receipt.Index+1 || c.Receipt.Index != last.Receipt.Index+1) {
			s.Errorf("entry %d, previous %d, after %d", c.Receipt.Index, rec.PrevObject, last.Receipt.Index)
		}
		last = c
	}
}

func (s *suite) guards() {
	k := s.insert(row("k", 1))
	s.enrol("m", release.MachineApproved)
	for _, c := range []struct {
		name string
		// do changes the state after it was read, or the entry.
		do   func(e *release.Entry)
		want release.Reason
	}{
		{"nothing", func(*release.Entry) {}, receipt.Allow},
		{"not latest, not asked for", func(*release.Entry) { s.insert(row("k", 2)) }, receipt.Allow},
		{"latest no more", func(e *release.Entry) { e.Guard.Latest = true }, release.ReasonStateChanged},
		{"generation", func(e *release.Entry) { e.Guard.Key.Generation++ }, release.ReasonStateChanged},
		{"policy", func(e *release.Entry) { e.Guard.Key.Policy.Digest[0]++ }, release.ReasonStateChanged},
		{"other object of the same name", func(e *release.Entry) { e.Guard.Key.ObjectID = "x" }, release.ReasonStateChanged},
		{"key is gone", func(e *release.Entry) { e.Guard.Key.Ref.Name = "gone" }, release.ReasonStateChanged},
		{"machine changed", func(e *release.Entry) { e.Guard.Machine.Epoch-- }, release.ReasonStateChanged},
		{"machine is gone", func(e *release.Entry) { e.Guard.Machine.ID = "gone" }, release.ReasonStateChanged},
		{"TPM reset", func(e *release.Entry) { e.Guard.ResetCount = 9 }, receipt.Allow},
		{"TPM rolled back", func(*release.Entry) {}, release.ReasonTPMRollback},
		{"machine denied", func(*release.Entry) { s.enrol("m", release.MachineDenied) }, release.ReasonMachineDenied},
		{"machine pending", func(*release.Entry) { s.enrol("m", release.MachinePending) }, release.ReasonMachinePending},
		{"approved again", func(e *release.Entry) {
			e.Guard.Machine, e.Guard.ResetCount = s.enrol("m", release.MachineApproved), 9
		}, receipt.Allow},
	} {
		m, err := release.EnrolledMachines{Objects: s.Objects}.Machine(s.ctx, "m")
		s.must(err)
		e := s.allow(metadata(k), m)
		c.do(&e)
		if got := decided(s.append(e)); got != string(c.want) {
			s.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	s.attributes()
}

// attributes are judged at commit time, on what is stored then.
func (s *suite) attributes() {
	now := s.Now().Unix()
	for i, c := range []struct {
		edit func(*release.Attributes)
		want release.Reason
	}{
		{func(a *release.Attributes) { a.Enabled = false }, release.ReasonKeyDisabled},
		{func(a *release.Attributes) { a.Exportable = false }, release.ReasonNotExportable},
		{func(a *release.Attributes) { a.NotBefore = now + 3600 }, release.ReasonKeyNotYetValid},
		{func(a *release.Attributes) { a.Expires = now - 1 }, release.ReasonKeyExpired},
		{func(*release.Attributes) {}, release.ReasonStateChanged},
	} {
		r := s.insert(row(fmt.Sprintf("attr%d", i), 1))
		_, err := s.update(r, func(r *keyvault.Row) { c.edit(&r.Attributes) })
		s.must(err)
		if got := decided(s.append(s.allow(metadata(r), nil))); got != string(c.want) {
			s.Errorf("%d: %s, want %s", i, got, c.want)
		}
	}
}

func (s *suite) denials() {
	e := s.allow(metadata(s.insert(row("k", 1))), nil)
	denied := e
	denied.Record = &release.Record{Kind: receipt.KindRelease, Decision: receipt.Deny, Reason: "policy_denied", Nonce: e.Record.Nonce}
	denied.Guard = &release.Guard{Nonce: e.Guard.Nonce, NonceExpires: e.Guard.NonceExpires}
	for range 2 { // a second denial over the same nonce keeps its own reason
		c := s.append(denied)
		if decided(c) != "policy_denied" {
			s.Errorf("denial became %s", decided(c))
		}
	}
	spent, err := s.NonceSpent(s.ctx, e.Guard.Nonce)
	s.must(err)
	if !spent {
		s.Error("a denial left its nonce unspent")
	}
	if got := decided(s.append(e)); got != string(release.ReasonNonceReplayed) {
		s.Errorf("after a denial the nonce gave %s", got)
	}
	if unspent, err := s.NonceSpent(s.ctx, [32]byte{1}); unspent || err != nil {
		s.Errorf("a nonce nobody used: spent %v, %v", unspent, err)
	}
}

func (s *suite) nonceRace() {
	k := metadata(s.insert(row("k", 1)))
	for range 4 {
		e := s.allow(k, nil)
		out := make([]string, 64)
		var wg sync.WaitGroup
		for i := range out {
			wg.Go(func() {
				own := e
				rec, g := *e.Record, *e.Guard
				own.Record, own.Guard = &rec, &g
				c, err := s.Log.Append(s.ctx, own)
				if err != nil {
					s.Error(err)
					return
				}
				out[i] = decided(c)
			})
		}
		wg.Wait()
		count := map[string]int{}
		for _, o := range out {
			count[o]++
		}
		if count[receipt.Allow] != 1 || count[string(release.ReasonNonceReplayed)] != 63 {
			s.Errorf("one nonce, 64 requests: %v", count)
		}
	}
}

// disableRace releases while the key is disabled: no allow may stand after the
// record of the change.
func (s *suite) disableRace() {
	r := s.insert(row("k", 1))
	k := metadata(r)
	var mu sync.Mutex
	allowed := []int64{}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 6 {
				c, err := s.Log.Append(s.ctx, s.allow(k, nil))
				if err != nil {
					s.Error(err)
					return
				}
				if c.Record.Decision == receipt.Allow {
					mu.Lock()
					allowed = append(allowed, c.Receipt.Index)
					mu.Unlock()
				}
			}
		})
	}
	c, err := s.update(r, func(r *keyvault.Row) { r.Attributes.Enabled = false })
	wg.Wait()
	s.must(err)
	for _, i := range allowed {
		if i > c.Receipt.Index {
			s.Errorf("allow at %d, disabled at %d", i, c.Receipt.Index)
		}
	}
}

func (s *suite) reopen() {
	if s.Reopen == nil {
		s.Skip("does not outlive the process")
	}
	r := s.insert(row("k", 1))
	m := s.enrol("m", release.MachineApproved)
	e := s.allow(metadata(r), m)
	before := s.append(e)
	s.Subject = s.Reopen(s.T)
	got, err := s.Keys.Row(s.ctx, "v", keyvault.Keys, "k", "")
	s.must(err)
	if got.ObjectID != r.ObjectID {
		s.Errorf("another key: %+v", got)
	}
	again := s.append(e)
	if decided(again) != string(release.ReasonNonceReplayed) {
		s.Errorf("the nonce of before gave %s", decided(again))
	}
	if again.Receipt.Index != before.Receipt.Index+1 || again.Record.PrevObject != before.Receipt.Index+1 {
		s.Errorf("entry %d after %d", again.Receipt.Index, before.Receipt.Index)
	}
	low := s.allow(metadata(r), m)
	low.Guard.ResetCount = 4
	if got := decided(s.append(low)); got != string(release.ReasonTPMRollback) {
		s.Errorf("reset count forgotten: %s", got)
	}
}
