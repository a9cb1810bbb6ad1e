package deployment

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"filippo.io/age"

	"github.com/openskr/openskr/internal/seal"
	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// Options of Init; Dir, KEKPath, Hosts, Principal and Now are required.
type Options struct {
	Dir        string // data folder: absent or empty
	KEKPath    string // outside Dir; used when it exists, made otherwise
	Simulation bool   // accept simulated evidence; can never be changed
	Hosts      []string
	// RecoveryRecipients are at least two age recipients (age1…) of the deployment
	// key. None: two are made, given in the Result once and drilled here.
	RecoveryRecipients []string
	// Principal makes the first administrator.
	Principal func(now time.Time) (*Administrator, error)
	// Finish, when set, writes what else belongs to the deployment: dir is the
	// folder that becomes Dir if Finish succeeds. Its error undoes everything.
	Finish func(dir string, r *Result) error
	Binary string
	Now    func() time.Time
}

// Administrator is a new principal: its id and secret, and the values of its objects.
type Administrator struct {
	ID, Secret       string
	Principal, Roles []byte // of release.ObjectPrincipal and release.ObjectRoles
}

// Result is what Init made. Secrets in it are kept nowhere else.
type Result struct {
	ID                 string
	RecoveryIdentities []string // AGE-SECRET-KEY-…, only when no recipients were given
	AdminID            string
	AdminSecret        string
	KEKMade            bool
	Trust              receipt.Trust
	Checkpoint         string // of the log
}

// Format keeps secrets out of logs, whatever the verb.
func (r *Result) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "new deployment %s", r.ID) } //nolint:errcheck // nowhere to report to

