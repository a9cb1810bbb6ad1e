package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/openskr/openskr/attest/all"
	"github.com/openskr/openskr/internal/api"
	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/internal/endorser"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/internal/reference"
	"github.com/openskr/openskr/internal/seal"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/internal/telemetry"
	"github.com/openskr/openskr/policies"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/challenge"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/wrap"
)

// broker is one running broker: every adapter, built in order on an opened
// deployment. It is the composition root.
type broker struct {
	cfg        *Config
	dir        string
	logger     *slog.Logger
	level      *slog.LevelVar
	now        func() time.Time
	fault      func(step string) // tests stop a release at a named step
	store      *store.Store
	log        *audit.Log
	dep        *deployment.Deployment
	keys       *keyvault.Service
	access     *identity.Access
	answers    *apikeyvault.Signer
	engine     *policies.Engine
	references *reference.Service
	ids        *identity.Service
	metrics    *telemetry.Metrics
	endorser   *endorser.Endorser
	records    func(ctx context.Context, op string) *release.Record
	handler    http.Handler
	settings   atomic.Pointer[settings]
	draining   atomic.Bool
}

// brokerOptions are what serve knows besides the configuration.
type brokerOptions struct {
	Dir    string
	Config *Config
	Logger *slog.Logger
	Level  *slog.LevelVar
	Now    func() time.Time
	Fault  func(step string)
	// Tune, when set, changes the log's configuration: benchmarks compare.
	Tune func(*audit.Config)
	// Quiet opens the deployment for work on it, not to serve: neither start nor stop is recorded.
	Quiet bool
}

// openBroker opens the deployment in o.Dir and builds the broker on it.
func openBroker(ctx context.Context, o brokerOptions) (_ *broker, err error) {
	b := &broker{cfg: o.Config, dir: o.Dir, logger: o.Logger, level: o.Level, now: o.Now, fault: o.Fault}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	kek, err := rootKey(o)
	if err != nil {
		return nil, err
	}
	s, err := b.loadSettings(o.Config)
	if err != nil {
		return nil, err
	}
	b.settings.Store(s)
	if b.store, err = sqlite.Open(ctx, filepath.Join(o.Dir, deployment.Database), sqlite.Options{}); err != nil {
		return nil, err
	}
	if b.dep, err = deployment.Load(ctx, b.store, deployment.WithKEK(kek)); err != nil {
		return nil, err
	}
	lc := b.dep.LogConfig(b.store, o.Now, buildVersion(), b.digest)
	names := api.Names()
	names.Kinds, names.Outcomes = endorser.Kinds(), endorser.Outcomes()
	b.metrics = telemetry.NewMetrics(buildVersion(), names)
	if b.endorser, err = b.newEndorser(); err != nil {
		return nil, err
	}
	lc.Fault, lc.Observe, lc.Intruded = o.Fault, b.metrics.Commit, b.intruded
	b.records = api.Records(b.base)
	lc.System = func(op string) *release.Record { return b.records(context.Background(), op) }
	if o.Quiet {
		lc.System = nil
	}
	if o.Tune != nil {
		o.Tune(&lc)
	}
	if err := b.marking(&lc); err != nil {
		return nil, err
	}
	if b.log, err = audit.Open(ctx, lc); err != nil {
		return nil, err
	}
	if err := b.dep.Use(b.log); err != nil {
		return nil, err
	}
	if err := errors.Join(b.complete(ctx), b.openAccess(ctx)); err != nil {
		return nil, err
	}
	if err := errors.Join(b.enrolment(s), b.verification(s)); err != nil {
		return nil, err
	}
	b.use(s)
	if err := b.assemble(); err != nil {
		return nil, err
	}
	return b, b.started(ctx, o.Quiet)
}

// rootKey reads the file that the configuration names.
func rootKey(o brokerOptions) (seal.KEK, error) {
	if o.Config.KEK == "" {
		return nil, fmt.Errorf("no root key: name its file as kek in %s", filepath.Join(o.Dir, configName))
	}
	if err := seal.Outside(o.Config.KEK, o.Dir); err != nil {
		return nil, err
	}
	kek, err := seal.File(o.Config.KEK)
	if err != nil {
		return nil, fmt.Errorf("kek: %w", err)
	}
	return kek, nil
}

