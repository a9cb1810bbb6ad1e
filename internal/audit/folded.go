package audit

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Bounds of what strangers can cause: records a minute, and refusals kept in memory.
const (
	maxFolds = 256
	ringSize = 1024
)

// manySources stands for the source prefixes beyond the bound, so that the count
// stays right when strangers come from everywhere.
const manySources = "*"

// Stranger is a refusal before an identity was proven, in full, for the operator.
type Stranger struct {
	Time        time.Time `json:"time"`
	Source      string    `json:"source"` // address prefix
	Correlation string    `json:"correlation"`
	release.Refusal
}

type foldKey struct {
	minute int64
	source string
	reason release.Reason
}

type fold struct {
	count int64
	first string // correlation
}

// folder counts refusals of strangers by minute, source and reason.
type folder struct {
	mu    sync.Mutex
	folds map[foldKey]*fold
	ring  []Stranger
	next  int
}

func newFolder() *folder { return &folder{folds: map[foldKey]*fold{}} }

func (f *folder) add(now time.Time, why error, source, correlation string) {
	s := Stranger{Time: now, Source: source, Correlation: correlation, Refusal: *release.RefusalOf(why)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count(foldKey{minute: now.Unix() / 60, source: source, reason: s.Check}, 1, correlation)
	if len(f.ring) < ringSize {
		f.ring = append(f.ring, s)
		return
	}
	f.ring[f.next] = s
	f.next = (f.next + 1) % ringSize
}

func (f *folder) count(k foldKey, n int64, correlation string) {
	if _, ok := f.folds[k]; !ok && len(f.folds) >= maxFolds {
		k.source = manySources
	}
	if f.folds[k] == nil {
		f.folds[k] = &fold{first: correlation}
	}
	f.folds[k].count += n
}

// take removes the folds of minutes before `before`, in a stable order.
func (f *folder) take(before int64) (keys []foldKey, folds []*fold) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k := range f.folds {
		if k.minute < before {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b foldKey) int {
		return cmp.Or(cmp.Compare(a.minute, b.minute), cmp.Compare(a.source, b.source), cmp.Compare(a.reason, b.reason))
	})
	for _, k := range keys {
		folds = append(folds, f.folds[k])
		delete(f.folds, k)
	}
	return keys, folds
}

// Ring gives the latest refusals of strangers, oldest first.
func (l *Log) Ring() []Stranger {
	f := l.folded
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(slices.Clone(f.ring[f.next:]), f.ring[:f.next]...)
}

// fold is the goroutine that writes each minute's folded records when it is over.
func (l *Log) fold() {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-t.C:
			_ = l.flush(context.Background(), false) // what is not written is kept and tried again
		}
	}
}

// flush appends the folded records of the minutes that are over, or of all.
func (l *Log) flush(ctx context.Context, all bool) error {
	before := l.cfg.Now().Unix() / 60
	if all {
		before++
	}
	keys, folds := l.folded.take(before)
	for i, k := range keys {
		rec := &release.Record{
			Kind: receipt.KindFolded, Decision: receipt.Deny, Reason: string(k.reason), Correlation: folds[i].first,
			Folded: &receipt.Folded{Minute: k.minute, Source: k.source, Count: folds[i].count},
		}
		_, err := l.submit(ctx, &pending{rec: rec, change: func(*store.Tx, int64) error { return nil }})
		if err != nil {
			l.folded.mu.Lock()
			for j := i; j < len(keys); j++ {
				l.folded.count(keys[j], folds[j].count, folds[j].first)
			}
			l.folded.mu.Unlock()
			return err
		}
	}
	return nil
}
