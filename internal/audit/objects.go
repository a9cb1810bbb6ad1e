package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/openskr/openskr/attest/verified"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// Tx is the inside of a Change.
type Tx = keyvault.Tx

// mac is HMAC-SHA-256 over a label, texts with their length before them, and numbers.
func (l *Log) mac(label string, texts [][]byte, numbers ...int64) []byte {
	h := hmac.New(sha256.New, l.cfg.ObjectKey)
	var n [8]byte
	put := func(v uint64) {
		binary.BigEndian.PutUint64(n[:], v)
		h.Write(n[:])
	}
	for _, t := range append([][]byte{[]byte(label)}, texts...) {
		put(uint64(len(t)))
		h.Write(t)
	}
	for _, v := range numbers {
		put(uint64(v))
	}
	return h.Sum(nil)
}

func (l *Log) objectMAC(o *release.Object) []byte {
	return l.mac("openskr/object/v1", [][]byte{[]byte(o.Kind), []byte(o.Name), o.Value}, o.Generation, o.Index)
}

func (l *Log) resetMAC(machine string, count int64) []byte {
	return l.mac("openskr/reset/v1", [][]byte{[]byte(machine)}, count)
}

// genuine refuses an object row that this program did not write.
func (l *Log) genuine(o *store.ObjectRow) error {
	if !hmac.Equal(o.MAC, l.objectMAC(&o.Object)) {
		return release.Refuse(release.ReasonIntegrity, "the row of %s %q was edited or moved; `openskr log verify`, then restore a backup", o.Kind, o.Name)
	}
	return nil
}

func (l *Log) changeObject(tx *store.Tx, index int64, rec *release.Record, kind, name string, fn func(*release.Object) ([]byte, error)) error {
	next := store.ObjectRow{Object: release.Object{Kind: kind, Name: name, Generation: 1, Index: index}}
	var old *release.Object
	row, err := tx.Object(kind, name)
	switch {
	case err == nil:
		if err := l.genuine(row); err != nil {
			return err
		}
		old, next.Generation = &row.Object, row.Generation+1
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	if next.Value, err = fn(old); err != nil {
		return err
	}
	rec.Generation = next.Generation
	if err := approvedAnew(tx, rec, old, &next.Object); err != nil {
		return err
	}
	if err := attestedPolicy(tx, &next.Object); err != nil {
		return err
	}
	next.MAC = l.objectMAC(&next.Object)
	return tx.PutObject(&next)
}

// attestedPolicy keeps the policy of an attested role beside those of keys: a token's
// record names the role's generation, whose record has the policy's digest.
func attestedPolicy(tx *store.Tx, next *release.Object) error {
	if next.Kind != release.ObjectAttestedRole {
		return nil
	}
	var r struct {
		Policy string `json:"policy"`
	}
	if err := json.Unmarshal(next.Value, &r); err != nil {
		return release.Refuse(release.ReasonInternal, "attested role %s: %w", next.Name, err)
	}
	p := release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: []byte(r.Policy)}
	p.Digest = sha256.Sum256(p.Data)
	return tx.KeepPolicy(p)
}

// approvedAnew forgets the highest resetCount of a machine whose status becomes
// approved: it belongs to an approval, and approving again is the remedy when the
// count began again for a good reason (TPM2_Clear, another mainboard).
func approvedAnew(tx *store.Tx, rec *release.Record, old, next *release.Object) error {
	if next.Kind != release.ObjectMachine {
		return nil
	}
	var before, after release.Enrolled
	if err := json.Unmarshal(next.Value, &after); err != nil || after.Status != release.MachineApproved {
		return nil // what cannot be read approves nothing
	}
	if old != nil {
		if err := json.Unmarshal(old.Value, &before); err != nil {
			return release.Refuse(release.ReasonIntegrity, "machine %s: %w", next.Name, err)
		}
	}
	if before.Status == release.MachineApproved {
		return nil
	}
	had, err := tx.DropReset(next.Name)
	if err != nil || !had {
		return err
	}
	if rec.Detail == nil {
		rec.Detail = map[string]string{}
	}
	rec.Detail["reset_count"] = "forgotten"
	return nil
}

