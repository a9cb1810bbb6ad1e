package main

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"math"
	"runtime/debug"
	"time"

	"golang.org/x/time/rate"

	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/api"
	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/endorser"
	"github.com/openskr/openskr/internal/reference"
	"github.com/openskr/openskr/internal/telemetry"
	"github.com/openskr/openskr/policies"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// The adapters between what the packages offer and what the API asks for.

// logPort is the log as the API reads it.
type logPort struct{ *audit.Log }

// Entries implements the API's log.
func (l logPort) Entries(ctx context.Context, start int64, limit int) ([][]byte, error) {
	list, err := l.Log.Entries(ctx, start, int64(limit))
	out := make([][]byte, len(list))
	for i, e := range list {
		out[i] = e.Leaf
	}
	return out, err
}

// Prove implements the API's log.
func (l logPort) Prove(ctx context.Context, index, size int64) ([][]byte, error) {
	r, err := l.Log.Prove(ctx, index, size)
	if err != nil {
		return nil, err
	}
	return r.Path, nil
}

// Input implements the API's log.
func (l logPort) Input(ctx context.Context, index int64) ([]byte, error) {
	return kept(l.Log.Input(ctx, index))
}

// Refusal implements the API's log.
func (l logPort) Refusal(ctx context.Context, index int64) ([]byte, error) {
	return kept(l.Log.Refusal(ctx, index))
}

// Policy implements the API's log.
func (l logPort) Policy(ctx context.Context, digest receipt.Digest) (*release.ReleasePolicy, error) {
	return kept(l.Log.Policy(ctx, digest))
}

func kept[T any](v T, err error) (T, error) {
	if errors.Is(err, keyvault.ErrNotFound) {
		err = release.Refuse(release.ReasonNotFound, "not kept")
	}
	return v, err
}

// Ring implements the API's log.
func (l logPort) Ring() any { return l.Log.Ring() }

// explainer is the policy engine as the API asks it.
type explainer struct {
	*policies.Engine
	references *reference.Service
}

// Explain implements the API's policies.
func (e explainer) Explain(ctx context.Context, p release.ReleasePolicy, input []byte) (any, error) {
	if err := e.references.Current(ctx); err != nil {
		return nil, err
	}
	return e.Engine.Explain(ctx, p, input)
}

// clockPort accepts a clock that was not believed.
type clockPort struct{ b *broker }

// Accept implements the API's clock.
func (c clockPort) Accept(ctx context.Context, rec *release.Record) error {
	_, err := c.b.log.AcceptClock(ctx, rec)
	return err
}

// enroller is enrolment with the roots of the present configuration.
type enroller struct{ b *broker }

// Begin implements the API's enrolment.
func (e enroller) Begin(ctx context.Context, req format.EnrollRequest) (*format.EnrollChallenge, error) {
	return e.b.settings.Load().enroll.Begin(ctx, req)
}

// Finish implements the API's enrolment.
func (e enroller) Finish(ctx context.Context, proof format.EnrollProof) (*format.EnrollResult, error) {
	return e.b.settings.Load().enroll.Finish(ctx, proof)
}

func publicKeys(list []*ecdsa.PrivateKey) []*ecdsa.PublicKey {
	out := make([]*ecdsa.PublicKey, len(list))
	for i, k := range list {
		out[i] = &k.PublicKey
	}
	return out
}

// rateOf allows bursts of two seconds.
func rateOf(perSecond int) api.Rate {
	return api.Rate{PerSecond: rate.Limit(perSecond), Burst: 2 * perSecond}
}

// nearExpiry tells the operator what a rotation policy says of a key version.
func (b *broker) nearExpiry(k *release.Key) {
	b.metrics.NearExpiry()
	b.logger.Warn("key expires soon", "key", k.KID, "expires", time.Unix(k.Attributes.Expires, 0).UTC().Format(time.RFC3339))
}

// intruded tells the operator of commits to the database that are not the broker's.
func (b *broker) intruded(commits int64) {
	b.logger.Error("another program wrote to the database, which is this broker's alone: docs/operations.md says what to do", "commits", commits)
}

// gauges registers what is read when /metrics is asked.
func (b *broker) gauges(m *telemetry.Metrics, gate *api.Gate) error {
	if err := m.Gauge("openskr_log_entries", "Entries under the signed checkpoint.", func() float64 { return float64(b.log.Size()) }); err != nil {
		return err
	}
	if err := m.Gauge("openskr_store_foreign_commits", "Commits to the database that were not this program's, since it started; alert above 0.",
		func() float64 { return float64(b.store.Foreign()) }); err != nil {
		return err
	}
	if err := b.markGauges(m); err != nil {
		return err
	}
	for _, kind := range endorser.Kinds() {
		if err := m.CollateralGauge("openskr_collateral_next_update_seconds",
			"Seconds until the first document of this kind proves nothing any more; alert long before 0. +Inf: none is held.",
			kind, func() float64 { return b.nextUpdate(kind) }); err != nil {
			return err
		}
	}
	return m.Gauge("openskr_queue_depth", "Requests running, at the log or waiting for a processor.", func() float64 { return float64(gate.Depth()) })
}

// nextUpdate is the time in seconds that the first document of a kind has left.
func (b *broker) nextUpdate(kind string) float64 {
	left := math.Inf(1)
	for _, e := range b.endorser.Snapshot() {
		if string(e.Need.Kind) == kind && !e.NextUpdate.IsZero() {
			left = min(left, e.NextUpdate.Sub(b.now()).Seconds())
		}
	}
	return left
}

// buildDate is the time of the commit this program was built from, or zero.
func buildDate() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, err := time.Parse(time.RFC3339, s.Value)
			if err == nil {
				return t
			}
		}
	}
	return time.Time{}
}
