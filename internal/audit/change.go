package audit

import (
	"context"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// changeTx is what a Change sees of the transaction: rows as they are stored,
// documents with their MAC made and checked.
type changeTx struct {
	*store.Tx
	log   *Log
	index int64 // of the record of this change
}

var _ keyvault.Tx = changeTx{}

// Object implements keyvault.Tx.
func (t changeTx) Object(kind, name string) (*release.Object, error) {
	row, err := t.Tx.Object(kind, name)
	if err != nil {
		return nil, err
	}
	if err := t.log.genuine(row); err != nil {
		return nil, err
	}
	return &row.Object, nil
}

// PutObject implements keyvault.Tx.
func (t changeTx) PutObject(kind, name string, value []byte) error {
	// A record of its own: the generation in the record of a Change is its row's.
	return t.log.changeObject(t.Tx, t.index, &release.Record{}, kind, name, func(*release.Object) ([]byte, error) { return value, nil })
}

// Remove implements keyvault.Tx.
func (t changeTx) Remove(r *keyvault.Row) error {
	t.log.shred = true
	return t.Tx.Remove(r)
}

// scrub empties the write-ahead log after rows were removed: the pages in it still
// have what they held before. When a long read or a slow disk keeps it from that, the
// next time that the log is idle tries again. It runs between transactions, and
// everybody waits for it. Without a connection it waits for the next commit: nothing
// would tell a commit of somebody else from it.
func (l *Log) scrub() {
	if !l.shred || l.w == nil {
		return
	}
	l.look() // what comes between this and the next is taken for our own
	ctx, cancel := context.WithTimeout(context.Background(), scrubWait)
	defer cancel()
	length, err := l.cfg.Store.Checkpoint(ctx, true)
	l.look()
	l.judgeDisk(err)
	l.shred, l.late = false, err != nil || length > 0
}
