// Package challenge issues and judges the broker's nonces. Issuing is stateless, so
// that strangers cost no memory; single use is state, kept in two places: what was
// presented, in memory, and what reached a record, in the log's database.
//
// Layout of a nonce, 52 bytes (big endian):
//
//	version 1 ‖ epoch 1 ‖ issued, Unix ms 6 ‖ random 16 ‖ scope tag 12 ‖ MAC 16
//	scope tag = SHA-256(LP(deployment) ‖ LP(purpose) ‖ LP(key URL))[:12]
//	MAC       = HMAC-SHA256(key, LP("openskr/nonce/v1") ‖ LP(deployment) ‖ all before)[:16]
//
// LP is a four-byte length and the bytes. The epoch is always 0 and kept for keys
// that overlap.
package challenge

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/openskr/openskr/release"
)

// Sizes and limits.
const (
	Size       = 52
	DefaultTTL = 120 * time.Second
	MaxTTL     = 600 * time.Second
	// DefaultMaxHeld bounds the memory of presented nonces to about 40 MB.
	DefaultMaxHeld = 1 << 19
	// Skew is how far in the future a nonce of another replica may seem to be issued.
	Skew = 5 * time.Second

	version   = 1
	epoch     = 0
	randomAt  = 8
	scopeAt   = 24
	macAt     = 36
	keySize   = 32
	macDomain = "openskr/nonce/v1"
)

// Config of an Issuer. TTL and MaxHeld have defaults; the rest is required.
type Config struct {
	Key        []byte // MAC key, 32 bytes, secret, one per deployment
	Deployment string // id: a nonce of another deployment does not verify
	TTL        time.Duration
	// Spent says whether a nonce, by SHA-256 of its bytes, is in the log's database. It is
	// asked about nonces from before the start alone.
	Spent   func(ctx context.Context, hash [32]byte) (bool, error)
	Now     func() time.Time
	MaxHeld int // presented nonces remembered at once; more answer overloaded
}

// Issuer issues and judges nonces. It implements release.Challenges and is safe for
// concurrent use.
type Issuer struct {
	cfg    Config
	opened time.Time // what was issued before may have been presented to another process
	burned burned
}

// New checks the configuration.
func New(c Config) (*Issuer, error) {
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.MaxHeld == 0 {
		c.MaxHeld = DefaultMaxHeld
	}
	switch {
	case len(c.Key) != keySize:
		return nil, fmt.Errorf("challenge: key of %d bytes, want %d", len(c.Key), keySize)
	case c.Deployment == "" || c.Spent == nil || c.Now == nil:
		return nil, errors.New("challenge: deployment, spent or clock is missing")
	case c.TTL < time.Second || c.TTL > MaxTTL || c.MaxHeld < 1:
		return nil, fmt.Errorf("challenge: TTL %v outside 1 s to %v, or nothing may be held", c.TTL, MaxTTL)
	}
	c.Key = append([]byte(nil), c.Key...)
	return &Issuer{cfg: c, opened: c.Now(), burned: burned{life: c.TTL + 2*Skew, limit: c.MaxHeld}}, nil
}

// Issue makes a nonce for scope and says when it expires. It keeps nothing.
func (i *Issuer) Issue(scope release.Scope) (nonce []byte, expires time.Time, err error) {
	now := i.cfg.Now()
	b := make([]byte, Size)
	binary.BigEndian.PutUint64(b, uint64(now.UnixMilli())) // the two top bytes are free until the year 10889
	b[0], b[1] = version, epoch
	if _, err := rand.Read(b[randomAt:scopeAt]); err != nil {
		return nil, time.Time{}, fmt.Errorf("challenge: %w", err)
	}
	copy(b[scopeAt:macAt], i.tag(scope))
	copy(b[macAt:], i.mac(b[:macAt]))
	return b, i.issued(b).Add(i.cfg.TTL), nil
}

