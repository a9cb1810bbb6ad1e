package audit

import (
	"context"
	"errors"
	"math"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release/receipt"
)

// load reads the state of the log, at start and after every commit that failed.
func (l *Log) load(ctx context.Context) error {
	if l.w == nil {
		w, err := l.cfg.Store.Writer(ctx)
		if err != nil {
			return unavailable("%w", err)
		}
		l.w = w
	}
	st, err := l.cfg.Store.State(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return unavailable("reading the log's state: %w", err)
	}
	tree, last, err := l.tail(ctx, st)
	if err != nil {
		return err
	}
	root, err := tree.Root()
	if err != nil {
		return integrity("root: %w", err)
	}
	if st.Size > 0 {
		if !l.signedBy(st.Note, receipt.Checkpoint{Origin: l.cfg.Origin, Size: st.Size, Root: root}) {
			return integrity("hashing the last %d of %d entries gives root %v, which the stored checkpoint does not sign", st.Size-st.Prior, st.Size, root)
		}
	}
	now := &signed{size: st.Size, root: root, note: st.Note, last: last}
	if was := l.signed.Load(); was != nil && was.size > 0 { // put back under a broker that runs
		if _, err := l.follows(ctx, now, was.size, was.root); err != nil {
			return err
		}
	}
	l.tree = tree
	l.signed.Store(now)
	return nil
}

// signedBy says whether a stored checkpoint is of that state and signed by one of the
// log's keys, which may be the one before the present.
func (l *Log) signedBy(note string, want receipt.Checkpoint) bool {
	for _, vkey := range l.cfg.VKeys {
		if cp, err := receipt.OpenCheckpoint([]byte(note), l.cfg.Origin, vkey); err == nil && *cp == want {
			return true
		}
	}
	return false
}

// tail rebuilds the tree from the state before the last commit and the leaves of
// that commit, and gives the time of the last record.
func (l *Log) tail(ctx context.Context, st store.State) (*receipt.Tree, int64, error) {
	hashes := l.cfg.Store.Hashes(ctx)
	if st.Prior < 0 || st.Prior > st.Size || st.Prior == st.Size && st.Size > 0 {
		return nil, 0, integrity("state of %d after %d", st.Size, st.Prior)
	}
	tree, err := receipt.LoadTree(st.Prior, hashes)
	if err != nil {
		return nil, 0, integrity("%w", err)
	}
	var last []byte
	for e, err := range l.cfg.Store.Leaves(ctx, st.Prior, math.MaxInt64) {
		if err != nil {
			return nil, 0, unavailable("reading the log: %w", err)
		}
		if e.Index != tree.Size() || e.Index >= st.Size {
			return nil, 0, integrity("entry %d where %d of %d is due", e.Index, tree.Size(), st.Size)
		}
		if err := appendStored(tree, e.Leaf, hashes); err != nil {
			return nil, 0, err
		}
		last = e.Leaf
	}
	if tree.Size() != st.Size {
		return nil, 0, integrity("entry %d of %d is missing", tree.Size(), st.Size)
	}
	if last == nil {
		return tree, 0, nil
	}
	r, err := receipt.Decode(last)
	if err != nil {
		return nil, 0, integrity("entry %d: %w", st.Size-1, err)
	}
	return tree, r.Time, nil
}

// appendStored adds a leaf and compares the hashes it makes with the stored ones.
func appendStored(tree *receipt.Tree, leaf []byte, stored tlog.HashReader) error {
	at := tree.Size()
	made, err := tree.Append(tlog.RecordHash(leaf))
	if err != nil {
		return integrity("entry %d: %w", at, err)
	}
	indexes := make([]int64, len(made))
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, at) + int64(i)
	}
	have, err := stored.ReadHashes(indexes)
	if err != nil {
		return integrity("entry %d: %w", at, err)
	}
	for i := range have {
		if have[i] != made[i] {
			return integrity("entry %d: hash %d differs from the stored one", at, indexes[i])
		}
	}
	return nil
}
