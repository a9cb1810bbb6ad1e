package audit

import (
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/openskr/openskr/attest/verified"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Nonces are kept this long after they expire, in Unix milliseconds: twice the
// clock difference that is allowed between two brokers.
const (
	nonceGrace    = 2 * 5 * 60 * 1000
	purgeInterval = 60 * 1000
	purgeLimit    = 2000
)

// judge reads again, inside the transaction, the state that a decision rests on.
// With a why the entry becomes a denial; an error means that the database failed.
//
// A nonce is spent by its first presentation, whatever comes of it. What stands for a
// token's use is spent last, by a release alone: a refusal gives nothing away.
func (b *batch) judge(rec *release.Record, g *release.Guard) (why, err error) {
	onToken := g.Repeat != [32]byte{}
	if !onToken {
		if why, err = b.spend(rec, g); err != nil {
			return nil, err
		}
	}
	switch {
	case rec.Decision == receipt.Deny: // has its reason already
		return nil, nil
	case why != nil:
		return why, nil
	case b.distrusted():
		return b.untimely(), nil
	}
	for _, check := range []func(*release.Guard) error{b.key, b.objects, b.machine, b.granted, b.reset} {
		if why := check(g); why != nil {
			return why, b.tx.Err()
		}
	}
	switch {
	case onToken:
		return b.spend(rec, g)
	case g.Format:
		return b.burn(rec, g), b.tx.Err()
	}
	return nil, nil
}

// spend refuses a nonce or a token that was spent before, other than by the same
// request just now.
func (b *batch) spend(rec *release.Record, g *release.Guard) (why, err error) {
	if g.Nonce == [32]byte{} {
		return nil, nil
	}
	by := store.Use{Request: g.Repeat, Index: b.tree.Size(), At: b.time()}
	fresh, err := b.tx.SpendNonce(g.Nonce, g.NonceExpires.UnixMilli(), by)
	switch {
	case err != nil || fresh:
		return nil, err
	case g.Repeat == [32]byte{}:
		return release.Refuse(release.ReasonNonceReplayed, "the nonce was spent before"), nil
	}
	again, err := b.repeats(rec, g)
	if err != nil || again {
		return nil, err
	}
	return release.Refuse(release.ReasonTokenReplayed, "this token released this key version before"), nil
}

// repeats says whether what spent the nonce was the same request, just now, and notes
// which record that was.
func (b *batch) repeats(rec *release.Record, g *release.Guard) (bool, error) {
	first, err := b.tx.Spent(g.Nonce)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // dropped since
	}
	if err != nil {
		return false, err
	}
	age := b.time() - first.At
	if first.Request != g.Repeat || age < 0 || age > release.RepeatLife.Milliseconds() {
		return false, nil
	}
	rec.RetryOf = first.Index + 1
	return true, nil
}

func (b *batch) key(g *release.Guard) error {
	if g.Key == nil {
		return nil
	}
	now, err := b.keyState(g.Key)
	if errors.Is(err, store.ErrNotFound) || err == nil && now.Deleted {
		return release.Refuse(release.ReasonStateChanged, "key %s is gone", g.Key.KID)
	}
	if err != nil {
		return err
	}
	k := *g.Key
	k.Attributes = now.Attributes
	usable := k.Usable
	if g.Operation {
		usable = k.Valid
	}
	if err := usable(time.UnixMilli(b.time())); err != nil {
		return err
	}
	changed := func(what, read, found string) error {
		return release.Refuse(release.ReasonStateChanged, "%s of key %s changed since it was read", what, k.KID).Compared(read, found)
	}
	switch {
	case now.ObjectID != k.ObjectID:
		return changed("the object id", k.ObjectID, now.ObjectID)
	case !bytes.Equal(now.Policy, k.Policy.Digest[:]):
		return changed("the policy", hex.EncodeToString(k.Policy.Digest[:]), hex.EncodeToString(now.Policy))
	case now.Generation != k.Generation:
		return changed("the generation", strconv.FormatInt(k.Generation, 10), strconv.FormatInt(now.Generation, 10))
	case g.Latest && !now.Latest:
		return changed("the latest version", k.Ref.Version, "a newer one")
	}
	return nil
}

