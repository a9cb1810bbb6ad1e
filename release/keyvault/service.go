// Package keyvault keeps keys: their versions, attributes, release policies and
// the sealing hierarchy under which their material rests (docs/adr/0005-sealing.md).
//
// Metadata is given to anyone the caller lets in; material is opened only
// against a [release.Grant], or, for an operation whose result alone leaves
// (operate.go), against the durable record of that operation. A row is believed
// only when its commitment matches every one of its columns, so one edited or
// moved in the database is refused by reads as well as by releases.
package keyvault

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/openskr/openskr/release"
)

// Config is what a Service stands on; every field without a word about its absence is required.
type Config struct {
	Store      Store
	Root       Root
	Deployment string   // id, in the AAD of every row
	BaseURL    string   // "https://host:port", the start of every key URL that is made here
	Aliases    []string // further base URLs that are accepted in key URLs; may be empty
	Suffixes   []string // may be empty. "host:port": https://{vault}.{suffix} is the base URL of a vault
	// Check judges a release policy at upload: syntax, types, resource limits.
	Check func(ctx context.Context, p release.ReleasePolicy) error
	// Ready refuses the first key until a recovery drill succeeded
	// (release.ReasonRecoveryNotReady).
	Ready func(ctx context.Context) error
	Now   func() time.Time
	// Clock refuses while the time of day is not believed (release.ReasonClockUntrusted):
	// nothing is deleted or purged by such a time. Without it, it is believed.
	Clock func() error
	// Record makes the base of a record: caller, correlation and configuration as
	// the door put them into ctx.
	Record func(ctx context.Context, op string) *release.Record
	// Spend takes what an operation costs beyond one on an RSA key of 2048 bits from the
	// rate of ctx's caller, in such operations, before it is done. May be nil.
	Spend func(ctx context.Context, units int)
	// Log takes the record of each private-key operation. Without one there is none.
	Log release.Log
	// Right gives the objects that the right of ctx's caller rests on, read again by
	// the append of the record of an operation. Required with Log.
	Right func(ctx context.Context) []release.ObjectState
	// Objects keeps documents about vaults and keys. Without it there are none.
	Objects release.Objects
	// NearExpiry is told of a key version whose near expiry was put on record. Without
	// it, nobody is.
	NearExpiry func(k *release.Key)
}

// Root seals and opens the keys of vaults. It is the deployment key; it never
// sees key material of a user. aad must be the same at both ends.
type Root interface {
	Seal(plaintext, aad []byte) ([]byte, error)
	Unseal(sealed, aad []byte) ([]byte, error)
}

// Service is the vault. It implements [release.Keys]. Its methods give
// *release.Error for everything a caller did wrong.
type Service struct {
	Config
	deks   deks
	kept   keeper
	vaults sync.Map // names of vaults that were seen
	round  round    // of RotateDue
}

var _ release.Keys = (*Service)(nil)

// New checks that nothing is missing.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Root == nil || c.Deployment == "" || c.Check == nil || c.Ready == nil || c.Now == nil || c.Record == nil ||
		c.Log != nil && c.Right == nil {
		return nil, errors.New("keyvault: a part of the service is missing")
	}
	for _, base := range append([]string{c.BaseURL}, c.Aliases...) {
		if host, ok := strings.CutPrefix(base, "https://"); !ok || host == "" || strings.ContainsAny(host, "/?#@ ") {
			return nil, errors.New("keyvault: a base URL must look like https://host:port, without a path")
		}
	}
	return &Service{Config: c, kept: newKeeper()}, nil
}

// Close forgets the opened vault keys. The Service opens them again when used.
func (s *Service) Close() { s.deks.forget() }
