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

// Restore makes a deployment in dir, absent or empty, from a backup file and a
// recovery identity, under a new root key that it makes at kekPath. Every key
// version must open; the restoration is a record. What happened after the backup
// was taken is not in it: anyone who holds a newer checkpoint will see that.
func Restore(ctx context.Context, file, dir string, opener Opener, kekPath string, now func() time.Time) (_ *Report, err error) {
	if err := vacant(dir); err != nil {
		return nil, err
	}
	if err := seal.Outside(kekPath, dir); err != nil {
		return nil, err
	}
	kek, err := seal.NewFile(kekPath)
	if err != nil {
		return nil, err
	}
	var report *Report
	err = build(dir, func(tmp string) error {
		path := filepath.Join(tmp, Database)
		if err := copyFile(file, path); err != nil {
			return err
		}
		report, err = rewrap(ctx, path, opener, kek, now)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, os.Remove(kekPath))
	}
	return report, nil
}

// rewrap adds a wrap of the deployment key under kek to a store, proves that the
// new wrap opens, and verifies everything.
func rewrap(ctx context.Context, path string, opener Opener, kek seal.KEK, now func() time.Time) (_ *Report, err error) {
	var dk []byte
	defer func() { clear(dk) }()
	keep := func(ctx context.Context, st secrets, id string) ([]byte, error) {
		k, err := opener(ctx, st, id)
		dk = append([]byte(nil), k...)
		return k, err
	}
	o, err := open(ctx, path, keep, now)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	wrapped, err := kek.Wrap(ctx, dk, dkAAD(o.ID))
	if err != nil {
		return nil, err
	}
	rec := record("recovery/restore")
	rec.Detail = map[string]string{"kek": kek.ID()}
	_, err = o.log.Change(ctx, rec, func(tx keyvault.Tx, _ int64) error {
		return tx.PutSecret(secretKEK+kek.ID(), wrapped)
	})
	if err != nil {
		return nil, err
	}
	if _, err := Load(ctx, o.store, WithKEK(kek)); err != nil {
		return nil, fmt.Errorf("the new root key does not open what it sealed: %w", err)
	}
	return o.verify(ctx)
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