// keyState is present, of a key version.
func (b *batch) keyState(k *release.Key) (*store.KeyState, error) {
	mark, unwritten := b.tx.Mark(k.Ref.Vault, k.Collection, k.Ref.Name)
	key := verified.Key([]byte(k.Ref.Vault), []byte(k.Collection), []byte(k.Ref.Name), []byte(k.Ref.Version))
	if have, ok := b.l.states.Get(key, time.Time{}); ok && unwritten && have.mark == mark {
		return have.state, nil
	}
	now, err := b.tx.KeyState(k.Collection, k.Ref)
	if err == nil && unwritten {
		b.l.states.Put(key, keptState{mark, now}, time.Time{}, time.Time{})
	}
	return now, err
}

func (b *batch) objects(g *release.Guard) error { return b.l.unchanged(b.tx, g.Objects) }

// unchanged refuses when what gave the caller its right is not what was read.
func (l *Log) unchanged(tx *store.Tx, right []release.ObjectState) error {
	for _, was := range right {
		o, err := l.present(tx, was.Kind, was.Name)
		if err != nil {
			return err
		}
		generation := int64(0)
		if o != nil {
			generation = o.Generation
		}
		if generation != was.Generation {
			return release.Refuse(release.ReasonStateChanged, "%s %s changed since it was read", was.Kind, was.Name).
				Compared("generation "+strconv.FormatInt(was.Generation, 10), "generation "+strconv.FormatInt(generation, 10))
		}
	}
	return nil
}

func (b *batch) machine(g *release.Guard) error {
	if g.Machine == nil {
		return nil
	}
	o, err := b.l.present(b.tx, release.ObjectMachine, g.Machine.ID)
	switch {
	case err != nil:
		return err
	case o == nil && !g.Machine.Listed():
		return nil // hardware that is still unlisted
	case o == nil:
		return release.Refuse(release.ReasonStateChanged, "machine %s is gone", g.Machine.ID)
	}
	var e release.Enrolled
	if err := json.Unmarshal(o.Value, &e); err != nil {
		return release.Refuse(release.ReasonIntegrity, "machine %s: %w", o.Name, err)
	}
	m := release.Machine{ID: o.Name, Status: e.Status}
	if err := m.Standing(); err != nil {
		return err
	}
	if o.Generation != g.Machine.Epoch {
		return release.Refuse(release.ReasonStateChanged, "machine %s changed since it was read", o.Name).
			Compared("generation "+strconv.FormatInt(g.Machine.Epoch, 10), "generation "+strconv.FormatInt(o.Generation, 10))
	}
	return nil
}

// reset keeps the highest resetCount of a machine's TPM: a lower one is a TPM, or
// a virtual machine, that was put back to an older state. It comes last: only a
// release that is otherwise allowed raises it.
func (b *batch) reset(g *release.Guard) error {
	if g.Machine == nil {
		return nil
	}
	count := int64(g.ResetCount)
	seen, mac, err := b.tx.Reset(g.Machine.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	case !hmac.Equal(mac, b.l.resetMAC(g.Machine.ID, seen)):
		return release.Refuse(release.ReasonIntegrity, "reset count of machine %s was edited", g.Machine.ID)
	case count < seen:
		return release.Refuse(release.ReasonTPMRollback, "the TPM of machine %s, or the machine, was put back to an older state", g.Machine.ID).
			Compared(fmt.Sprintf("resetCount %d or more", seen), fmt.Sprintf("resetCount %d", count))
	case count == seen:
		return nil
	}
	return b.tx.PutReset(g.Machine.ID, count, b.l.resetMAC(g.Machine.ID, count))
}

// purge drops nonces that can no longer be presented, now and then. A step of the
// clock is no proof that they cannot: it is taken off what counts as passed, until
// the clock is accepted. Whatever is dropped, the store never takes it for new.
func (b *batch) purge() error {
	if b.last-b.l.purged < purgeInterval {
		return nil
	}
	b.l.purged = b.last
	passed := min(b.now, b.last-b.l.clock.skipped-b.jump(b.last))
	return b.tx.PurgeNonces(passed-nonceGrace, purgeLimit)
}
