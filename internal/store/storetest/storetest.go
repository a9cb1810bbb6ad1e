// Package storetest is the suite that every store must pass, with the log that
// writes it: keyvault.Store, release.Objects and release.Log as one. It knows
// nothing but these ports, so that SQLite, PostgreSQL and the store in memory are
// held to the same words.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// Subject is an opened store whose log has its genesis.
type Subject struct {
	Keys    keyvault.Store
	Objects release.Objects
	Log     release.Log
	// NonceSpent reads whether a nonce with this hash is spent.
	NonceSpent func(ctx context.Context, hash [32]byte) (bool, error)
	// Now is the store's clock.
	Now func() time.Time
	// Origin and VKey verify receipts.
	Origin, VKey string
	// Reopen closes and opens the store again; nil when it does not outlive the process.
	Reopen func(t *testing.T) *Subject
}

// Run runs the suite. open gives an empty store each time.
func Run(t *testing.T, open func(t *testing.T) *Subject) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"keys round trip", (*suite).keysRoundTrip},
		{"insert and update conflict", (*suite).conflicts},
		{"lists are paged", (*suite).lists},
		{"secrets", (*suite).secrets},
		{"a failing change leaves nothing", (*suite).changeFails},
		{"a failing change leaves its neighbours", (*suite).neighbours},
		{"objects", (*suite).objects},
		{"objects change one after the other", (*suite).objectRaces},
		{"receipts verify", (*suite).receipts},
		{"guards", (*suite).guards},
		{"a denial spends its nonce", (*suite).denials},
		{"one nonce, 64 at once", (*suite).nonceRace},
		{"a use may repeat", (*suite).repeats},
		{"a right is read again", (*suite).rights},
		{"a disabled key, never after", (*suite).disableRace},
		{"deleted objects are listed", (*suite).deletedObjects},
		{"a change sees all versions", (*suite).versionsInside},
		{"what is removed stays known", (*suite).removed},
		{"a change has documents", (*suite).documents},
		{"what is written has another mark", (*suite).marks},
		{"everything is there after opening again", (*suite).reopen},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(&suite{T: t, Subject: open(t), ctx: t.Context()}) })
	}
}

type suite struct {
	*testing.T
	*Subject
	ctx context.Context
	nth atomic.Int64
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) is(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("got %v, want %v", err, want)
	}
}

// row is a key version with every column filled, each different.
func row(name string, seq int64) *keyvault.Row {
	policy := []byte("package release\n# " + name)
	return &keyvault.Row{
		Vault: "v", Collection: keyvault.Keys, Name: name, Version: fmt.Sprintf("%032d", seq), ObjectID: "id-" + name, Seq: seq, Generation: 1,
		Kty: "EC", Crv: "P-256", Size: 256, KeyOps: []string{"sign", "verify"},
		Attributes: release.Attributes{Enabled: true, NotBefore: 1, Expires: 4_000_000_000, Exportable: true},
		Created:    11, Updated: 12, Tags: map[string]string{"a": "ü", "b": ""},
		Policy: release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: policy, Immutable: true, Digest: sha256.Sum256(policy)},
		Public: []byte(`{"x":1}`), AttestedOnly: true, DEKEpoch: 3, Salt: []byte{0, 1}, Commitment: []byte{2, 3}, Sealed: []byte{0, 0xff},
	}
}

// insert makes a key version and gives its row as stored.
func (s *suite) insert(r *keyvault.Row) *keyvault.Row {
	s.Helper()
	_, err := s.Keys.Change(s.ctx, change("keys/create", r.ObjectID), func(tx keyvault.Tx, index int64) error {
		r.CreatedIndex = index
		return tx.Insert(r)
	})
	s.must(err)
	return r
}

// update replaces a key version through edit.
func (s *suite) update(r *keyvault.Row, edit func(*keyvault.Row)) (*release.Committed, error) {
	next := *r
	edit(&next)
	next.Generation++
	return s.Keys.Change(s.ctx, change("keys/update", r.ObjectID), func(tx keyvault.Tx, _ int64) error {
		return tx.Update(&next, r.Generation)
	})
}

func change(operation, objectID string) *release.Record {
	return &release.Record{Kind: receipt.KindChange, Operation: operation, ObjectID: objectID}
}

// metadata is what a release would have read.
func metadata(r *keyvault.Row) *release.Key {
	return &release.Key{
		Collection: r.Collection,
		Ref:        release.KeyRef{Vault: r.Vault, Name: r.Name, Version: r.Version}, KID: r.Name, ObjectID: r.ObjectID,
		Generation: r.Generation, Attributes: r.Attributes, Policy: r.Policy,
	}
}

// enrol gives a machine the status and reads it as a release does.
func (s *suite) enrol(id, status string) *release.Machine {
	s.Helper()
	_, err := s.Objects.ChangeObject(s.ctx, change("machines/"+status, ""), release.ObjectMachine, id,
		func(*release.Object) ([]byte, error) { return json.Marshal(release.Enrolled{Status: status}) })
	s.must(err)
	m, err := release.EnrolledMachines{Objects: s.Objects}.Machine(s.ctx, id)
	s.must(err)
	return m
}

// allow is an entry that nothing speaks against, with a nonce of its own.
func (s *suite) allow(k *release.Key, m *release.Machine) release.Entry {
	nonce := sha256.Sum256(fmt.Appendf(nil, "%s %d", s.Name(), s.nth.Add(1)))
	return release.Entry{
		Record: &release.Record{
			Kind: receipt.KindRelease, Decision: receipt.Allow, Nonce: nonce, ObjectID: k.ObjectID, Version: k.Ref.Version,
			Generation: k.Generation, Policy: k.Policy.Digest,
		},
		Input: []byte(`{}`),
		Guard: &release.Guard{Nonce: nonce, NonceExpires: s.Now().Add(time.Minute), Key: k, Machine: m, ResetCount: 5},
	}
}

func (s *suite) append(e release.Entry) *release.Committed {
	s.Helper()
	c, err := s.Log.Append(s.ctx, e)
	s.must(err)
	return c
}

// decided is allow, or the reason of the denial.
func decided(c *release.Committed) string {
	if c.Record.Decision == receipt.Allow {
		return receipt.Allow
	}
	return c.Record.Reason
}
