package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/openskr/openskr/release"
)

// errNotDue stops a rotation or a notice that somebody else has seen to.
var errNotDue = errors.New("not due")

// errOtherType says that the key became one of another type under a rotation's hands.
var errOtherType = errors.New("the key changed its type")

// Rotate makes a new version of a key: new material of the same type and size, with
// the same use, tags and release policy, and the life that its rotation policy says.
func (s *Service) Rotate(ctx context.Context, vault, name string) (*Row, error) {
	p, err := s.RotationPolicy(ctx, vault, name)
	if err != nil {
		return nil, err
	}
	return s.rotate(ctx, vault, name, p, func(*Row) bool { return true })
}

// rotate does it if the latest version is due, judged in the transaction: of several
// at once one makes a version, the others find it and get errNotDue where it is not due.
func (s *Service) rotate(ctx context.Context, vault, name string, p *RotationPolicy, due func(last *Row) bool) (*Row, error) {
	if err := s.Ready(ctx); err != nil {
		return nil, err
	}
	for range conflictRetries {
		last, err := s.Get(ctx, vault, name, "")
		if err != nil {
			return nil, err
		}
		if !due(last) {
			return nil, errNotDue
		}
		m, err := Generate(last.Kty, last.Crv, last.Size)
		if err != nil {
			return nil, err
		}
		row, err := s.add(ctx, addition{
			op: "keys/rotate", vault: vault, collection: Keys, name: name, payload: m.payload,
			draft: func(last *Row) (*Row, error) { return s.successor(last, m, p, due) },
		})
		m.Clear()
		if !errors.Is(err, errOtherType) {
			return row, err
		}
	}
	return nil, contended(Keys, name)
}

// successor is the row after last, which says everything but the material and its time.
func (s *Service) successor(last *Row, m *Material, p *RotationPolicy, due func(last *Row) bool) (*Row, error) {
	switch {
	case last == nil:
		return nil, release.Refuse(release.ReasonNotFound, "the key is gone")
	case last.Kty != m.kty || last.Crv != m.crv || last.Size != m.size:
		return nil, errOtherType
	case !due(last):
		return nil, errNotDue
	}
	row := *last
	row.Version, row.Seq, row.Generation, row.Public = randomID(), last.Seq+1, 1, m.public
	row.Created, row.DEKEpoch = s.Now().Unix(), firstEpoch
	row.Updated = row.Created
	row.Attributes.Enabled, row.Attributes.NotBefore, row.Attributes.Expires = true, 0, 0
	if !p.Expiry.IsZero() {
		row.Attributes.Expires = p.Expiry.after(row.Created)
	}
	return &row, whole(&row)
}

// RotateDue does what rotation policies say is due. What is due is read from the
// keys themselves, so that nothing is forgotten by a restart, and judged again where
// it is done, so that nothing is done twice. One key's failure does not hold up the
// others. A deployment calls it now and then, when its clock is to be trusted.
func (s *Service) RotateDue(ctx context.Context) error {
	if s.Objects == nil {
		return nil
	}
	var failed error
	const page = 100
	for after := ""; ; {
		list, err := s.Objects.List(ctx, release.ObjectRotation, after, page)
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, o := range list {
			if ctx.Err() != nil {
				return errors.Join(failed, ctx.Err())
			}
			if err := s.tend(ctx, o); err != nil {
				failed = errors.Join(failed, err)
			}
			after = o.Name
		}
		if len(list) < page {
			return errors.Join(failed, s.tendOthers(ctx))
		}
	}
}