// started judges the clock and records that the broker runs, and with which
// configuration. A quiet one is only judged.
func (b *broker) started(ctx context.Context, quiet bool) error {
	if err := b.log.ClockCheck(b.now(), buildDate()); err != nil {
		b.logger.Error("releases are refused until the clock is accepted", "error", err.Error())
	}
	if quiet {
		return nil
	}
	if err := b.publishTrust(); err != nil {
		return err
	}
	rec := b.records(ctx, "broker/start")
	if b.log.Interrupted() {
		rec.Detail = map[string]string{"previous": "interrupted"}
	}
	if err := b.append(ctx, rec); err != nil {
		return err
	}
	return b.log.RaiseMark() // one that cannot be written is noticed while somebody looks
}

// append records an event of the broker itself.
func (b *broker) append(ctx context.Context, rec *release.Record) error {
	_, err := b.log.Change(ctx, rec, func(keyvault.Tx, int64) error { return nil })
	return err
}

func (b *broker) digest() receipt.Digest { return b.settings.Load().digest }

// base is what every record says of this broker.
func (b *broker) base() *release.Record {
	return &release.Record{V: 1, Deployment: b.dep.ID, Simulation: b.dep.Simulation, Config: b.digest(), Binary: buildVersion()}
}

// assemble builds vault, policy engine, verifier, broker and API.
func (b *broker) assemble() (err error) {
	argv, err := compilerArgv()
	if err != nil {
		return err
	}
	if b.engine, err = policies.New(policies.Config{Compiler: argv, ClaimsSchema: all.Schema()}); err != nil {
		return err
	}
	if b.references, err = reference.New(context.Background(), reference.Config{
		Objects: b.log.ObjectsFor(api.Right), Publish: b.engine.SetReferences, Record: b.records, Now: b.now, File: b.settings.Load().references,
	}); err != nil {
		return err
	}
	urls, gate := b.cfg.URLs(), api.NewGate(0, 0)
	if b.keys, err = keyvault.New(keyvault.Config{
		Store: b.log.Keys(), Root: b.dep.Root, Deployment: b.dep.ID, BaseURL: urls[0], Aliases: urls[1:], Suffixes: b.cfg.Suffixes(),
		Check: b.engine.Check, Ready: b.dep.Ready, Now: b.now, Clock: b.log.ClockDistrusted, Record: b.records, Log: gate.Log(b.log),
		Right: api.Right, Objects: b.log.ObjectsFor(api.Right), NearExpiry: b.nearExpiry, Spend: api.Spend,
	}); err != nil {
		return err
	}
	issuer, err := challenge.New(challenge.Config{
		Key: b.dep.NonceKey, Deployment: b.dep.ID, TTL: b.cfg.NonceTTL, Spent: b.store.NonceSpent, Now: b.now,
	})
	if err != nil {
		return err
	}
	core, err := b.core(issuer, gate)
	if err != nil {
		return err
	}
	return b.serveAPI(core, issuer, gate)
}

// core is the release broker on its ports.
func (b *broker) core(issuer release.Challenges, gate *api.Gate) (*release.Broker, error) {
	signer, err := jose.NewSigner(b.dep.ResponseKeys[0], receipt.ResponseType)
	if err != nil {
		return nil, err
	}
	recent := &wrap.Recent{}
	return release.New(release.Config{
		Deployment: b.dep.ID, Simulation: b.dep.Simulation, Binary: buildVersion(), Settings: b.digest,
		Anchors:  func() receipt.Digest { return b.settings.Load().anchors },
		ParseKID: b.keys.ParseKID, Challenges: issuer, Keys: b.keys, Machines: release.EnrolledMachines{Objects: b.log.Objects()},
		Verifier: currentVerifier{b}, Assertions: currentVerifier{b}, Policy: b.references.Policy(b.engine), Log: gate.Log(b.log),
		Wrapper: &wrap.Wrapper{Recent: recent}, Compatible: &wrap.Wrapper{AllowSHA1: true, Recent: recent}, Signer: signer, Now: b.now, Fault: b.fault,
	})
}

