package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/simulate"
)

// initFlags are what `openskr init` can be told.
type initFlags struct {
	data, kek, listen, credential, ekAllow, highWater string
	hosts, recipients, ekRoots                        []string
	simulation                                        bool
}

func newInitCmd(a *app) *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:   "init --data DIR",
		Short: "Make a deployment: its keys, its log, its first administrator",
		Long: `Make a deployment in DIR, which must not exist yet or be empty.

It makes the root key (KEK) outside of DIR, the deployment's own keys and
certificate authorities, an empty log with its first record, and the first
administrator. Nothing secret stays readable in DIR.

Recovery: the deployment key is encrypted to at least two recovery recipients
(age); any one of them opens it. With --recovery-recipient, twice or more, their
identities never touch this machine, and no key can be made before one of them
was drilled (openskr recovery drill). Without it, two identities are made,
printed once, and drilled here: store them apart, on paper or offline.

It writes, besides DIR:
  DIR/openskr.yaml    the configuration that serve reads
  DIR/agent.json      what an agent trusts; the only file an image needs
  the KEK             default DIR.kek; without it and a recovery identity all keys are lost
  the credential      default DIR.admin.json, the administrator's, mode 0600`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.init(cmd.Context(), f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.data, "data", "", "data `DIR` (required)")
	fl.StringVar(&f.kek, "kek", "", "root key `FILE`, outside DIR; made when it does not exist (default DIR.kek)")
	fl.StringVar(&f.listen, "listen", "", "`HOST:PORT` that serve listens on (default 127.0.0.1:"+defaultPort+"; with a --host that is not loopback 0.0.0.0 and its port)")
	fl.StringSliceVar(&f.hosts, "host", nil, "`NAME[:PORT]` under which clients reach the broker; may be repeated (default: of --listen)")
	fl.StringSliceVar(&f.recipients, "recovery-recipient", nil, "age recipient (`age1…`); give two or more")
	fl.StringSliceVar(&f.ekRoots, "ek-roots", nil, "PEM `FILE|DIR` of TPM manufacturers' CAs; may be repeated")
	fl.StringVar(&f.ekAllow, "ek-allow", "", "`FILE` of EK hashes whose machines are approved as they enrol")
	fl.StringVar(&f.highWater, "high-water", "", "new `FILE`, on another disk than DIR, for the high-water mark (openskr log accept --help)")
	fl.StringVar(&f.credential, "admin-credential", "", "`FILE` for the administrator's credential, outside DIR (default DIR.admin.json)")
	fl.BoolVar(&f.simulation, "simulation", false, "accept simulated evidence; cannot be changed later, and every record says so")
	return c
}

