package audit

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Limits of an entry. A leaf of tlog-tiles has a 16-bit length; room is left for
// what the log fills in.
const (
	maxLeaf  = 1<<16 - 1
	maxInput = 1 << 20
	fillRoom = 1 << 10
)

// States of a pending entry.
const (
	waiting int32 = iota
	taken
	abandoned // the caller went before the writer took it: nothing is written
	answered  // the writer has told the caller
	forsaken  // the caller went after: what is committed nobody is given
)

// pending is one entry on its way through the writing goroutine.
type pending struct {
	rec    *release.Record // as proposed; a Change may fill it in
	guard  *release.Guard
	input  []byte
	refuse *release.Refusal                      // of a denial
	change func(tx *store.Tx, index int64) error // nil for a decision
	accept bool                                  // clears the clock's distrust
	state  atomic.Int32
	done   chan outcome
}

// outcome is given to the caller after the commit.
type outcome struct {
	err    error
	record *release.Record
	leaf   []byte
	index  int64
	batch  *batchProof
	at     time.Time
}

// Append implements [release.Log].
func (l *Log) Append(ctx context.Context, e release.Entry) (*release.Committed, error) {
	r := e.Record
	if r == nil {
		return nil, release.Refuse(release.ReasonInternal, "entry without a record")
	}
	if r.Kind == receipt.KindRelease && r.Decision != receipt.Deny {
		if g := e.Guard; r.Decision != receipt.Allow || g == nil || g.Key == nil || g.Nonce == [32]byte{} {
			return nil, release.Refuse(release.ReasonInternal, "an allow needs a guard with key and nonce")
		}
		if g := e.Guard; g.Format != release.Formats(r) || g.Format && (g.Machine == nil || g.Repeat != [32]byte{}) {
			return nil, release.Refuse(release.ReasonInternal, "an allow to format needs a guard that spends a grant, of a machine")
		}
	}
	if r.Kind == receipt.KindOperation && r.Decision != receipt.Deny {
		if g := e.Guard; r.Decision != receipt.Allow || g == nil || g.Key == nil || !g.Operation {
			return nil, release.Refuse(release.ReasonInternal, "an operation needs a guard with its key")
		}
	}
	if r.Kind == receipt.KindToken && r.Decision != receipt.Deny {
		if g := e.Guard; r.Decision != receipt.Allow || g == nil || g.Machine == nil || g.Nonce == [32]byte{} || len(g.Objects) == 0 {
			return nil, release.Refuse(release.ReasonInternal, "a token needs a guard with nonce, machine and attested roles")
		}
	}
	if len(e.Input) > maxInput {
		return nil, release.Refuse(release.ReasonTooLarge, "input document of %d bytes, limit %d", len(e.Input), maxInput)
	}
	leaf, err := r.Encode()
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "%w", err)
	}
	if len(leaf) > maxLeaf-fillRoom {
		return nil, release.Refuse(release.ReasonTooLarge, "record of %d bytes, limit %d", len(leaf), maxLeaf-fillRoom)
	}
	return l.submit(ctx, &pending{rec: r, guard: e.Guard, input: e.Input, refuse: e.Refusal})
}

// submit queues p and waits for its outcome. Once the writer took p, a caller
// whose context ends still waits, up to Config.Wait: it is never told that
// nothing was written while something may be. Behind a commit that already runs
// longer than that nobody waits.
func (l *Log) submit(ctx context.Context, p *pending) (*release.Committed, error) {
	p.done = make(chan outcome, 1)
	if err := ctx.Err(); err != nil {
		return nil, unavailable("not written: %w", err)
	}
	select {
	case <-l.stop:
		return nil, unavailable("not written: the log is closed")
	case <-l.failed:
		return nil, unavailable("not written: the disk failed, restart the broker")
	default:
	}
	if err := l.hanging(); err != nil {
		return nil, err
	}
	select {
	case l.queue <- p:
	default:
		e := release.Refuse(release.ReasonOverloaded, "not written: %d entries wait", cap(l.queue))
		e.Retry = 1
		return nil, e
	}
	timer := time.NewTimer(l.cfg.Wait)
	defer timer.Stop()
	select {
	case o := <-p.done:
		return l.committed(o)
	case <-timer.C:
	case <-ctx.Done():
		if p.state.CompareAndSwap(waiting, abandoned) {
			return nil, unavailable("not written: %w", ctx.Err())
		}
		select {
		case o := <-p.done:
			return l.committed(o)
		case <-timer.C:
		}
	}
	switch {
	case p.state.CompareAndSwap(waiting, abandoned):
		return nil, unavailable("not written: no commit in %v", l.cfg.Wait)
	case p.state.CompareAndSwap(taken, forsaken):
		return nil, unavailable("no commit in %v, the entry may be written yet; log/abort will say so", l.cfg.Wait)
	}
	return l.committed(<-p.done)
}

// committed builds the receipt, in the caller's goroutine and from memory.
func (l *Log) committed(o outcome) (*release.Committed, error) {
	if o.err != nil {
		return nil, o.err
	}
	rc, err := o.batch.receipt(o.index, o.leaf)
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "proof of entry %d: %w", o.index, err)
	}
	return &release.Committed{Record: o.record, Receipt: rc, At: o.at}, nil
}

// Genesis appends the first record of an empty log and runs fn in its transaction.
// Conflict when the log has entries.
func (l *Log) Genesis(ctx context.Context, rec *release.Record, fn func(tx Tx, index int64) error) (*release.Committed, error) {
	rec.Kind = receipt.KindGenesis
	return l.Change(ctx, rec, fn)
}

// Change implements keyvault.Store: it appends rec and runs fn in the same
// transaction. fn runs in the writing goroutine and must not call the log.
func (l *Log) Change(ctx context.Context, rec *release.Record, fn func(tx Tx, index int64) error) (*release.Committed, error) {
	return l.change(ctx, rec, func(tx *store.Tx, index int64) error { return fn(changeTx{tx, l, index}, index) })
}

// ChangeObject implements [release.Objects].
func (l *Log) ChangeObject(ctx context.Context, rec *release.Record, kind, name string, fn func(old *release.Object) ([]byte, error)) (*release.Committed, error) {
	return l.change(ctx, rec, func(tx *store.Tx, index int64) error { return l.changeObject(tx, index, rec, kind, name, fn) })
}

func (l *Log) change(ctx context.Context, rec *release.Record, fn func(tx *store.Tx, index int64) error) (*release.Committed, error) {
	if rec.Kind == "" {
		rec.Kind = receipt.KindChange
	}
	return l.submit(ctx, &pending{rec: rec, change: fn})
}

// guarded runs a caller's function, so that its panic is its own failure and not
// the log's.
func guarded(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = release.Refuse(release.ReasonInternal, "panic in a change: %w", fmt.Errorf("%v", r))
		}
	}()
	return fn()
}
