package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/internal/api"
	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/internal/schedule"
	"github.com/openskr/openskr/internal/telemetry"
)

func newServeCmd(a *app) *cobra.Command {
	var data, config, listen, cert, key, highWater string
	var acceptClock bool
	c := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Run the broker",
		Long: `Run the broker on the deployment in DIR until SIGTERM, which lets requests in
flight finish (drain_timeout, 30s). No configuration file is needed besides the
one that init wrote; flags win over it.

SIGHUP reads the configuration's files again (certificate, EK roots, allow and
deny lists, references, log level), records the new configuration's hash, and
keeps the old ones when any of them cannot be read. A changed kek, high_water, listen, hosts,
nonce_ttl, requests_per_second, throttle, trusted_proxies, connections,
connections_per_source, collateral_offline, amd_kds or intel_pcs waits for a
restart, and the log says so.

The log of the program is JSON, one object a line, on stderr.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" {
				return usagef("serve: --data is required")
			}
			if err := deployed(data); err != nil {
				return err
			}
			flags := func(c *Config) {
				if listen != "" {
					c.Listen = listen
				}
				if highWater != "" {
					c.HighWater = highWater
				}
				if cert != "" || key != "" {
					c.TLSCert, c.TLSKey = cert, key
				}
			}
			cfg, err := loadConfig(data, config)
			if err != nil {
				return unreadable(err)
			}
			flags(cfg)
			if err := cfg.complete(); err != nil {
				return usagef("%w", err)
			}
			return a.serve(cmd.Context(), serveOptions{dir: data, configPath: config, cfg: cfg, now: time.Now, flags: flags, acceptClock: acceptClock})
		},
	}
	c.Flags().StringVar(&data, "data", "", "data `DIR` of the deployment (required)")
	c.Flags().StringVar(&config, "config", "", "configuration `FILE` (default DIR/"+configName+")")
	c.Flags().StringVar(&listen, "listen", "", "`HOST:PORT` to listen on")
	c.Flags().StringVar(&cert, "tls-cert", "", "PEM `FILE` of your own certificate and its chain")
	c.Flags().StringVar(&key, "tls-key", "", "PEM `FILE` of its key")
	c.Flags().StringVar(&highWater, "high-water", "", "`FILE` of the high-water mark, on another disk (openskr log accept --help)")
	c.Flags().BoolVar(&acceptClock, "accept-clock", false, "believe the clock although the log says otherwise, and record it")
	return c
}

// serveOptions is one run of the broker.
type serveOptions struct {
	dir, configPath string
	cfg             *Config
	flags           func(*Config) // those of the command line, which win over a file; or nil
	acceptClock     bool
	now             func() time.Time
	fault           func(step string)   // tests stop there
	tune            func(*audit.Config) // benchmarks compare
}

// deployed refuses a folder without a deployment.
func deployed(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, deployment.Database)); err != nil {
		return unreadable(fmt.Errorf("no deployment in %s (%w): make one with `openskr init --data %s`", dir, err, dir))
	}
	return nil
}

func (a *app) serve(ctx context.Context, o serveOptions) (err error) {
	tuneMemory()
	level := &slog.LevelVar{}
	if l, err := o.cfg.level(); err == nil {
		level.Set(l)
	}
	logger := telemetry.NewLogger(a.stderr, level)
	b, err := openBroker(ctx, brokerOptions{Dir: o.dir, Config: o.cfg, Logger: logger, Level: level, Now: o.now, Fault: o.fault, Tune: o.tune})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if o.acceptClock && b.log.ClockDistrusted() != nil {
		if err := (clockPort{b}).Accept(ctx, b.records(ctx, "clock/accept")); err != nil {
			return err
		}
	}
	leaf, err := b.leaf(nil)
	if err != nil {
		return err
	}
	cert := &atomic.Pointer[tls.Certificate]{}
	cert.Store(leaf)
	server := api.Server(b.handler, clientCertificates(&tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.Load(), nil },
	}, b.settings.Load().callers.ClientCAs), logger)
	listener, err := b.listen(server)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(listener, "", "") }()
	if !o.cfg.reached() {
		logger.Warn("no host has the port that is listened on: right behind a proxy only", "listen", o.cfg.Listen, "hosts", strings.Join(o.cfg.Hosts, " "))
	}
	go b.answers.Warm() // the first release need not wait for a key of RSA
	logger.Info("ready", "url", o.cfg.URLs()[0], "listen", listener.Addr().String(), "deployment", b.dep.ID, "log_size", b.log.Size())
	return b.run(ctx, o, server, cert, failed)
}

// run waits for what ends or changes a running broker.
func (b *broker) run(ctx context.Context, o serveOptions, server *http.Server, cert *atomic.Pointer[tls.Certificate], failed <-chan error) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	renew := time.NewTicker(time.Hour)
	defer renew.Stop()
	refresh, stop := context.WithCancel(ctx)
	var refreshing sync.WaitGroup
	refreshing.Go(func() { b.endorser.Run(refresh) })
	refreshing.Go(func() { schedule.Run(refresh, b.logger, b.tasks()...) })
	defer func() { stop(); refreshing.Wait() }()
	for {
		select {
		case <-ctx.Done():
			return b.drain(server)
		case err := <-failed:
			return err
		case <-b.log.Failed():
			_ = server.Close()
			return errors.New("the disk lost a write that was acknowledged to us: check it, then start again")
		case <-renew.C:
			b.exchange(cert)
		case <-hup:
			if err := b.reload(ctx, o); err != nil {
				b.logger.Error("reload failed, the old configuration stays", "error", err.Error())
				continue
			}
			b.exchange(cert)
		}
	}
}

// exchange puts a new certificate in place when the old one is to be replaced.
func (b *broker) exchange(cert *atomic.Pointer[tls.Certificate]) {
	leaf, err := b.leaf(cert.Load())
	if err != nil {
		b.logger.Error("the certificate was not renewed", "error", err.Error())
		return
	}
	cert.Store(leaf)
}

// renewBefore is how long before its end our own TLS leaf is replaced.
const renewBefore = 72 * time.Hour

// leaf gives the operator's certificate, or the old leaf of ours while it is
// good, or a new one.
func (b *broker) leaf(old *tls.Certificate) (*tls.Certificate, error) {
	if own := b.settings.Load().cert; own != nil {
		return own, nil
	}
	if old != nil && old.Leaf != nil && old.Leaf.Issuer.CommonName == b.dep.TLSCAs[0].Cert.Subject.CommonName && old.Leaf.NotAfter.Sub(b.now()) > renewBefore {
		return old, nil
	}
	c, err := b.dep.TLSLeaf(b.cfg.certified(), b.now())
	return &c, err
}

// reload reads the configuration and every file it names again: all or nothing.
func (b *broker) reload(ctx context.Context, o serveOptions) error {
	fresh, err := loadConfig(o.dir, o.configPath)
	if err != nil {
		return err
	}
	if o.flags != nil {
		o.flags(fresh)
	}
	if names := fresh.needRestart(b.cfg); len(names) > 0 {
		b.logger.Warn("needs a restart: " + strings.Join(names, ", "))
	}
	fresh.keep(b.cfg)
	s, err := b.loadSettings(fresh)
	if err != nil {
		return err
	}
	if err := errors.Join(b.enrolment(s), b.verification(s), b.callers(s)); err != nil {
		return err
	}
	if err := b.references.CheckFile(s.references); err != nil {
		return err
	}
	// The record comes first: nothing may be decided under a configuration that the
	// log does not know.
	rec := b.records(ctx, "config/reload")
	rec.Config = s.digest
	if err := b.append(ctx, rec); err != nil {
		return err
	}
	if err := b.references.SetFile(s.references); err != nil {
		return err
	}
	if l, err := fresh.level(); err == nil {
		b.level.Set(l)
	}
	b.use(s)
	if err := b.publishTrust(); err != nil {
		return err
	}
	b.logger.Info("configuration reloaded", "config", s.digest.String())
	return nil
}

// drain stops taking requests and lets those in flight finish.
func (b *broker) drain(server *http.Server) error {
	b.draining.Store(true)
	b.logger.Info("draining", "timeout", b.cfg.DrainTimeout.String())
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.DrainTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("not every request finished in %v: %w", b.cfg.DrainTimeout, errors.Join(err, server.Close()))
	}
	b.logger.Info("stopped")
	return nil
}

// tuneMemory trades memory for fewer collections, within a limit, unless the
// environment says otherwise (docs/performance.md).
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(1 << 30)
	}
}

func stripScheme(urls []string) []string {
	out := make([]string, len(urls))
	for i, u := range urls {
		out[i] = strings.TrimPrefix(u, "https://")
	}
	return out
}
