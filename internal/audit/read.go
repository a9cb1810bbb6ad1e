package audit

import (
	"context"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Entry is one entry of the log.
type Entry = store.Leaf

// Entries gives up to limit entries from start on, none beyond the checkpoint.
func (l *Log) Entries(ctx context.Context, start, limit int64) ([]Entry, error) {
	var out []Entry
	for e, err := range l.cfg.Store.Leaves(ctx, max(start, 0), min(l.Size(), start+limit)) {
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// Input gives the document that the decision at index was made from.
func (l *Log) Input(ctx context.Context, index int64) ([]byte, error) {
	return l.cfg.Store.Input(ctx, index)
}

// Refusal gives the encoded [release.Refusal] of the denial at index.
func (l *Log) Refusal(ctx context.Context, index int64) ([]byte, error) {
	return l.cfg.Store.Refusal(ctx, index)
}

// Policy gives a release policy that a key has or had, by the digest in a record.
func (l *Log) Policy(ctx context.Context, digest receipt.Digest) (*release.ReleasePolicy, error) {
	return l.cfg.Store.Policy(ctx, digest)
}

// Prove gives the receipt of an entry in the tree of that size, 0 for the present
// one. What is read is verified against the checkpoint before it is given away.
func (l *Log) Prove(ctx context.Context, index, size int64) (*receipt.Receipt, error) {
	s := l.signed.Load()
	if size == 0 {
		size = s.size
	}
	if index < 0 || index >= size || size > s.size {
		return nil, release.Refuse(release.ReasonNotFound, "no entry %d in a log of %d", index, min(size, s.size))
	}
	root, text, err := l.checkpointAt(ctx, s, size)
	if err != nil {
		return nil, err
	}
	var leaf []byte
	for e, err := range l.cfg.Store.Leaves(ctx, index, index+1) {
		if err != nil {
			return nil, err
		}
		leaf = e.Leaf
	}
	proof, err := tlog.ProveRecord(size, index, l.cfg.Store.Hashes(ctx))
	if err != nil {
		return nil, integrity("entry %d: %w", index, err)
	}
	if err := tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(leaf)); err != nil {
		return nil, integrity("entry %d: %w", index, err)
	}
	return newReceipt(index, leaf, proof, text), nil
}

// checkpointAt gives root and signed checkpoint of an earlier size, signed again
// only when it is proven to be the beginning of the present tree.
func (l *Log) checkpointAt(ctx context.Context, s *signed, size int64) (tlog.Hash, string, error) {
	if size == s.size {
		return s.root, s.note, nil
	}
	root, err := l.rootAt(ctx, s, size)
	if err != nil {
		return root, "", err
	}
	cp := receipt.Checkpoint{Origin: l.cfg.Origin, Size: size, Root: root}
	text, err := cp.Sign(l.cfg.Signers...)
	return root, text, err
}

// rootAt gives the root of an earlier size, or of s itself, proven to be of the
// beginning of s.
func (l *Log) rootAt(ctx context.Context, s *signed, size int64) (tlog.Hash, error) {
	if size == s.size {
		return s.root, nil
	}
	hashes := l.cfg.Store.Hashes(ctx)
	root, err := tlog.TreeHash(size, hashes)
	if err != nil {
		return root, integrity("root at %d: %w", size, err)
	}
	proof, err := tlog.ProveTree(s.size, size, hashes)
	if err != nil {
		return root, integrity("root at %d: %w", size, err)
	}
	if err := tlog.CheckTree(proof, s.size, s.root, size, root); err != nil {
		return root, integrity("root at %d: %w", size, err)
	}
	return root, nil
}

// Consistency proves that the log of size from is the beginning of the log of
// size to (RFC 6962 §2.1.2).
func (l *Log) Consistency(ctx context.Context, from, to int64) ([]tlog.Hash, error) {
	if from < 1 || from > to || to > l.Size() {
		return nil, release.Refuse(release.ReasonNotFound, "no proof from %d to %d in a log of %d", from, to, l.Size())
	}
	proof, err := tlog.ProveTree(to, from, l.cfg.Store.Hashes(ctx))
	if err != nil {
		return nil, integrity("consistency: %w", err)
	}
	return proof, nil
}
