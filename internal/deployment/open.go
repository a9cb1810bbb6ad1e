package deployment

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/seal"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// OpenOptions of Open.
type OpenOptions struct {
	KEK seal.KEK
	// Log needs Now, Binary and Settings, and may set limits and hooks; what the
	// deployment determines (store, identity, keys) is filled in.
	Log     audit.Config
	Readers int // read connections, 0: the store's default
}

// Opened is a deployment with its store and log, as a broker runs it.
type Opened struct {
	*Deployment
	Store *store.Store
	Log   *audit.Log
}

// Open opens the deployment in dir. It refuses while another process has it
// (store.ErrLocked), with another root key (seal.ErrWrongKey), and when the log
// does not verify.
func Open(ctx context.Context, dir string, o OpenOptions) (*Opened, error) {
	if o.KEK == nil {
		return nil, errors.New("deployment: no root key")
	}
	return open(ctx, filepath.Join(dir, Database), WithKEK(o.KEK), o.Log, o.Readers)
}

func open(ctx context.Context, path string, opener Opener, cfg audit.Config, readers int) (*Opened, error) {
	st, err := sqlite.Open(ctx, path, sqlite.Options{Readers: readers})
	if err != nil {
		return nil, err
	}
	d, err := Load(ctx, st, opener)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	o, err := d.start(ctx, st, cfg)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return o, nil
}

// start opens the log of a loaded deployment.
func (d *Deployment) start(ctx context.Context, st *store.Store, cfg audit.Config) (*Opened, error) {
	cfg.Store, cfg.Deployment, cfg.Origin, cfg.Simulation = st, d.ID, d.Origin, d.Simulation
	cfg.Signer, cfg.ObjectKey = d.LogSigner, d.ObjectKey
	l, err := audit.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	d.secrets, d.objects, d.now = st, l.Objects(), cfg.Now
	return &Opened{Deployment: d, Store: st, Log: l}, nil
}

// Close ends the log, moves everything into the database file and closes it.
func (o *Opened) Close() error {
	err := o.Log.Close()
	_, cerr := o.Store.Checkpoint(context.Background(), true)
	return errors.Join(err, cerr, o.Store.Close())
}

// record is the base of a record that the program itself makes.
func record(op string) *release.Record {
	return &release.Record{V: 1, Kind: receipt.KindChange, Operation: op, Caller: &receipt.Caller{Kind: "system", ID: "openskr"}}
}

// verifyKeys opens every key version and forgets it.
func (o *Opened) verifyKeys(ctx context.Context) (keyvault.Count, error) {
	vault, err := keyvault.New(keyvault.Config{
		Store: o.Log.Keys(), Root: o.Root, Deployment: o.ID, BaseURL: "https://unused",
		Check:  func(context.Context, release.ReleasePolicy) error { return errReadOnly },
		Ready:  func(context.Context) error { return errReadOnly },
		Now:    time.Now,
		Record: func(_ context.Context, op string) *release.Record { return record(op) },
	})
	if err != nil {
		return keyvault.Count{}, err
	}
	defer vault.Close()
	n, err := vault.Verify(ctx, keyvault.DefaultVault)
	if err != nil {
		return n, fmt.Errorf("after %d keys: %w", n.Keys, err)
	}
	return n, nil
}

var errReadOnly = errors.New("this vault is only verified")
