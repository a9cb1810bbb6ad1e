package deployment

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// Step of a rotation. Between two steps the operator waits until every agent has
// the new agent.json, and every certificate and token of the old key has expired.
type Step string

// Steps, in their order.
const (
	StepAnnounce Step = "announce" // a new key is listed in agent.json; the old one signs
	StepActivate Step = "activate" // the other key of the two signs; again: back
	StepRetire   Step = "retire"   // the key that does not sign is forgotten
)

// Rotate takes a step in the rotation of one key and records it; rec is the base
// record of the door. It takes effect when the broker starts the next time. Of the
// log's two keys both sign between announcing and retiring, so that a checkpoint is
// good for whoever knows either.
func (d *Deployment) Rotate(ctx context.Context, rec *release.Record, kind Kind, step Step) error {
	d.rotating.Lock()
	defer d.rotating.Unlock()
	next := *d.ring
	if err := next.rotate(kind, step, d); err != nil {
		return release.Refuse(release.ReasonConflict, "%s key: %w", kind, err)
	}
	if _, err := d.replace(ctx, rec, &next, kind, step); err != nil {
		return err
	}
	d.ring = &next
	return nil
}

// Complete makes the keys that a store of an earlier version lacks, in a record each,
// and takes them into use. rec makes the base record.
func (d *Deployment) Complete(ctx context.Context, rec func() *release.Record) error {
	d.rotating.Lock()
	defer d.rotating.Unlock()
	if len(d.ring.Attestation) > 0 {
		return nil
	}
	next := *d.ring
	if err := next.add(KindAttestation, d.ID, d.Origin, d.now()); err != nil {
		return err
	}
	after, err := d.replace(ctx, rec(), &next, KindAttestation, "make")
	if err != nil {
		return err
	}
	d.ring, d.AttestationKeys = &next, after.AttestationKeys
	return nil
}

// replace records a step and stores the ring that it leads to. It gives the deployment
// as that ring has it.
func (d *Deployment) replace(ctx context.Context, rec *release.Record, next *ring, kind Kind, step Step) (*Deployment, error) {
	sealed, err := d.sealRing(next)
	if err != nil {
		return nil, err
	}
	after := &Deployment{Origin: d.Origin}
	if err := after.use(next); err != nil {
		return nil, err
	}
	if rec.Detail, err = after.fingerprints(); err != nil {
		return nil, err
	}
	rec.Operation, rec.Detail["kind"], rec.Detail["step"] = "deployment/rotate", string(kind), string(step)
	_, err = d.log.Change(ctx, rec, func(tx keyvault.Tx, _ int64) error { return tx.ReplaceSecret(secretKeys, sealed) })
	return after, err
}

// rotate changes the lists of r, which share nothing with those of d afterwards.
func (r *ring) rotate(kind Kind, step Step, d *Deployment) (err error) {
	switch kind {
	case KindLog:
		r.Log, err = turn(r.Log, step)
	case KindResponse:
		r.Response, err = turn(r.Response, step)
	case KindToken:
		r.Token, err = turn(r.Token, step)
	case KindAKCA:
		r.AKCA, err = turn(r.AKCA, step)
	case KindTLSCA:
		r.TLSCA, err = turn(r.TLSCA, step)
	case KindAttestation:
		r.Attestation, err = turn(r.Attestation, step)
	default:
		return errors.New("no key of this kind rotates")
	}
	if err == nil && step == StepAnnounce {
		err = r.add(kind, d.ID, d.Origin, d.now())
	}
	return err
}

// turn is a step on a list; announcing appends elsewhere.
func turn[T any](list []T, step Step) ([]T, error) {
	list = slices.Clone(list)
	switch {
	case step == StepAnnounce && len(list) == 1:
		return list, nil
	case step == StepActivate && len(list) == 2:
		list[0], list[1] = list[1], list[0]
		return list, nil
	case step == StepRetire && len(list) == 2:
		return list[:1], nil
	}
	return nil, fmt.Errorf("step %q does not fit: %d keys are listed", step, len(list))
}