func (b *broker) serveAPI(core *release.Broker, issuer *challenge.Issuer, gate *api.Gate) error {
	tokens, err := jose.NewSigner(b.dep.TokenKeys[0], jose.TypeAccessToken)
	if err != nil {
		return err
	}
	accepted, err := jose.NewKeys(publicKeys(b.dep.TokenKeys)...)
	if err != nil {
		return err
	}
	attested, err := b.attestedTokens(core, accepted)
	if err != nil {
		return err
	}
	hosts := stripScheme(b.cfg.URLs())
	ids, err := identity.New(identity.Config{
		Deployment: b.dep.ID, Objects: b.log.Objects(), Signer: tokens, Keys: accepted, Resources: identity.Resources(b.cfg.resources()), Attested: attested.roles, Now: b.now,
		Own: b.cfg.resources(), KeySet: b.keySet, List: b.log.Objects().List,
	})
	if err != nil {
		return err
	}
	b.ids = ids
	if err := b.callers(b.settings.Load()); err != nil {
		return err
	}
	b.settings.Load().admit()
	if err := b.gauges(b.metrics, gate); err != nil {
		return err
	}
	proxies, err := b.cfg.proxies()
	if err != nil {
		return err
	}
	attestor, err := b.attestation()
	if err != nil {
		return err
	}
	if b.answers, err = apikeyvault.NewSigner(b.cfg.ReleaseSignature, b.dep.AnswerChain, b.now); err != nil {
		return err
	}
	b.handler, err = api.New(api.Config{
		Deployment: b.dep.ID, Hosts: hosts, Suffixes: b.cfg.Suffixes(), Resource: b.cfg.Resource, Broker: core, Answers: b.answers, Keys: b.keys, Issuer: issuer, Enroll: enroller{b}, Log: logPort{b.log},
		Tokens: attested.give, Attested: attested.roles, Objects: b.log.ObjectsFor(api.Right), References: b.references, Policies: explainer{b.engine, b.references}, Identity: ids, Access: b.access, Clock: clockPort{b}, Recovery: b.dep, Attestation: attestor,
		Record: b.records, Warnings: b.warnings, Gate: gate, Rate: rateOf(b.cfg.RequestsPerSecond), Metrics: b.metrics,
		Logger: b.logger, PageKey: [32]byte(b.dep.PageKey), Now: b.now, PublicLog: b.cfg.PublicLog,
		Throttle: b.cfg.Throttle, TrustedProxies: proxies,
	})
	return err
}

// warnings is what /readyz says: words an operator should know, or why nothing
// can be released.
func (b *broker) warnings(ctx context.Context) ([]string, error) {
	if b.draining.Load() {
		return nil, errors.New("shutting down")
	}
	if err := b.store.Ping(ctx); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := b.log.Trouble(); err != nil {
		return nil, err
	}
	if err := b.log.ClockDistrusted(); err != nil {
		return nil, err
	}
	var out []string
	if b.settings.Load().config.OpenEnrolment {
		out = append(out, "open_enrolment")
	}
	if b.dep.Simulation {
		out = append(out, "simulation")
	}
	if b.dep.Ready(ctx) != nil {
		out = append(out, "recovery_not_drilled")
	}
	if _, lasted := b.log.MarkLag(); lasted > markWarn {
		out = append(out, "high_water_behind")
	}
	return out, nil
}

// close stops the log and closes the store, in this order; it is safe on a
// broker that was not fully opened.
func (b *broker) close() error {
	if b.keys != nil {
		b.keys.Close()
	}
	var errs []error
	if b.log != nil {
		errs = append(errs, b.log.Close())
	}
	if b.store != nil {
		_, err := b.store.Checkpoint(context.Background(), true)
		errs = append(errs, err, b.store.Close())
	}
	return errors.Join(errs...)
}
