package keyvault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/openskr/openskr/release"
)

// firstEpoch is the epoch of a vault's first DEK; readers take the epoch from the row.
const firstEpoch = 1

// deks keeps opened vault keys, never key material of a user. Their number is
// that of vaults and epochs.
type deks struct {
	mu   sync.RWMutex
	open map[string][]byte // by name of the stored secret
}

func (d *deks) get(name string) []byte {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return bytes.Clone(d.open[name])
}

func (d *deks) put(name string, dek []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = make(map[string][]byte)
	}
	d.open[name] = bytes.Clone(dek)
}

func (d *deks) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dek := range d.open {
		clear(dek)
	}
	clear(d.open)
}

func dekName(vault string, epoch int64) string { return fmt.Sprintf("dek/%s/%d", vault, epoch) }

func (s *Service) dekAAD(vault string, epoch int64) []byte {
	var b canonical
	b.str("openskr/dek/v1")
	b.str(s.Deployment)
	b.str(vault)
	b.num(epoch)
	return b
}

// dek opens a vault's key. The caller clears it. ErrNotFound before the first key.
func (s *Service) dek(ctx context.Context, vault string, epoch int64) ([]byte, error) {
	name := dekName(vault, epoch)
	if dek := s.deks.get(name); dek != nil {
		return dek, nil
	}
	sealed, err := s.Store.Secret(ctx, name)
	if err != nil {
		return nil, err
	}
	dek, err := s.Root.Unseal(sealed, s.dekAAD(vault, epoch))
	if err != nil {
		return nil, release.Refuse(release.ReasonIntegrity, "key of vault %s does not open: %w", vault, err)
	}
	if len(dek) != dekSize {
		return nil, release.Refuse(release.ReasonIntegrity, "key of vault %s has %d bytes", vault, len(dek))
	}
	s.deks.put(name, dek)
	return dek, nil
}

// currentDEK opens the key that new rows are sealed under. When the vault has
// none yet, one is made, and store must put it into the transaction of the first
// row; store is nil otherwise. The caller clears dek.
func (s *Service) currentDEK(ctx context.Context, vault string) (dek []byte, store func(Tx) error, err error) {
	if err := s.known(ctx, vault); err != nil { // no key is made for a vault that there is not
		return nil, nil, err
	}
	dek, err = s.dek(ctx, vault, firstEpoch)
	if !errors.Is(err, ErrNotFound) {
		return dek, nil, err
	}
	dek = make([]byte, dekSize)
	rand.Read(dek)
	sealed, err := s.Root.Seal(dek, s.dekAAD(vault, firstEpoch))
	if err != nil {
		return nil, nil, err
	}
	return dek, func(tx Tx) error { return tx.PutSecret(dekName(vault, firstEpoch), sealed) }, nil
}