func (a *app) init(ctx context.Context, f initFlags) error {
	if f.data == "" {
		return usagef("init: --data is required")
	}
	if f.credential == "-" {
		return usagef("init: --admin-credential: want a file; what is in it is printed, too")
	}
	dir, err := filepath.Abs(f.data)
	if err != nil {
		return err
	}
	if f.kek == "" {
		f.kek = dir + ".kek"
	}
	if f.credential == "" {
		f.credential = dir + ".admin.json"
	}
	cfg, err := f.config()
	if err != nil {
		return usagef("init: %w", err)
	}
	if err := errors.Join(outside(f.credential, dir), f.newMark(cfg, dir)); err != nil {
		return usagef("init: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(f.kek), 0o700); err != nil {
		return err
	}
	res, err := deployment.Init(ctx, deployment.Options{
		Dir: dir, KEKPath: f.kek, Simulation: f.simulation, Hosts: stripScheme(cfg.URLs()), RecoveryRecipients: f.recipients,
		Principal: newAdministrator, Binary: buildVersion(), Now: time.Now,
		Finish: func(tmp string, r *deployment.Result) error {
			r.Trust.VaultSuffixes = cfg.Suffixes()
			trust, err := json.MarshalIndent(r.Trust, "", "  ")
			if err != nil {
				return err
			}
			cred, err := json.MarshalIndent(credential{Broker: cfg.URLs()[0], ClientID: r.AdminID, ClientSecret: r.AdminSecret, CA: r.Trust.CA}, "", "  ")
			if err != nil {
				return err
			}
			if f.simulation {
				if err := simulate.NewSeed(filepath.Join(tmp, simulate.SeedFile)); err != nil {
					return err
				}
			}
			if cfg.HighWater != "" {
				if err := audit.WriteMark(cfg.HighWater, r.Checkpoint); err != nil {
					return err
				}
			}
			return errors.Join(cfg.write(tmp, "init"), os.WriteFile(filepath.Join(tmp, agentFile), append(trust, '\n'), 0o644), a.output(f.credential, append(cred, '\n')))
		},
	})
	if err != nil {
		return err
	}
	return a.tellInit(dir, f, cfg, res)
}

const agentFile = "agent.json"

func (f *initFlags) config() (*Config, error) {
	c := &Config{Listen: f.listen, Hosts: f.hosts, KEK: f.kek, HighWater: f.highWater, EKAllow: f.ekAllow, EKRoots: f.ekRoots}
	for _, p := range append([]*string{&c.KEK, &c.HighWater, &c.EKAllow}, pointers(c.EKRoots)...) {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, err
		}
		*p = abs
	}
	if c.Listen == "" {
		c.Listen = listenFor(c.Hosts)
	}
	if _, port, err := net.SplitHostPort(c.Listen); err == nil && port == "0" {
		return nil, errors.New("listen: name a port, clients' key URLs carry it")
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	if _, err := certPool(c.EKRoots); err != nil {
		return nil, fmt.Errorf("ek_roots: %w", err)
	}
	_, err := hashList(c.EKAllow)
	return c, err
}

// newMark refuses a high-water mark in dir or over an existing file.
func (f *initFlags) newMark(cfg *Config, dir string) error {
	if cfg.HighWater == "" {
		return nil
	}
	if _, err := os.Lstat(cfg.HighWater); err == nil {
		return fmt.Errorf("--high-water %s exists: it may be that of another deployment", f.highWater)
	}
	return deployment.MarkOutside(cfg.HighWater, dir)
}

func pointers(list []string) []*string {
	out := make([]*string, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

func newAdministrator(now time.Time) (*deployment.Administrator, error) {
	p, secret, roles, err := identity.NewAdministrator(now)
	if err != nil {
		return nil, err
	}
	admin := &deployment.Administrator{ID: p.ID, Secret: secret}
	if admin.Principal, err = p.Encode(); err != nil {
		return nil, err
	}
	admin.Roles, err = identity.EncodeAssignments(roles)
	return admin, err
}

func (a *app) tellInit(dir string, f initFlags, cfg *Config, r *deployment.Result) error {
	if a.json {
		return printJSON(a.stdout, map[string]any{
			"deployment": r.ID, "data": dir, "kek": f.kek, "kek_made": r.KEKMade, "credential": f.credential, "agent": filepath.Join(dir, agentFile),
			"url": cfg.URLs()[0], "client_id": r.AdminID, "client_secret": r.AdminSecret, "recovery_identities": r.RecoveryIdentities, "simulation": f.simulation, "high_water": cfg.HighWater,
		})
	}
	p := func(format string, args ...any) { fmt.Fprintf(a.stdout, format, args...) }
	p("Deployment %s at %s\n\n", r.ID, cfg.URLs()[0])
	p("  data        %s\n  root key    %s\n  agents      %s\n  credential  %s\n\n", dir, f.kek, filepath.Join(dir, agentFile), f.credential)
	if cfg.HighWater != "" {
		p("High-water mark of the log in %s: without it the broker does not start; it is no secret.\n\n", cfg.HighWater)
	}
	p("Administrator (printed once, also in the credential file):\n  client_id      %s\n  client_secret  %s\n\n", r.AdminID, r.AdminSecret)
	switch {
	case len(r.RecoveryIdentities) > 0:
		p("Recovery identities, printed once and kept nowhere. Either one recovers every key; store them apart, offline:\n")
		for _, id := range r.RecoveryIdentities {
			p("  %s\n", id)
		}
		p("\n")
	default:
		p("Before the first key: openskr recovery drill --identity FILE, with one of the recovery identities.\n\n")
	}
	if f.simulation {
		p("A SIMULATION, for ever: it believes simulated hardware, and every record says so.\n  openskr simulate snp --seed %s --socket PATH\n\n", filepath.Join(dir, simulate.SeedFile))
	}
	a.tellNext(f.data, cfg, f.credential)
	return nil
}

// tellNext says what remains to be done before the first release.
func (a *app) tellNext(dir string, cfg *Config, credential string) {
	p := func(format string, args ...any) { fmt.Fprintf(a.stdout, format, args...) }
	if host, _, err := net.SplitHostPort(cfg.Listen); err == nil && net.ParseIP(host).IsUnspecified() {
		p("It listens on every interface (%s), as clients elsewhere use its name; listen in %s narrows that.\n", cfg.Listen, filepath.Join(dir, configName))
	}
	if len(cfg.EKRoots) == 0 {
		p("No ek_roots: no TPM can enrol yet. Name the manufacturers' CA certificates as ek_roots in %s.\n", filepath.Join(dir, configName))
	}
	p("When the log's last record is more than ten minutes old as it starts, releases pause until: openskr clock accept\n")
	p("\nNext:\n  openskr serve --data %s\n  openskr login --credential %s\n", dir, credential)
}

// outside refuses a path below dir, which becomes part of backups.
func outside(path, dir string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(dir, abs); err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("%s lies inside %s: keep it elsewhere", path, dir)
	}
	return nil
}
