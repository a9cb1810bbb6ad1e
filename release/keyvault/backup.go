package keyvault

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// maxBackupVersions is the most that one backup holds, as in Key Vault.
const maxBackupVersions = 500

// Backup gives an object with all its versions as a blob that only a broker of this
// deployment opens, and only into the same vault. The record comes first: it is made of
// the state that is backed up, in one transaction with it, and the material is opened
// when that is durable.
func (s *Service) Backup(ctx context.Context, vault string, c Collection, name string) ([]byte, error) {
	var found []*Row
	committed, err := s.everyRecorded(ctx, objectChange{op: "backup", vault: vault, collection: c, name: name, edit: func(_ Tx, rec *release.Record, rows []*Row) error {
		last := rows[len(rows)-1]
		if last.Seq != int64(len(rows)) {
			return release.Refuse(release.ReasonIntegrity, "%s/%s has %d versions, its latest is number %d; restore a backup of the store", c, name, len(rows), last.Seq)
		}
		if len(rows) > maxBackupVersions {
			return release.Refuse(release.ReasonConflict, "%s/%s has %d versions, a backup holds %d", c, name, len(rows), maxBackupVersions)
		}
		rec.Kind, rec.Decision = receipt.KindOperation, receipt.Allow
		found = rows
		return nil
	}})
	if err != nil {
		return nil, err
	}
	if err := s.fresh(committed.At); err != nil {
		return nil, err
	}
	b := backup{header: header{
		V: backupVersion, Deployment: s.Deployment, Vault: vault, Collection: c, Name: found[0].Name, ObjectID: found[0].ObjectID,
		Policy: found[len(found)-1].Policy.Digest, Versions: len(found), Index: committed.Receipt.Index, Time: s.Now().Unix(),
	}}
	defer b.clear()
	for _, r := range found {
		payload, err := s.open(ctx, r)
		if err != nil {
			return nil, err
		}
		b.versions = append(b.versions, saved{row: r, payload: payload})
	}
	return b.encode(s.Root)
}

// Restore brings an object back from a backup of this vault, with its versions and
// their ids, when its name is free. What the store still knows of the object wins over
// what the backup says of its rules: a restore brings material back, never rights.
// ReasonBackupInvalid, ReasonConflict, ReasonDeleted.
func (s *Service) Restore(ctx context.Context, vault string, c Collection, blob []byte) (*Row, error) {
	if err := s.known(ctx, vault); err != nil {
		return nil, err
	}
	if err := s.Ready(ctx); err != nil {
		return nil, err
	}
	b, err := openBackup(s.Root, s.Deployment, vault, c, blob)
	if err != nil {
		return nil, err
	}
	defer b.clear()
	dek, storeDEK, err := s.currentDEK(ctx, vault)
	if err != nil {
		return nil, err
	}
	rec, right := s.Record(ctx, string(c)+"/restore"), s.right(ctx)
	work := b.clone()
	own := lend(append(work.payloads(), dek)...)
	defer own.recall()
	_, err = s.Store.Change(ctx, rec, func(tx Tx, index int64) error {
		if err := own.take(); err != nil {
			return err
		}
		defer own.clear()
		if err := errors.Join(entitled(tx, right), free(tx, work.header)); err != nil {
			return err
		}
		if storeDEK != nil {
			if err := storeDEK(tx); err != nil {
				return err
			}
		}
		return s.bringBack(tx, rec, work, dek, index)
	})
	if errors.Is(err, ErrConflict) { // between free and Insert nothing can come, but the vault's first key can before
		return nil, contended(c, b.header.Name)
	}
	if err != nil {
		return nil, err
	}
	return s.live(ctx, c, release.KeyRef{Vault: vault, Name: b.header.Name, Version: b.latest().Version})
}

// free refuses a name that is taken.
func free(tx Tx, h header) error {
	r, err := tx.Row(h.Vault, h.Collection, h.Name, "")
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case r.Deleted != 0:
		return release.Refuse(release.ReasonDeleted, "%s/%s is deleted: recover it, or purge it first", h.Collection, h.Name)
	}
	return release.Refuse(release.ReasonConflict, "%s/%s exists: a backup is restored to a free name", h.Collection, h.Name)
}

// bringBack inserts the versions of b under generations that the store never saw, so
// that no row from before the purge fits any more.
func (s *Service) bringBack(tx Tx, rec *release.Record, b *backup, dek []byte, index int64) error {
	t, err := tombstoneOf(tx, b.header.ObjectID)
	if err != nil {
		return err
	}
	from, rows := "backup", make([]*Row, len(b.versions))
	for i, v := range b.versions {
		row := v.row
		rows[i] = row
		seen, err := tx.Generation(row.ObjectID, row.Version)
		if err != nil {
			return err
		}
		if seen > 0 && t == nil {
			return release.Refuse(release.ReasonIntegrity, "%s/%s was here and nothing says where it went; restore a backup of the store", row.Collection, row.Name)
		}
		if t != nil {
			from = "store"
			if err := t.of(row.Version).impose(tx, row); err != nil {
				return err
			}
		}
		row.Generation = max(seen, row.Generation) + 1
		row.CreatedIndex, row.DEKEpoch = index, firstEpoch
		if err := seal(dek, s.Deployment, row, v.payload); err != nil {
			return err
		}
		if err := tx.Insert(row); err != nil {
			return err
		}
	}
	describe(rec, b.latest())
	rec.Detail["versions"] = strconv.Itoa(len(b.versions))
	rec.Detail["rules_from"] = from // "store": the newest that it knew; "backup": it knew none
	rec.Detail["backup_index"] = strconv.FormatInt(b.header.Index, 10)
	rec.Detail["backup_policy"] = hex.EncodeToString(b.header.Policy[:])
	return withdraw(tx, rec, rows)
}
