package audit

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// unclaimed is what was committed although nobody got to know: its caller was told
// that the log cannot be written. Of the writing goroutine alone.
type unclaimed struct {
	entries []outcome
	// doubtful are entries of a batch whose commit failed. Whether they are in the log
	// is known once it was read again.
	doubtful []outcome
}

// answer gives every caller of a batch its outcome. Of an entry whose caller waits no
// longer, or whose commit may have failed, something may be in the log that nobody was
// given.
func (l *Log) answer(batch []*pending, outcomes []outcome, err error) {
	for i, p := range batch {
		var o outcome
		if i < len(outcomes) {
			o = outcomes[i]
		}
		told := p.state.CompareAndSwap(taken, answered)
		switch {
		case err != nil:
			l.unclaimed.doubtful = append(l.unclaimed.doubtful, gives(o)...)
			o = outcome{err: err}
		case !told:
			l.unclaimed.entries = append(l.unclaimed.entries, gives(o)...)
		}
		if told {
			p.done <- o
		}
	}
}

// gives is o when its caller would have been given something for it.
func gives(o outcome) []outcome {
	if o.err != nil || o.record == nil || o.record.Decision != receipt.Allow {
		return nil
	}
	return []outcome{o}
}

// landed keeps what is in the log of the batches whose commit failed. It is called when
// the state was read again.
func (l *Log) landed(ctx context.Context) error {
	for len(l.unclaimed.doubtful) > 0 {
		o := l.unclaimed.doubtful[0]
		for e, err := range l.cfg.Store.Leaves(ctx, o.index, o.index+1) {
			if err != nil {
				return unavailable("reading the log: %w", err)
			}
			if bytes.Equal(e.Leaf, o.leaf) {
				l.unclaimed.entries = append(l.unclaimed.entries, o)
			}
		}
		l.unclaimed.doubtful = l.unclaimed.doubtful[1:]
	}
	return nil
}

// abort records, at once and before anything else, which entries nobody was given
// anything for. What cannot be written is tried again with the next batch.
func (l *Log) abort() {
	for len(l.unclaimed.entries) > 0 {
		now := l.unclaimed.entries[:min(len(l.unclaimed.entries), l.cfg.MaxBatch)]
		batch := make([]*pending, len(now))
		for i, o := range now {
			batch[i] = &pending{rec: aborted(o), change: func(*store.Tx, int64) error { return nil }}
		}
		if _, err := l.commit(batch); err != nil {
			l.trouble.Store(&err)
			return
		}
		l.unclaimed.entries = l.unclaimed.entries[len(now):]
	}
}

// aborted is the record of an allow that nothing was given for. It names the same
// object, so that whoever follows one key meets it.
func aborted(o outcome) *release.Record {
	return &release.Record{
		Kind: receipt.KindChange, Operation: "log/abort", Caller: &receipt.Caller{Kind: "system", ID: "openskr"},
		Correlation: o.record.Correlation, Vault: o.record.Vault, Object: o.record.Object, ObjectID: o.record.ObjectID, Version: o.record.Version,
		Detail: map[string]string{"entry": strconv.FormatInt(o.index, 10), "outcome": "aborted"},
	}
}

// hanging says for how long the present commit runs when that is longer than any
// caller waits: nobody needs to wait behind it. nil: it does not.
func (l *Log) hanging() error {
	began := l.began.Load()
	if began == nil {
		return nil
	}
	if took := time.Since(*began); took > l.cfg.Wait {
		return unavailable("not written: the disk has a commit under way for %v", took.Round(time.Second))
	}
	return nil
}