// Begin judges a nonce, cheapest checks first, and burns it at the first
// presentation with a valid MAC, whatever comes of it: every attempt takes a new
// challenge (release.Challenges). Nothing is looked up or remembered for a nonce
// that is not ours. A nonce that another request holds is refused at once, since
// that request has burned it.
//
// What was burned without reaching a record (a stranger's failed attempt) is
// forgotten by a restart, so such a nonce could be tried once more within its TTL.
// That gives nothing: the evidence must still verify and bind this very nonce, and
// a nonce that reached a record, ALLOW or DENY, is refused by Spent and again by the
// append's transaction. So there is at most one ALLOW for a nonce, ever, and a
// restart does not fail the machines that boot during it.
//
// Errors are *release.Error: nonce_missing, nonce_unknown (not ours, or issued in
// the future), nonce_replayed, nonce_expired, nonce_binding_mismatch, overloaded
// when too many nonces are remembered, audit_unavailable when Spent fails.
func (i *Issuer) Begin(ctx context.Context, nonce []byte, scope release.Scope) (release.Ticket, error) {
	if len(nonce) == 0 {
		return release.Ticket{}, release.Refuse(release.ReasonNonceMissing, "no nonce")
	}
	if len(nonce) != Size || nonce[0] != version || nonce[1] != epoch || !hmac.Equal(nonce[macAt:], i.mac(nonce[:macAt])) {
		return release.Ticket{}, release.Refuse(release.ReasonNonceUnknown, "nonce was not issued by this deployment, or its key changed")
	}
	now, issued := i.cfg.Now(), i.issued(nonce)
	t := release.Ticket{Hash: sha256.Sum256(nonce), Expires: issued.Add(i.cfg.TTL)}
	// One out of time is not remembered: hoarded nonces must not fill the memory.
	timely := i.timely(issued, now)
	switch i.burned.add([16]byte(nonce[randomAt:scopeAt]), now, timely == nil) {
	case alreadyBurned:
		return release.Ticket{}, release.Refuse(release.ReasonNonceReplayed, "nonce was presented before")
	case full:
		return release.Ticket{}, &release.Error{
			Reason: release.ReasonOverloaded, Retry: 1,
			Err: fmt.Errorf("%d nonces presented within %v, no more are remembered", i.cfg.MaxHeld, i.burned.life),
		}
	}
	if timely != nil {
		return release.Ticket{}, timely
	}
	if !hmac.Equal(nonce[scopeAt:macAt], i.tag(scope)) {
		return release.Ticket{}, release.Refuse(release.ReasonNonceScope, "nonce was issued for another key or purpose")
	}
	// What this process issued can be in the log only through this process, which would
	// remember it; the append's transaction refuses it in any case.
	if !issued.After(i.opened) {
		if err := i.unspent(ctx, t.Hash); err != nil {
			return release.Ticket{}, err
		}
	}
	return t, nil
}

func (i *Issuer) timely(issued, now time.Time) error {
	switch age := now.Sub(issued); {
	case age < -Skew:
		return release.Refuse(release.ReasonNonceUnknown, "nonce was issued %v in the future", -age)
	case age > i.cfg.TTL:
		return release.Refuse(release.ReasonNonceExpired, "nonce expired %v ago", age-i.cfg.TTL)
	}
	return nil
}

// unspent looks in the log.
func (i *Issuer) unspent(ctx context.Context, hash [32]byte) error {
	spent, err := i.cfg.Spent(ctx, hash)
	if err != nil {
		return release.Refuse(release.ReasonLogUnavailable, "spent nonces cannot be read: %w", err)
	}
	if spent {
		return release.Refuse(release.ReasonNonceReplayed, "nonce is in the log already")
	}
	return nil
}

func (i *Issuer) issued(nonce []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(nonce) & (1<<48 - 1)))
}

func (i *Issuer) tag(s release.Scope) []byte {
	h := sha256.New()
	for _, part := range []string{i.cfg.Deployment, s.Purpose, s.Key} {
		h.Write(lengthPrefixed(part))
	}
	return h.Sum(nil)[:macAt-scopeAt]
}

func (i *Issuer) mac(head []byte) []byte {
	h := hmac.New(sha256.New, i.cfg.Key)
	h.Write(lengthPrefixed(macDomain))
	h.Write(lengthPrefixed(i.cfg.Deployment))
	h.Write(head)
	return h.Sum(nil)[:Size-macAt]
}

func lengthPrefixed(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}
