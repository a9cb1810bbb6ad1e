// Package deployment makes and opens a deployment: its identity, its private
// keys and the keys derived from its deployment key, as `openskr init` makes and
// `openskr serve` opens them, with recovery, backup and restore.
//
// Everything secret rests in the store, sealed: the deployment key under the root
// KEK and under each recovery recipient, everything else under the deployment
// key (docs/adr/0005-sealing.md).
package deployment

import (
	"context"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/openskr/openskr/internal/seal"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// Database is the name of the store's file in the data folder.
const Database = "openskr.db"

// Names of the sealed values.
const (
	secretPublic = "deployment/public"
	secretKeys   = "deployment/keys"
	secretAge    = "dk/age"
	secretKEK    = "dk/kek/" // and the KEK's id
)

// ErrNoDeployment says that a store holds no deployment.
var ErrNoDeployment = errors.New("store holds no deployment: make one with `openskr init`")

// Deployment is an opened deployment. Of each list the first member signs and
// every member is accepted, so that keys rotate with overlap.
type Deployment struct {
	ID         string // "skr-" and 20 hex digits, the audience of evidence and tokens
	Origin     string // of the log, and the name of its signing key
	Simulation bool
	Created    time.Time
	Recipients []string // age recipients of the deployment key

	LogSigners   []note.Signer // all sign
	LogVKeys     []string      // encoding of golang.org/x/mod/sumdb/note
	ResponseKeys []*ecdsa.PrivateKey
	TokenKeys    []*ecdsa.PrivateKey
	AKCAs        []CA
	TLSCAs       []CA
	// AttestationKeys sign tokens of the attestation service; none in the store of an
	// earlier version, until [Deployment.Complete].
	AttestationKeys []Certified

	// 32 bytes each, for one use each.
	NonceKey, EnrollKey, PseudonymKey, PageKey, ObjectKey []byte

	Root keyvault.Root // seals vault keys under the deployment key

	drillKey   []byte // MAC of recovery challenges
	drillProof []byte // what an opened deployment key proves itself with
	ring       *ring
	recovery
}

// Format keeps keys out of logs, whatever the verb.
func (d *Deployment) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "deployment %s", d.ID) } //nolint:errcheck // nowhere to report to

// Trust gives agent.json for brokers at urls.
func (d *Deployment) Trust(urls []string) (receipt.Trust, error) {
	t := receipt.Trust{
		V: 1, URLs: urls, Deployment: d.ID, CA: pemOf(d.TLSCAs),
		Log: receipt.LogTrust{Origin: d.Origin, VKeys: d.LogVKeys},
	}
	for _, k := range d.ResponseKeys {
		der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
		if err != nil {
			return receipt.Trust{}, err
		}
		t.ResponseKeys = append(t.ResponseKeys, der)
	}
	return t, nil
}

// public is what may be known of a deployment. It is stored readable, because the
// id is needed to open the deployment key, with a MAC under that key.
type public struct {
	V          int      `json:"v"` // 1
	ID         string   `json:"id"`
	Origin     string   `json:"origin"`
	Simulation bool     `json:"simulation"`
	Created    int64    `json:"created"`    // Unix seconds
	Recipients []string `json:"recipients"` // age recipients of the deployment key
}

// signedPublic is how public is stored; the MAC is over the bytes of Public.
type signedPublic struct {
	Public []byte `json:"public"`
	MAC    []byte `json:"mac"`
}

const maxPublic = 64 << 10

func (p *public) encode(dk []byte) ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	key, err := derive(dk, p.ID, labelPublic)
	if err != nil {
		return nil, err
	}
	return json.Marshal(signedPublic{Public: b, MAC: mac(key, b)})
}

// decodePublic reads without checking the MAC, for which the deployment key is
// needed; nothing but the id may be used before verify.
func decodePublic(b []byte) (p *public, verify func(dk []byte) error, err error) {
	var s signedPublic
	if err := strict.Unmarshal(b, maxPublic, &s); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", secretPublic, err)
	}
	p = &public{}
	if err := strict.Unmarshal(s.Public, maxPublic, p); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", secretPublic, err)
	}
	if p.V != 1 {
		return nil, nil, fmt.Errorf("%s: version %d, this program knows 1", secretPublic, p.V)
	}
	return p, func(dk []byte) error {
		key, err := derive(dk, p.ID, labelPublic)
		if err != nil {
			return err
		}
		if !hmac.Equal(mac(key, s.Public), s.MAC) {
			return fmt.Errorf("%s: %w", secretPublic, errSealed)
		}
		return nil
	}, nil
}