// tend looks after the key of one policy.
func (s *Service) tend(ctx context.Context, o *release.Object) error {
	r, p, err := decodeRotation(o)
	if err != nil {
		return err
	}
	row, err := s.Get(ctx, r.Vault, r.Name, "")
	if err != nil && release.ReasonOf(err) == release.ReasonNotFound {
		return nil // deleted; the policy waits for it to be recovered
	}
	if err != nil {
		return err
	}
	if row.ObjectID != o.Name {
		return nil // purged, and another key has its name
	}
	if err := s.notify(ctx, row, r.Notified, p); err != nil {
		return err
	}
	due := func(last *Row) bool {
		// A disabled key was stopped by its owner: a new version would let it go on.
		return last.ObjectID == o.Name && last.Attributes.Enabled && p.due(ActionRotate, last, s.Now().Unix())
	}
	if !due(row) {
		return nil
	}
	if _, err := s.rotate(ctx, r.Vault, r.Name, p, due); err != nil && !errors.Is(err, errNotDue) && release.ReasonOf(err) != release.ReasonNotFound {
		return err
	}
	return nil
}

// due says whether an action's moment has come for a version.
func (p *RotationPolicy) due(action string, row *Row, now int64) bool {
	for _, a := range p.Actions {
		switch {
		case a.Action != action:
		case !a.AfterCreate.IsZero():
			return now >= a.AfterCreate.after(row.Created)
		case row.Attributes.Expires != 0:
			return now >= a.BeforeExpiry.before(row.Attributes.Expires)
		}
	}
	return false
}

// notify writes the record keys/nearexpiry about a version, once.
func (s *Service) notify(ctx context.Context, row *Row, notified string, p *RotationPolicy) error {
	if notified == row.Version || !p.due(ActionNotify, row, s.Now().Unix()) {
		return nil
	}
	rec := s.Record(ctx, "keys/nearexpiry")
	describe(rec, row)
	_, err := s.Objects.ChangeObject(ctx, rec, release.ObjectRotation, row.ObjectID, func(old *release.Object) ([]byte, error) {
		kept := rotation{Vault: row.Vault, Name: row.Name}
		if old != nil {
			was, _, err := decodeRotation(old)
			if err != nil {
				return nil, err
			}
			kept = *was
		}
		if kept.Notified == row.Version {
			return nil, errNotDue
		}
		kept.Notified = row.Version
		return json.Marshal(kept)
	})
	if errors.Is(err, errNotDue) {
		return nil
	}
	if err == nil && s.NearExpiry != nil {
		s.NearExpiry(s.metadata(row))
	}
	return err
}

// round is how far the search for keys without a policy of their own has come.
type round struct {
	mu          sync.Mutex
	vault, name string // the last that were seen, name "" when the vault is done
}

// Bounds of one step of that search, in keys: a hundred thousand take an hour.
const (
	roundPage  = 250
	roundLimit = 2000
)

// tendOthers goes on through all keys, to tell what the default policy tells. It
// begins anew after a restart and when it is through.
func (s *Service) tendOthers(ctx context.Context) error {
	s.round.mu.Lock()
	defer s.round.mu.Unlock()
	var failed error
	vault, name := s.round.vault, s.round.name
	for seen := 0; seen < roundLimit; seen += roundPage {
		if name == "" {
			next, err := s.Vaults(ctx, vault, 1)
			if err != nil || len(next) == 0 {
				s.round.vault, s.round.name = "", ""
				return errors.Join(failed, err)
			}
			vault = next[0].Name
		}
		rows, err := s.Store.Latest(ctx, vault, Keys, false, name, roundPage)
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, row := range rows {
			failed = errors.Join(failed, s.tendOther(ctx, row))
			name = row.Name
		}
		if len(rows) < roundPage {
			name = ""
		}
		s.round.vault, s.round.name = vault, name
	}
	return failed
}

// tendOther looks after a key, unless it has a policy of its own.
func (s *Service) tendOther(ctx context.Context, row *Row) error {
	p := defaultRotation()
	if !p.due(ActionNotify, row, s.Now().Unix()) {
		return nil
	}
	if err := s.genuineAll(ctx, []*Row{row}); err != nil {
		return err
	}
	_, err := s.Objects.Object(ctx, release.ObjectRotation, row.ObjectID)
	if err == nil || release.ReasonOf(err) != release.ReasonNotFound {
		return err
	}
	return s.notify(ctx, row, "", p)
}
