package deployment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/seal"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// Report says what a verification saw: counts, never material.
type Report struct {
	Deployment string `json:"deployment"`
	Entries    int64  `json:"log_entries"`
	Keys       int    `json:"keys"`
	Secrets    int    `json:"secrets"`
	Versions   int    `json:"versions"`

	checkpoint string // of the log, with the record of a restoration
}

// VerifyBackup checks a backup file as far as it can be checked without using it:
// it opens with the given key, the log verifies from the first entry to the
// checkpoint, objects are genuine, and every key version opens. The file itself
// is not touched; a copy in tmp (the system's folder when "") is worked on.
func VerifyBackup(ctx context.Context, file string, opener Opener, tmp string) (_ *Report, err error) {
	dir, err := os.MkdirTemp(tmp, "openskr-verify-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, Database)
	if err := copyFile(file, path); err != nil {
		return nil, err
	}
	o, err := open(ctx, path, opener, time.Now)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	return o.verify(ctx)
}

// verify reads everything there is.
func (o *opened) verify(ctx context.Context) (*Report, error) {
	cp, err := receipt.OpenCheckpoint([]byte(o.log.Checkpoint()), o.Origin, o.LogVKeys[0])
	if err != nil {
		return nil, err
	}
	if err := receipt.VerifyLog(copied(ctx, o.store), cp); err != nil {
		return nil, err
	}
	for _, kind := range release.ObjectKinds() {
		if err := o.verifyObjects(ctx, kind); err != nil {
			return nil, err
		}
	}
	n, err := o.verifyKeys(ctx)
	if err != nil {
		return nil, err
	}
	return &Report{Deployment: o.ID, Entries: cp.Size, Keys: n.Keys, Secrets: n.Secrets, Versions: n.Versions}, nil
}

// verifyObjects reads all objects of a kind; reading checks their MAC.
func (o *opened) verifyObjects(ctx context.Context, kind string) error {
	for after := ""; ; {
		list, err := o.objects.List(ctx, kind, after, 256)
		if err != nil || len(list) == 0 {
			return err
		}
		after = list[len(list)-1].Name
	}
}

// copied gives the log's entries with the hashes kept beside them.
func copied(ctx context.Context, st *store.Store) iter.Seq2[receipt.Copied, error] {
	return func(yield func(receipt.Copied, error) bool) {
		hashes := st.Hashes(ctx)
		for e, err := range st.Leaves(ctx, 0, math.MaxInt64) {
			c := receipt.Copied{Index: e.Index, Leaf: e.Leaf}
			if err == nil {
				var h []tlog.Hash
				if h, err = hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, e.Index)}); err == nil {
					c.Hash = h[0]
				}
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// RestoreOptions are required but for HighWater.
type RestoreOptions struct {
	File    string // the backup
	Dir     string // data folder: absent or empty
	KEKPath string // of the new root key, outside Dir
	// HighWater is the file of the high-water mark, outside Dir. It is written anew: the
	// restored log goes back behind it, and its record says so.
	HighWater string
	Now       func() time.Time
}

// Restore makes a deployment from a backup and a recovery identity, under a new root
// key that it makes. Every key version must open; the restoration is a record, which
// revokes the open grants to make disks. What happened after the backup was taken is not
// in it: anyone who holds a newer checkpoint will see that.
func Restore(ctx context.Context, opener Opener, o RestoreOptions) (_ *Report, err error) {
	if err := vacant(o.Dir); err != nil {
		return nil, err
	}
	if err := seal.Outside(o.KEKPath, o.Dir); err != nil {
		return nil, err
	}
	if o.HighWater != "" {
		if err := MarkOutside(o.HighWater, o.Dir); err != nil {
			return nil, err
		}
	}
	kek, err := seal.NewFile(o.KEKPath)
	if err != nil {
		return nil, err
	}
	var report *Report
	err = build(o.Dir, func(tmp string) error {
		path := filepath.Join(tmp, Database)
		if err := copyFile(o.File, path); err != nil {
			return err
		}
		report, err = rewrap(ctx, path, opener, kek, o)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, os.Remove(o.KEKPath))
	}
	if o.HighWater != "" { // last: a mark that is ahead is accepted, a lost one is not noticed
		err = audit.WriteMark(o.HighWater, report.checkpoint)
	}
	return report, err
}

// rewrap adds a wrap of the deployment key under kek to a store, proves that the
// new wrap opens, and verifies everything.
func rewrap(ctx context.Context, path string, opener Opener, kek seal.KEK, with RestoreOptions) (r *Report, err error) {
	var dk []byte
	defer func() { clear(dk) }()
	keep := func(ctx context.Context, st secrets, id string) ([]byte, error) {
		k, err := opener(ctx, st, id)
		dk = append([]byte(nil), k...)
		return k, err
	}
	o, err := open(ctx, path, keep, with.Now)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	wrapped, err := kek.Wrap(ctx, dk, dkAAD(o.ID))
	if err != nil {
		return nil, err
	}
	rec := record("recovery/restore")
	if rec.Detail, err = o.superseded(ctx, with.HighWater); err != nil {
		return nil, err
	}
	rec.Detail["kek"] = kek.ID()
	err = o.goOn(ctx, rec, func(tx keyvault.Tx) error {
		return tx.PutSecret(secretKEK+kek.ID(), wrapped)
	})
	if err != nil {
		return nil, err
	}
	if _, err := Load(ctx, o.store, WithKEK(kek)); err != nil {
		return nil, fmt.Errorf("the new root key does not open what it sealed: %w", err)
	}
	if r, err = o.verify(ctx); err == nil {
		r.checkpoint = o.log.Checkpoint()
	}
	return r, err
}

// copyFile copies a backup to a new file of mode 0600, durably.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer in.Close() //nolint:errcheck // read only
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Size() == 0 {
		return fmt.Errorf("backup %s is empty or not a regular file", from)
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
