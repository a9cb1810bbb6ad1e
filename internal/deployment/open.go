package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// LogConfig is the configuration of the deployment's log. From here on the
// deployment uses now as its clock too.
func (d *Deployment) LogConfig(st *store.Store, now func() time.Time, binary string, settings func() receipt.Digest) audit.Config {
	d.now = now
	return audit.Config{
		Store: st, Deployment: d.ID, Origin: d.Origin, Simulation: d.Simulation, Signers: d.LogSigners, VKeys: d.LogVKeys, ObjectKey: d.ObjectKey,
		Now: now, Binary: binary, Settings: settings,
	}
}

// Use gives the deployment its opened log, on which recovery stands.
func (d *Deployment) Use(l *audit.Log) error {
	if d.now == nil {
		return errors.New("deployment: the log was not made with LogConfig")
	}
	d.log, d.objects = l.Keys(), l.Objects()
	d.secrets = d.log
	return nil
}

// opened is a deployment with store and log, as this package works on it.
type opened struct {
	*Deployment
	store *store.Store
	log   *audit.Log
}

// open opens the deployment in a store's file. It refuses while another process
// has it (store.ErrLocked), with another key (seal.ErrWrongKey,
// ErrWrongIdentity), and when the end of the log does not verify.
func open(ctx context.Context, path string, opener Opener, now func() time.Time) (*opened, error) {
	st, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	d, err := Load(ctx, st, opener)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	o, err := d.start(ctx, st, now, "")
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return o, nil
}

// start opens the log of a deployment, without the configuration of a broker.
func (d *Deployment) start(ctx context.Context, st *store.Store, now func() time.Time, binary string) (*opened, error) {
	l, err := audit.Open(ctx, d.LogConfig(st, now, binary, func() receipt.Digest { return receipt.Digest{} }))
	if err != nil {
		return nil, err
	}
	return &opened{Deployment: d, store: st, log: l}, d.Use(l)
}

// close ends the log, moves everything into the database file and closes it.
func (o *opened) close() error {
	err := o.log.Close()
	_, cerr := o.store.Checkpoint(context.Background(), true)
	return errors.Join(err, cerr, o.store.Close())
}

// record is the base of a record that the program itself makes.
func record(op string) *release.Record {
	return &release.Record{V: 1, Kind: receipt.KindChange, Operation: op, Caller: &receipt.Caller{Kind: "system", ID: "openskr"}}
}

// verifyKeys opens every version of a key or a secret, in all vaults, and forgets it.
func (o *opened) verifyKeys(ctx context.Context) (keyvault.Count, error) {
	vault, err := keyvault.New(keyvault.Config{
		Store: o.log.Keys(), Root: o.Root, Deployment: o.ID, BaseURL: "https://unused",
		Check:  func(context.Context, release.ReleasePolicy) error { return errReadOnly },
		Ready:  func(context.Context) error { return errReadOnly },
		Now:    time.Now,
		Record: func(_ context.Context, op string) *release.Record { return record(op) }, Objects: o.objects,
	})
	if err != nil {
		return keyvault.Count{}, err
	}
	defer vault.Close()
	var n keyvault.Count
	for after := ""; ; {
		list, err := vault.Vaults(ctx, after, 256)
		if err != nil || len(list) == 0 {
			return n, err
		}
		for _, v := range list {
			in, err := vault.Verify(ctx, v.Name)
			n.Keys, n.Secrets, n.Versions, after = n.Keys+in.Keys, n.Secrets+in.Secrets, n.Versions+in.Versions, v.Name
			if err != nil {
				return n, fmt.Errorf("after %d keys and %d secrets: %w", n.Keys, n.Secrets, err)
			}
		}
	}
}

var errReadOnly = errors.New("this vault is only verified")