// secrets reads sealed values; a store or its log does.
type secrets interface {
	Secret(ctx context.Context, name string) ([]byte, error)
}

// Opener opens the deployment key of a store: [WithKEK] or [WithIdentities].
type Opener func(ctx context.Context, st secrets, id string) (dk []byte, err error)

// WithKEK opens with the root KEK.
func WithKEK(kek seal.KEK) Opener {
	return func(ctx context.Context, st secrets, id string) ([]byte, error) {
		sealed, err := st.Secret(ctx, secretKEK+kek.ID())
		if errors.Is(err, keyvault.ErrNotFound) {
			return nil, fmt.Errorf("%w (this store was not made with root key %s)", seal.ErrWrongKey, kek.ID())
		}
		if err != nil {
			return nil, err
		}
		return kek.Unwrap(ctx, sealed, dkAAD(id))
	}
}

func dkAAD(id string) []byte { return aad("openskr/dk/v1", id) }

// Load opens what st holds.
func Load(ctx context.Context, st secrets, open Opener) (*Deployment, error) {
	d, dk, err := load(ctx, st, open)
	clear(dk)
	return d, err
}

// load gives the deployment key too; the caller clears it.
func load(ctx context.Context, st secrets, open Opener) (_ *Deployment, dk []byte, err error) {
	b, err := st.Secret(ctx, secretPublic)
	if errors.Is(err, keyvault.ErrNotFound) {
		return nil, nil, ErrNoDeployment
	}
	if err != nil {
		return nil, nil, err
	}
	p, verify, err := decodePublic(b)
	if err != nil {
		return nil, nil, err
	}
	if dk, err = open(ctx, st, p.ID); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			clear(dk)
		}
	}()
	if err := verify(dk); err != nil {
		return nil, nil, err
	}
	d, err := fromKey(p, dk)
	if err != nil {
		return nil, nil, err
	}
	sealed, err := st.Secret(ctx, secretKeys)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", secretKeys, err)
	}
	plain, err := d.Root.Unseal(sealed, aad(secretKeys, d.ID))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", secretKeys, err)
	}
	defer clear(plain)
	r, err := decodeRing(plain)
	if err != nil {
		return nil, nil, err
	}
	return d, dk, d.use(r)
}

// fromKey derives everything that needs no stored key.
func fromKey(p *public, dk []byte) (*Deployment, error) {
	d := &Deployment{
		ID: p.ID, Origin: p.Origin, Simulation: p.Simulation, Created: time.Unix(p.Created, 0).UTC(), Recipients: p.Recipients,
	}
	var rootKey []byte
	for label, key := range map[string]*[]byte{
		labelRoot: &rootKey, labelNonce: &d.NonceKey, labelEnroll: &d.EnrollKey, labelPseudonym: &d.PseudonymKey,
		labelPage: &d.PageKey, labelObject: &d.ObjectKey, labelDrill: &d.drillKey,
	} {
		var err error
		if *key, err = derive(dk, p.ID, label); err != nil {
			return nil, err
		}
	}
	defer clear(rootKey)
	r, err := newRoot(rootKey)
	if err != nil {
		return nil, err
	}
	d.Root = r
	d.drillProof, err = proofKey(dk)
	return d, err
}

// use opens the keys of r.
func (d *Deployment) use(r *ring) (err error) {
	d.ring = r
	if d.LogSigners, d.LogVKeys, err = vkeys(r.Log); err != nil {
		return err
	}
	for _, s := range d.LogSigners {
		if s.Name() != d.Origin {
			return errors.New("deployment keys: the log key belongs to another log")
		}
	}
	if d.ResponseKeys, err = keys(r.Response); err != nil {
		return err
	}
	if d.TokenKeys, err = keys(r.Token); err != nil {
		return err
	}
	if d.AKCAs, err = cas(r.AKCA); err != nil {
		return err
	}
	if d.TLSCAs, err = cas(r.TLSCA); err != nil {
		return err
	}
	d.AttestationKeys, err = certifieds(r.Attestation)
	return err
}
