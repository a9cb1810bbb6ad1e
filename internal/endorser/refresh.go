package endorser

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/openskr/openskr/attest"
)

// How often Run looks around, and how old a document gets before it is fetched anew:
// a revocation published today must not wait for a next update in a month.
const (
	lookAround  = time.Minute
	refreshMax  = 24 * time.Hour
	refreshMin  = 10 * time.Minute
	keySetRenew = 3 * time.Minute
)

// Entry describes a document that is held.
type Entry struct {
	Need       attest.Need
	Issued     time.Time
	NextUpdate time.Time // after it, the document proves nothing; zero for keys of issuers
	Fetched    time.Time
	Number     int64
}

func (en *entry) describe() Entry {
	return Entry{en.need, en.valid.Issued, en.valid.NextUpdate, en.doc.Fetched, en.valid.Number}
}

// Snapshot lists the documents in memory, in the order of their names.
func (e *Endorser) Snapshot() []Entry {
	var out []Entry
	for _, en := range e.entries(true) {
		out = append(out, en.describe())
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Need.Kind, b.Need.Kind), cmp.Compare(a.Need.ID, b.Need.ID))
	})
	return out
}

func (e *Endorser) entries(chips bool) []*entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*entry
	for _, s := range []*shelf{e.held.chips, e.held.others} {
		if s == e.held.chips && !chips {
			continue
		}
		for el := s.order.Front(); el != nil; el = el.Next() {
			out = append(out, el.Value.(*entry))
		}
	}
	return out
}

// Run keeps documents fresh and takes in what was imported, until ctx ends. VCEKs last
// for years and are left alone.
func (e *Endorser) Run(ctx context.Context) {
	for {
		e.rescan()
		e.renew(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookAround):
		}
	}
}

// rescan takes in what is new in the folder.
func (e *Endorser) rescan() {
	if e.store == nil || e.inspect.Load() == nil {
		return
	}
	needs, bad, err := e.store.needs()
	if err == nil {
		err = e.store.prune(e.cfg.Chips, e.cfg.Now())
	}
	if err != nil {
		e.cfg.Logger.Error("collateral folder not read", "error", err)
	}
	for _, name := range bad {
		e.cfg.Logger.Error("collateral refused", "outcome", OutcomeInvalid, "from", "disk", "file", name)
	}
	for _, need := range needs {
		k, err := e.check(need)
		if err != nil || k.memory {
			e.alarm(need, OutcomeInvalid, "disk", ErrNeed)
			continue
		}
		if refused := e.reload(need, k); refused != nil && !e.cfg.Offline {
			<-e.fly(need, k, true).done
		}
	}
}

// renew fetches what is due.
func (e *Endorser) renew(ctx context.Context) {
	if e.cfg.Offline {
		return
	}
	for _, en := range e.entries(false) {
		if e.cfg.Now().Before(e.due(en)) {
			continue
		}
		k, err := e.check(en.need)
		if err != nil {
			continue
		}
		select {
		case <-e.fly(en.need, k, true).done:
		case <-ctx.Done():
			return
		}
	}
}

// due is when en should be fetched again: after a day or half of what is left, and up
// to a fifth earlier, so that many brokers do not come at once.
func (e *Endorser) due(en *entry) time.Time {
	step := keySetRenew
	if !en.valid.NextUpdate.IsZero() {
		step = min(refreshMax, max(refreshMin, en.valid.NextUpdate.Sub(en.doc.Fetched)/2))
	}
	sum := sha256.Sum256(append(e.seed[:], fileName(en.need)...))
	early := time.Duration(binary.BigEndian.Uint16(sum[:])) * (step / 5) / (1 << 16)
	return en.doc.Fetched.Add(step - early)
}

// Refresh fetches need from its authority, whatever is held. With an error it describes
// what is held all the same, if anything is.
func (e *Endorser) Refresh(ctx context.Context, need attest.Need) (Entry, error) {
	k, err := e.check(need)
	if err != nil {
		return Entry{}, err
	}
	f := e.fly(need, k, true)
	select {
	case <-f.done:
	case <-ctx.Done():
		return Entry{}, fmt.Errorf("%w: %w", ErrAuthority, context.Cause(ctx))
	}
	var en Entry
	if held := e.get(need); held != nil {
		en = held.describe()
	}
	return en, cmp.Or(f.fetch, f.err)
}

// Import keeps a document that an operator brought, if it is genuine, in time and no
// older than what is there. changed is false when the same document is there already.
func (e *Endorser) Import(need attest.Need, doc *attest.Document) (en Entry, changed bool, err error) {
	k, err := e.check(need)
	if err != nil {
		return en, false, err
	}
	if k.memory {
		return en, false, fmt.Errorf("%w: keys of token issuers are not signed, so they are not imported", ErrNeed)
	}
	e.reload(need, k)
	if held := e.get(need); held != nil && same(held.doc, doc) {
		return held.describe(), false, nil
	}
	got, err := e.accept(need, k, doc, "import")
	if got != nil {
		en = got.describe()
	}
	return en, err == nil, err
}

// Examine describes a document without keeping it. An error wraps [ErrInvalid] or,
// with the Entry as far as it is known, [ErrStale].
func (e *Endorser) Examine(need attest.Need, doc *attest.Document) (Entry, error) {
	k, err := e.check(need)
	if err != nil {
		return Entry{Need: need}, err
	}
	en, err := e.look(need, k, doc)
	if err != nil {
		return Entry{Need: need}, err
	}
	if !e.cfg.Now().Before(en.fresh) {
		err = ErrStale
	}
	return en.describe(), err
}
