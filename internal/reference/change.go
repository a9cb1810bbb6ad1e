package reference

import (
	"context"
	"sync"

	"github.com/openskr/openskr/release"
)

// Operations of records.
const (
	OpAdd    = "references/add"
	OpRetire = "references/retire"
)

// parallel is how many changes of a batch wait for their commit at once.
const parallel = 32

// Add puts entries into a set, at most MaxBatch, each with a record of its own,
// and gives them as they are then. One that is there already with the same label
// and times is left alone. One that differs is a conflict, and nothing is added,
// unless replace is set: a value that somebody retired does not come back by
// itself. The batch is checked as a whole and then committed entry by entry: when
// the log fails in between, add it again.
func (s *Service) Add(ctx context.Context, set string, entries []Entry, replace bool) ([]Kept, error) {
	if err := CheckSet(set); err != nil {
		return nil, err
	}
	if len(entries) == 0 || len(entries) > MaxBatch {
		return nil, bad("%d entries: want 1 to %d", len(entries), MaxBatch)
	}
	seen := map[string]bool{}
	for i := range entries {
		if err := entries[i].Check(); err != nil {
			return nil, err
		}
		if seen[entries[i].key()] {
			return nil, bad("%s %.16s… twice", entries[i].Kind, entries[i].Value)
		}
		seen[entries[i].key()] = true
	}
	if err := s.room(set, entries, replace); err != nil {
		return nil, err
	}
	return s.commit(ctx, set, entries, func(e *Entry, old *Kept) (bool, error) { return addable(e, old, replace) }, OpAdd)
}

// addable says whether e is to be written over old, which may be nil.
func addable(e *Entry, old *Kept, replace bool) (bool, error) {
	switch {
	case old == nil:
		return true, nil
	case old.Entry == *e:
		return false, nil
	case !replace:
		return false, release.Refuse(release.ReasonConflict,
			"%s %.16s… is there already, labelled %.64q, with another label, other dates or retired: replace it if you mean it",
			e.Kind, e.Value, old.Label)
	}
	return true, nil
}

// room refuses a batch that does not fit, or that follows too many of unknown outcome,
// before anything of it is written.
func (s *Service) room(set string, entries []Entry, replace bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(set); err != nil {
		return err
	}
	fresh, doubtful := 0, len(s.doubt) // without those that are tried again here
	for i := range entries {
		if _, again := s.doubt[set+"/"+entries[i].key()]; again {
			doubtful--
		}
		old := s.sets[set][entries[i].key()]
		if _, err := addable(&entries[i], old, replace); err != nil {
			return err
		}
		if old == nil {
			fresh++
		}
	}
	if doubtful >= MaxBatch { // every evaluation reads them again
		return release.Refuse(release.ReasonLogUnavailable, "what became of %d changes before is not known: try again in %v", doubtful, settled)
	}
	if s.count+fresh > MaxEntries {
		return release.Refuse(release.ReasonConflict, "%d reference values, limit %d", s.count+fresh, MaxEntries)
	}
	return nil
}

func (s *Service) writable(set string) error {
	if _, ok := s.file[set]; ok {
		return release.Refuse(release.ReasonConflict, "set %s is in the configuration's references file: change it there", set)
	}
	return nil
}

// Retire ends an entry at a time (Unix seconds; 0: now), with a record. It cannot
// make one last longer.
func (s *Service) Retire(ctx context.Context, set, kind, value string, at int64) (*Kept, error) {
	now := s.cfg.Now().Unix()
	if at == 0 {
		at = now
	}
	e := Entry{Kind: kind, Value: value}
	if err := CheckSet(set); err != nil {
		return nil, err
	}
	if err := e.Check(); err != nil {
		return nil, err
	}
	if at < now || at > Forever {
		return nil, bad("%d: want a time from now on, in Unix seconds up to the year 9999, or none to retire now", at)
	}
	s.mu.Lock()
	err := s.writable(set)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out, err := s.commit(ctx, set, []Entry{e}, func(e *Entry, old *Kept) (bool, error) {
		switch {
		case old == nil:
			return false, release.Refuse(release.ReasonNotFound, "no %s %.16s… in set %s", kind, value, set)
		case old.Until != 0 && old.Until <= at:
			return false, release.Refuse(release.ReasonConflict, "%s %.16s… ends before that, at %d", kind, value, old.Until)
		}
		*e = old.Entry // staged for later than at: it never comes into force
		e.Until = at
		return true, nil
	}, OpRetire)
	if err != nil {
		return nil, err
	}
	return &out[0], nil
}

// commit writes each entry that change says so, side by side, so that they share
// the log's commits; then publishes.
func (s *Service) commit(ctx context.Context, set string, entries []Entry, change func(e *Entry, old *Kept) (bool, error), op string) ([]Kept, error) {
	out, errs := make([]Kept, len(entries)), make([]error, len(entries))
	slots := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i := range entries {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			var k *Kept
			if k, errs[i] = s.write(ctx, set, entries[i], change, op); errs[i] == nil {
				out[i] = *k
			}
		})
	}
	all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.publish()
	for _, e := range errs { // the first refusal says what to do; the rest is the same or follows from it
		if e != nil {
			return nil, e
		}
	}
	return out, err
}

// write changes one entry in the transaction that appends its record.
func (s *Service) write(ctx context.Context, set string, e Entry, change func(e *Entry, old *Kept) (bool, error), op string) (*Kept, error) {
	name := set + "/" + e.key()
	s.mu.Lock()
	present := s.sets[set][e.key()]
	s.mu.Unlock()
	if same := e; present != nil { // nothing to write: no record
		if changed, err := change(&same, present); err != nil || !changed {
			return present, err
		}
	}
	rec := s.cfg.Record(ctx, op)
	rec.Object = set
	var next Kept
	done, err := s.cfg.Objects.ChangeObject(ctx, rec, release.ObjectReference, name, func(old *release.Object) ([]byte, error) {
		var before *Kept
		var err error
		now := s.cfg.Now().Unix()
		next = Kept{Entry: e, Created: now, Updated: now, Generation: 1}
		if old != nil {
			if _, before, err = decode(old); err != nil {
				return nil, err
			}
			next.Created, next.Generation = before.Created, old.Generation+1
		}
		if _, err := change(&next.Entry, before); err != nil {
			return nil, err
		}
		rec.Detail = next.detail()
		return next.encode()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if r := release.ReasonOf(err); r != release.ReasonConflict && r != release.ReasonNotFound {
			s.doubt[name] = s.cfg.Now() // it may have been committed, or may be yet
			s.doubted.Store(true)
		}
		return nil, err
	}
	next.Index = done.Receipt.Index
	value, err := next.encode()
	if err != nil {
		return nil, err
	}
	return &next, s.put(&release.Object{Name: name, Generation: next.Generation, Index: next.Index, Value: value})
}