// Init makes a deployment, wholly or not at all: everything is built in a folder
// beside Dir, which gets its name last.
func Init(ctx context.Context, o Options) (_ *Result, err error) {
	if o.Dir == "" || o.KEKPath == "" || len(o.Hosts) == 0 || o.Principal == nil || o.Now == nil {
		return nil, errors.New("deployment: an option of init is missing")
	}
	identities, recipients, err := o.recovery()
	if err != nil {
		return nil, err
	}
	if err := vacant(o.Dir); err != nil {
		return nil, err
	}
	if err := seal.Outside(o.KEKPath, o.Dir); err != nil {
		return nil, err
	}
	kek, made, err := openOrMakeKEK(o.KEKPath)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && made {
			err = errors.Join(err, os.Remove(o.KEKPath)) // it has sealed nothing that exists
		}
	}()
	r := &Result{KEKMade: made}
	err = build(o.Dir, func(dir string) error {
		if err := o.populate(ctx, dir, kek, recipients, identities, r); err != nil {
			return err
		}
		if o.Finish == nil {
			return nil
		}
		return o.Finish(dir, r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// recovery gives the recipients, and identities when they are made here: hybrid
// ones, because a backup taken today should still be closed to a quantum computer.
func (o *Options) recovery() (identities []*age.HybridIdentity, recipients []string, err error) {
	if len(o.RecoveryRecipients) > 0 {
		_, err := parseRecipients(o.RecoveryRecipients)
		return nil, o.RecoveryRecipients, err
	}
	for range minRecipients {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return nil, nil, err
		}
		identities, recipients = append(identities, id), append(recipients, id.Recipient().String())
	}
	return identities, recipients, nil
}

func openOrMakeKEK(path string) (kek seal.KEK, made bool, err error) {
	if _, err := os.Lstat(path); err == nil {
		kek, err := seal.File(path)
		return kek, false, err
	}
	kek, err = seal.NewFile(path)
	return kek, err == nil, err
}

// populate makes the store in dir.
func (o *Options) populate(ctx context.Context, dir string, kek seal.KEK, recipients []string, identities []*age.HybridIdentity, r *Result) (err error) {
	st, err := sqlite.Open(ctx, filepath.Join(dir, Database), sqlite.Options{Create: true})
	if err != nil {
		return err
	}
	d, values, err := o.seed(ctx, kek, recipients)
	if err != nil {
		return errors.Join(err, st.Close())
	}
	made, err := d.start(ctx, st, o.Now, o.Binary)
	if err != nil {
		return errors.Join(err, st.Close())
	}
	defer func() { err = errors.Join(err, made.close()) }()
	if err := made.genesis(ctx, values); err != nil {
		return err
	}
	if r.AdminID, r.AdminSecret, err = made.addAdmin(ctx, o.Principal, o.Now()); err != nil {
		return err
	}
	for _, id := range identities {
		if err := made.selfDrill(ctx, id); err != nil {
			return err
		}
		r.RecoveryIdentities = append(r.RecoveryIdentities, id.String())
	}
	urls := make([]string, len(o.Hosts))
	for i, h := range o.Hosts {
		urls[i] = "https://" + h
	}
	r.ID, r.Checkpoint = d.ID, made.log.Checkpoint()
	r.Trust, err = d.Trust(urls)
	return err
}

// seed makes identity and keys of a deployment, and the sealed values to store.
func (o *Options) seed(ctx context.Context, kek seal.KEK, recipients []string) (*Deployment, map[string][]byte, error) {
	dk := random(dkSize)
	defer clear(dk)
	id := "skr-" + hex.EncodeToString(random(10))
	p := &public{V: 1, ID: id, Origin: "openskr." + id + "/log", Simulation: o.Simulation, Created: o.Now().Unix(), Recipients: recipients}
	d, err := fromKey(p, dk)
	if err != nil {
		return nil, nil, err
	}
	r, err := newRing(id, p.Origin, o.Now())
	if err != nil {
		return nil, nil, err
	}
	if err := d.use(r); err != nil {
		return nil, nil, err
	}
	values := map[string][]byte{}
	if values[secretPublic], err = p.encode(dk); err != nil {
		return nil, nil, err
	}
	if values[secretKeys], err = d.sealRing(r); err != nil {
		return nil, nil, err
	}
	if values[secretKEK+kek.ID()], err = kek.Wrap(ctx, dk, dkAAD(id)); err != nil {
		return nil, nil, err
	}
	parsed, err := parseRecipients(recipients)
	if err != nil {
		return nil, nil, err
	}
	values[secretAge], err = encryptDK(dk, parsed)
	return d, values, err
}

func (d *Deployment) sealRing(r *ring) ([]byte, error) {
	plain, err := r.encode()
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return d.Root.Seal(plain, aad(secretKeys, d.ID))
}

// genesis writes the first record, with the sealed values in its transaction.
func (o *opened) genesis(ctx context.Context, values map[string][]byte) error {
	rec := record("deployment/init")
	var err error
	if rec.Detail, err = o.fingerprints(); err != nil {
		return err
	}
	rec.Detail["recovery_recipients"] = strconv.Itoa(len(o.Recipients))
	_, err = o.log.Genesis(ctx, rec, func(tx keyvault.Tx, _ int64) error {
		for name, value := range values {
			if err := tx.PutSecret(name, value); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// fingerprints names the deployment's public keys in a record: SHA-256 of SPKI,
// certificate or verifier key.
func (d *Deployment) fingerprints() (map[string]string, error) {
	sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
	out := map[string]string{
		string(KindLog): sum([]byte(d.LogVKeys[0])), string(KindAKCA): sum(d.AKCAs[0].Cert.Raw), string(KindTLSCA): sum(d.TLSCAs[0].Cert.Raw),
	}
	for kind, key := range map[Kind]*ecdsa.PrivateKey{KindResponse: d.ResponseKeys[0], KindToken: d.TokenKeys[0]} {
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			return nil, err
		}
		out[string(kind)] = sum(der)
	}
	if len(d.AttestationKeys) > 0 {
		out[string(KindAttestation)] = sum(d.AttestationKeys[0].Cert.Raw)
	}
	return out, nil
}

func (o *opened) addAdmin(ctx context.Context, make func(time.Time) (*Administrator, error), now time.Time) (id, secret string, err error) {
	admin, err := make(now)
	if err != nil {
		return "", "", fmt.Errorf("administrator: %w", err)
	}
	for _, one := range []struct {
		op, kind string
		value    []byte
	}{{"principals/create", release.ObjectPrincipal, admin.Principal}, {"roles/assign", release.ObjectRoles, admin.Roles}} {
		rec := record(one.op)
		rec.Object = admin.ID
		if _, err := o.objects.ChangeObject(ctx, rec, one.kind, admin.ID, func(*release.Object) ([]byte, error) { return one.value, nil }); err != nil {
			return "", "", err
		}
	}
	return admin.ID, admin.Secret, nil
}

// selfDrill proves an identity made here in the same way as an operator does.
func (o *opened) selfDrill(ctx context.Context, id age.Identity) error {
	wrap, err := o.secrets.Secret(ctx, secretAge)
	if err != nil {
		return err
	}
	proof, err := DrillProof(wrap, o.challenge(), id)
	if err != nil {
		return err
	}
	return o.Drill(ctx, record("recovery/drill"), proof)
}

// vacant refuses a folder that holds anything.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty (%s): name a folder that does not exist yet", dir, entries[0].Name())
	}
	return nil
}

// build fills a new folder and gives it the name dir, which is vacant. After a
// failure nothing is left; after a crash only a hidden folder beside dir.
func build(dir string, fill func(tmp string) error) (err error) {
	dir = filepath.Clean(dir)
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".new-") // mode 0700
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := fill(tmp); err != nil {
		return err
	}
	if err := syncDir(tmp); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // empty, or it is not removed
		return fmt.Errorf("%w: name a folder inside it", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
