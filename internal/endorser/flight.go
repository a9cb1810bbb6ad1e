package endorser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/openskr/openskr/attest"
)

// maxAhead is how far the clock of an authority may be ahead of ours.
const maxAhead = 10 * time.Minute

// flight is one attempt to get a document; all who ask meanwhile wait for it.
type flight struct {
	done  chan struct{}
	doc   *attest.Document
	stale bool
	err   error // no document at all
	fetch error // of the network alone
}

// fly joins the flight for need, or starts it. With force it asks the network even
// when what is held is fresh.
func (e *Endorser) fly(need attest.Need, k kind, force bool) *flight {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f, ok := e.flights[need]; ok {
		return f
	}
	f := &flight{done: make(chan struct{})}
	e.flights[need] = f
	go func() {
		defer close(f.done)
		defer func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			delete(e.flights, need)
		}()
		e.obtain(f, need, k, force)
	}()
	return f
}

// obtain fills f. It does not end with the one who asked first: others may wait.
func (e *Endorser) obtain(f *flight, need attest.Need, k kind, force bool) {
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.Timeout)
	defer cancel()
	refused := e.reload(need, k)
	if held := e.get(need); held != nil && !force && e.cfg.Now().Before(held.fresh) {
		f.doc = held.doc
		return
	}
	f.fetch = e.fetch(ctx, need, k)
	held, now := e.get(need), e.cfg.Now()
	switch {
	case held != nil && (held.until.IsZero() || now.Before(held.until)):
		f.doc, f.stale = held.doc, !now.Before(held.fresh)
	case refused != nil:
		f.doc = refused // the verifier will refuse it too, and say collateral_invalid
	case f.fetch != nil:
		f.err = f.fetch
	default: // evicted by a flood between put and get
		f.err = fmt.Errorf("%w: no room", ErrThrottled)
	}
}

func (e *Endorser) get(need attest.Need) *entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.held.of(need).get(need)
}

// reload looks into the folder, where an operator may have imported something newer.
// It gives the document that it refuses.
func (e *Endorser) reload(need attest.Need, k kind) (refused *attest.Document) {
	if e.store == nil || k.memory {
		return nil
	}
	doc, err := e.store.read(need)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	held := e.get(need)
	if err == nil && held != nil && same(doc, held.doc) {
		return nil
	}
	var en *entry
	if err == nil {
		en, err = e.look(need, k, doc)
	}
	switch {
	case err != nil:
		e.alarm(need, OutcomeInvalid, "disk", err)
	case held != nil && older(en.valid, held.valid):
		e.alarm(need, OutcomeRollback, "disk", ErrRollback)
	default:
		e.put(en)
		return nil
	}
	if held != nil { // what we have is better: put it back
		e.write(held)
		return nil
	}
	return doc
}

func same(a, b *attest.Document) bool {
	return bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Chain, b.Chain)
}

// look has a document inspected. An error means that it proves nothing.
func (e *Endorser) look(need attest.Need, k kind, doc *attest.Document) (en *entry, err error) {
	now := e.cfg.Now()
	if doc.Fetched.IsZero() || doc.Fetched.After(now) {
		clone := *doc
		clone.Fetched, doc = now, &clone
	}
	if k.memory {
		if err := checkKeySet(doc.Data); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		return &entry{need: need, doc: doc, fresh: doc.Fetched.Add(keySetFresh), until: doc.Fetched.Add(keySetUsable)}, nil
	}
	inspect := e.inspect.Load()
	if inspect == nil {
		return nil, fmt.Errorf("%w: nothing here can inspect it", ErrInvalid)
	}
	defer func() { // parsers of documents from outside, in a goroutine of ours
		if p := recover(); p != nil {
			en, err = nil, fmt.Errorf("%w: inspection panicked: %v", ErrInvalid, p)
		}
	}()
	valid, err := (*inspect)(need, doc, now)
	if ended(err) { // genuine once? Then what it says of itself still guards against older ones
		valid, err = (*inspect)(need, doc, issuedAt(doc))
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	case valid.Issued.After(now.Add(maxAhead)):
		return nil, fmt.Errorf("%w: issued %s, which is yet to come", ErrInvalid, valid.Issued.UTC().Format(time.RFC3339))
	}
	return &entry{need: need, doc: doc, valid: valid, fresh: valid.NextUpdate}, nil
}

// ended says that an Inspector found nothing wrong but the time.
func ended(err error) bool {
	var rej *attest.Rejection
	return errors.As(err, &rej) && rej.Check == attest.CheckCollateralStale
}

// accept keeps a document that came from outside, if it is genuine and no older than
// what is held. [ErrStale] says that it was kept and has ended.
func (e *Endorser) accept(need attest.Need, k kind, doc *attest.Document, from string) (*entry, error) {
	en, err := e.look(need, k, doc)
	if err != nil {
		e.alarm(need, OutcomeInvalid, from, err)
		return nil, err
	}
	if held := e.get(need); held != nil && older(en.valid, held.valid) {
		err := fmt.Errorf("%w: number %d of %s, seen %d of %s", ErrRollback, en.valid.Number, day(en.valid.Issued), held.valid.Number, day(held.valid.Issued))
		e.alarm(need, OutcomeRollback, from, err)
		return nil, err
	}
	e.put(en)
	if !k.memory {
		e.write(en)
	}
	if !e.cfg.Now().Before(en.fresh) {
		return en, fmt.Errorf("%w: next update was %s", ErrStale, day(en.valid.NextUpdate))
	}
	return en, nil
}

func day(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (e *Endorser) put(en *entry) {
	e.mu.Lock()
	out := e.held.of(en.need).put(en)
	e.mu.Unlock()
	if e.store == nil {
		return
	}
	for _, old := range out {
		e.store.remove(old.need)
	}
}

// write stores en. A folder that cannot be written costs a fetch after the next start,
// not the release.
func (e *Endorser) write(en *entry) {
	if e.store == nil {
		return
	}
	if err := e.store.write(en.need, en.doc); err != nil {
		e.cfg.Logger.Error("collateral not stored", "kind", string(en.need.Kind), "error", err)
	}
}
