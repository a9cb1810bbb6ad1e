package audit

import (
	"encoding/json"
	"errors"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// batch is one transaction of the writing goroutine.
type batch struct {
	l      *Log
	tx     *store.Tx
	tree   receipt.Tree // a copy: the log's own moves only after the commit
	before signed
	hashes map[int64]tlog.Hash // the edge before, and all that this batch adds
	about  map[string]int64    // object id to index, of this batch
	added  []added
	now    int64 // Unix ms
	start  int64 // time of the last record before, Unix ms
	last   int64 // and of the last one so far
	accept bool
}

// added is one entry that will be written.
type added struct {
	leaf, input, refusal []byte
	stored               []tlog.Hash
}

func (l *Log) begin() (*batch, error) {
	tx, err := l.w.Begin()
	if err != nil {
		return nil, err
	}
	before := *l.signed.Load()
	return &batch{
		l: l, tx: tx, tree: *l.tree, before: before, hashes: l.tree.Edge(), about: map[string]int64{},
		now: l.cfg.Now().UnixMilli(), start: before.last, last: before.last,
	}, nil
}

// apply judges one entry and adds it. A failure of this entry leaves the others
// alone; a failure of the database is in b.tx.Err.
func (b *batch) apply(p *pending) outcome {
	if (b.tree.Size() == 0) != (p.rec.Kind == receipt.KindGenesis) {
		if b.tree.Size() == 0 {
			return outcome{err: release.Refuse(release.ReasonInternal, "the log has no genesis yet: run `openskr init`")}
		}
		return outcome{err: release.Refuse(release.ReasonConflict, "the log has its genesis already: %w", store.ErrConflict)}
	}
	if p.change == nil {
		return b.decision(p)
	}
	return b.changed(p)
}

func (b *batch) changed(p *pending) outcome {
	if err := b.tx.Savepoint(); err != nil {
		return outcome{err: err}
	}
	accepted := b.accept
	b.accept = b.accept || p.accept // for the time of its own record
	var o outcome
	err := guarded(func() error { return p.change(b.tx, b.tree.Size()) })
	if err == nil {
		err = b.tx.Err() // fn may have dropped it
	}
	if err == nil {
		o = b.add(p.rec, nil, nil)
		err = o.err
	}
	if err == nil {
		if err = b.tx.Keep(); err == nil {
			return o
		}
	}
	b.accept = accepted
	if b.tx.Err() == nil {
		_ = b.tx.Undo() // its failure is in b.tx.Err, which the caller reads
	}
	return outcome{err: err}
}

func (b *batch) decision(p *pending) outcome {
	rec, refusal := *p.rec, p.refuse
	if p.guard != nil {
		why, err := b.judge(&rec, p.guard)
		if err != nil {
			return outcome{err: err}
		}
		if why != nil {
			refusal = release.RefusalOf(why)
			rec.Decision, rec.Reason = receipt.Deny, string(refusal.Check)
		}
	}
	return b.add(&rec, p.input, refusal)
}

// add fills in what only the log knows, encodes the record and puts it in the tree.
func (b *batch) add(proposed *release.Record, input []byte, refusal *release.Refusal) outcome {
	rec := *proposed
	rec.V, rec.Deployment, rec.Simulation = 1, b.l.cfg.Deployment, b.l.cfg.Simulation
	if rec.Binary == "" {
		rec.Binary = b.l.cfg.Binary
	}
	if rec.Config == (receipt.Digest{}) {
		rec.Config = b.l.cfg.Settings()
	}
	rec.Time = b.time()
	index := b.tree.Size()
	prev, err := b.previous(rec.ObjectID)
	if err != nil {
		return outcome{err: err}
	}
	rec.PrevObject = prev
	leaf, err := rec.Encode()
	if err != nil {
		return outcome{err: release.Refuse(release.ReasonInternal, "%w", err)}
	}
	if len(leaf) > maxLeaf {
		return outcome{err: release.Refuse(release.ReasonTooLarge, "record of %d bytes, limit %d", len(leaf), maxLeaf)}
	}
	stored, err := b.tree.Append(tlog.RecordHash(leaf))
	if err != nil {
		return outcome{err: release.Refuse(release.ReasonInternal, "%w", err)}
	}
	for i, h := range stored {
		b.hashes[tlog.StoredHashIndex(0, index)+int64(i)] = h
	}
	if rec.ObjectID != "" {
		b.about[rec.ObjectID] = index
	}
	b.last = rec.Time
	a := added{leaf: leaf, input: input, stored: stored}
	if refusal != nil && rec.Decision == receipt.Deny {
		if a.refusal, err = json.Marshal(refusal); err != nil {
			return outcome{err: release.Refuse(release.ReasonInternal, "%w", err)}
		}
	}
	b.added = append(b.added, a)
	return outcome{record: &rec, leaf: leaf, index: index}
}

// previous is one more than the index of the last record about an object, 0 for none.
func (b *batch) previous(objectID string) (int64, error) {
	if objectID == "" {
		return 0, nil
	}
	if i, ok := b.about[objectID]; ok {
		return i + 1, nil
	}
	i, err := b.tx.LastAbout(objectID)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return i + 1, err
}

// finish writes what was added, reads it back, signs and commits.
func (b *batch) finish() error {
	start := b.before.size
	for i, a := range b.added {
		at := start + int64(i)
		if err := b.tx.PutLeaf(at, a.leaf); err != nil {
			return err
		}
		for j, h := range a.stored {
			if err := b.tx.PutHash(tlog.StoredHashIndex(0, at)+int64(j), h); err != nil {
				return err
			}
		}
		if a.input != nil || a.refusal != nil {
			if err := b.tx.PutDecision(at, a.input, a.refusal); err != nil {
				return err
			}
		}
	}
	for id, at := range b.about {
		if err := b.tx.SetLastAbout(id, at); err != nil {
			return err
		}
	}
	if err := b.purge(); err != nil {
		return err
	}
	b.l.cfg.Fault("applied")
	if err := b.reread(); err != nil {
		return err
	}
	root, err := b.tree.Root()
	if err != nil {
		return err
	}
	cp := receipt.Checkpoint{Origin: b.l.cfg.Origin, Size: b.tree.Size(), Root: root}
	text, err := cp.Sign(b.l.cfg.Signers...)
	if err != nil {
		return err
	}
	if err := b.tx.PutState(store.State{Size: cp.Size, Prior: start, Note: text}); err != nil {
		return err
	}
	b.l.cfg.Fault("signed")
	if err := b.tx.Commit(); err != nil {
		return err
	}
	if b.l.cfg.CommitDelay != nil {
		b.l.cfg.CommitDelay()
	}
	b.before = signed{size: cp.Size, root: root, note: text, last: b.last}
	return nil
}

// reread hashes what the database will commit, not what was handed to it: a bit
// that flipped in between must not be signed (a certificate log was lost to one).
func (b *batch) reread() error {
	start := b.before.size
	at := start
	for e, err := range b.tx.Leaves(start, start+int64(len(b.added))+1) {
		if err != nil {
			return err
		}
		if e.Index != at || tlog.RecordHash(e.Leaf) != b.hashes[tlog.StoredHashIndex(0, at)] {
			return integrity("entry %d reads back different from what was written", at)
		}
		at++
	}
	if at != b.tree.Size() {
		return integrity("%d entries read back, %d written", at-start, len(b.added))
	}
	return nil
}

// publish moves the log's own state after the commit.
func (b *batch) publish(outcomes []outcome) {
	l := b.l
	*l.tree = b.tree
	state := b.before
	l.signed.Store(&state)
	l.marker.raise(&state)
	b.believe(state.last)
	proof := &batchProof{size: state.size, note: state.note, hashes: b.hashes}
	at := l.cfg.Now()
	for i := range outcomes {
		outcomes[i].batch, outcomes[i].at = proof, at
	}
	if l.pending += len(b.added) + 1; l.pending > 512 {
		l.pending = 0
		select {
		case l.moved <- nil:
		default:
		}
	}
}

// batchProof holds every hash that a receipt of the batch needs.
type batchProof struct {
	size   int64
	note   string
	hashes map[int64]tlog.Hash
}

// ReadHashes implements [tlog.HashReader].
func (p *batchProof) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		h, ok := p.hashes[x]
		if !ok {
			return nil, errors.New("hash outside of the batch")
		}
		out[i] = h
	}
	return out, nil
}

func (p *batchProof) receipt(index int64, leaf []byte) (*receipt.Receipt, error) {
	proof, err := tlog.ProveRecord(p.size, index, p)
	if err != nil {
		return nil, err
	}
	return newReceipt(index, leaf, proof, p.note), nil
}

func newReceipt(index int64, leaf []byte, proof tlog.RecordProof, note string) *receipt.Receipt {
	path := make([][]byte, len(proof))
	for i := range proof {
		path[i] = proof[i][:]
	}
	return &receipt.Receipt{Leaf: leaf, Index: index, Path: path, Checkpoint: note}
}