// Keys is the store of keys: reads of the store, changes through the log.
func (l *Log) Keys() keyvault.Store { return keys{l.cfg.Store, l} }

type keys struct {
	*store.Store
	log *Log
}

func (k keys) Change(ctx context.Context, rec *release.Record, fn func(tx Tx, index int64) error) (*release.Committed, error) {
	return k.log.Change(ctx, rec, fn)
}

// Objects is the store of objects: reads with their MAC checked, changes through
// the log.
func (l *Log) Objects() release.Objects { return objects{Log: l} }

// ObjectsFor is Objects for callers whose right was judged by the objects that right
// gives of ctx: a change is refused when one of them changed before it came.
func (l *Log) ObjectsFor(right func(ctx context.Context) []release.ObjectState) release.Objects {
	return objects{l, right}
}

type objects struct {
	*Log
	right func(ctx context.Context) []release.ObjectState // may be nil
}

func (o objects) ChangeObject(ctx context.Context, rec *release.Record, kind, name string, fn func(old *release.Object) ([]byte, error)) (*release.Committed, error) {
	if o.right == nil {
		return o.Log.ChangeObject(ctx, rec, kind, name, fn)
	}
	right := o.right(ctx)
	return o.change(ctx, rec, func(tx *store.Tx, index int64) error {
		if err := o.unchanged(tx, right); err != nil {
			return err
		}
		return o.changeObject(tx, index, rec, kind, name, fn)
	})
}

func (o objects) Object(ctx context.Context, kind, name string) (*release.Object, error) {
	have, err := o.remembered(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	if have == nil {
		return nil, release.Refuse(release.ReasonNotFound, "no %s %q", kind, name)
	}
	own := *have
	return &own, nil
}

// Bounds of the objects that are remembered, with those that were asked for and never
// made: their number, and the bytes of their values together. An object may have hundreds
// of kilobytes (the roles of a principal, the policy of an attested role).
const (
	keptObjects = 4096
	keptBytes   = 16 << 20
)

// keptObject is an object that was read and found genuine, nil when there was none,
// and the mark of the store from before.
type keptObject struct {
	mark   int64
	object *release.Object
}

func (k keptObject) weight() int {
	if k.object == nil {
		return 0
	}
	return len(k.object.Name) + len(k.object.Value)
}

// keptState is what the append judges about a key version, and the mark from before it
// was read.
type keptState struct {
	mark  int64
	state *store.KeyState
}

// remembered gives an object as it is now, nil when there is none.
func (l *Log) remembered(ctx context.Context, kind, name string) (*release.Object, error) {
	return l.object(kind, name, l.cfg.Store.ObjectMark(kind, name), func() (*store.ObjectRow, error) { return l.cfg.Store.Object(ctx, kind, name) })
}

// present gives an object as the transaction sees it, nil when there is none. What was
// read under the present mark is what the database has: nobody else wrote since, and
// this is the one transaction that could.
func (l *Log) present(tx *store.Tx, kind, name string) (*release.Object, error) {
	read := func() (*store.ObjectRow, error) { return tx.Object(kind, name) }
	mark, unwritten := tx.ObjectMark(kind, name)
	if unwritten {
		return l.object(kind, name, mark, read)
	}
	row, err := read()
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &row.Object, l.genuine(row)
}

// object gives what was kept under the mark, or reads it.
func (l *Log) object(kind, name string, mark int64, read func() (*store.ObjectRow, error)) (*release.Object, error) {
	key := verified.Key([]byte(kind), []byte(name))
	if k, ok := l.objects.Get(key, time.Time{}); ok && k.mark == mark {
		return k.object, nil
	}
	k := keptObject{mark: mark}
	row, err := read()
	switch {
	case err == nil:
		if err := l.genuine(row); err != nil {
			return nil, err
		}
		k.object = &row.Object
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	l.objects.Put(key, k, time.Time{}, time.Time{})
	return k.object, nil
}

func (o objects) List(ctx context.Context, kind, after string, limit int) ([]*release.Object, error) {
	rows, err := o.cfg.Store.List(ctx, kind, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]*release.Object, len(rows))
	for i, row := range rows {
		if err := o.genuine(row); err != nil {
			return nil, err
		}
		out[i] = &row.Object
	}
	return out, nil
}
