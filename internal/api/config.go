// Package api is the HTTP server of the broker: one funnel that every request
// passes, in front of the doors internal/api/v1 (native) and
// internal/api/keyvault (Key Vault). Only this package imports echo, and of it
// only the router: bodies, addresses and errors never pass through it.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/openskr/openskr/internal/api/attestation"
	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/telemetry"
	"github.com/openskr/openskr/release"
)

// Config is what the API stands on; every field without a default is required.
type Config struct {
	Deployment string // id
	// Hosts are the authorities ("host" or "host:port", as clients write them in
	// URLs) under which this broker is reached. A request for another one is
	// refused: every URL in an answer is made of these and nothing else.
	Hosts []string
	// Suffixes are what the authorities of vaults end with: "{vault}.{suffix}" is one,
	// "vault.example:8443" a suffix. A host of Hosts itself is the default vault.
	Suffixes []string
	// Resource is the resource that 401 answers advertise. Default: made from the
	// host that the client used (identity.Parent).
	Resource string

	Broker     Broker
	Answers    apikeyvault.Answers // signs releases of the Key Vault door
	Tokens     v1.Tokens           // attested access tokens
	Attested   v1.AttestedRoles    // and who gets one
	Keys       Keys
	Issuer     v1.Issuer
	Enroll     v1.Enroll
	Log        Log
	Objects    release.Objects
	References v1.References
	Policies   v1.Policies
	Identity   *identity.Service
	Access     *identity.Access
	Clock      v1.Clock
	Recovery   v1.Recovery
	// Attestation answers /attest/… and publishes its keys.
	Attestation *attestation.Service
	// Record makes the base of a record from the call in ctx: Records(base). The
	// same function goes to keyvault.Config.Record.
	Record   func(ctx context.Context, op string) *release.Record
	Warnings func(ctx context.Context) ([]string, error)

	Gate *Gate // default: one more than the processors, 1024 waiting
	Rate Rate
	// TrustedProxies are the networks whose hosts may say in X-Forwarded-For for whom
	// they ask. Default: none.
	TrustedProxies []netip.Prefix
	// Throttle is how many times the rates of Key Vault (4000 uses of keys or secrets, 20
	// new keys, 300 new secrets in 10 s) one principal has in one vault. Default 10.
	Throttle  float64
	Metrics   *telemetry.Metrics
	Logger    *slog.Logger
	PageKey   [32]byte // MACs page tokens; replicas share it. Zero: random, tokens end with the process
	Now       func() time.Time
	PublicLog bool // checkpoint, entries and proofs are readable without identity
}

// Rate limits what one source (an IPv4 /24 or an IPv6 /48) may ask without identity.
type Rate struct {
	PerSecond rate.Limit // default 100; a request costs 1, a token or an enrolment more
	Burst     int        // default 400
}

// Keys is the vault. Implemented by release/keyvault.
type Keys interface {
	apikeyvault.Service
	v1.Vaults
	v1.FormatGrants
}

// Broker decides on releases through either door. Implemented by *release.Broker.
type Broker interface {
	v1.Releaser
	apikeyvault.Releaser
}

// Log is the transparency log. Implemented by internal/audit.
type Log interface {
	release.Log
	v1.Log
}

var (
	deploymentForm = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)
	hostForm       = regexp.MustCompile(`^(\[[0-9a-f:]+\]|[0-9a-z][0-9a-z.-]*)(:[0-9]{1,5})?$`)
)

// ValidHost tells whether s is what a broker or a suffix of vaults can be called: a name or
// an address, IPv6 in brackets, with or without a port, in lower case.
func ValidHost(s string) bool { return hostForm.MatchString(s) }

func (c *Config) complete() error {
	if c.Broker == nil || c.Answers == nil || c.Keys == nil || c.Tokens == nil || c.Attested == nil || c.Issuer == nil || c.Enroll == nil || c.Log == nil || c.Objects == nil || c.References == nil || c.Policies == nil ||
		c.Identity == nil || c.Access == nil || c.Clock == nil || c.Recovery == nil || c.Attestation == nil || c.Record == nil || c.Warnings == nil || c.Metrics == nil || c.Logger == nil || c.Now == nil {
		return errors.New("api: a part is missing")
	}
	if !deploymentForm.MatchString(c.Deployment) { // it is a path segment and stands in a header
		return fmt.Errorf("api: deployment id %.64q: letters, digits and hyphens only", c.Deployment)
	}
	if len(c.Hosts) == 0 {
		return errors.New("api: no host name; name those that clients use")
	}
	for i, h := range c.Hosts {
		if c.Hosts[i] = strings.ToLower(h); !hostForm.MatchString(c.Hosts[i]) {
			return fmt.Errorf("api: host %.128q: want name or name:port", h)
		}
	}
	for i, s := range c.Suffixes {
		if c.Suffixes[i] = strings.ToLower(s); !hostForm.MatchString(c.Suffixes[i]) {
			return fmt.Errorf("api: vault suffix %.128q: want name or name:port", s)
		}
	}
	if c.Gate == nil {
		c.Gate = NewGate(0, 0)
	}
	if c.Rate.PerSecond == 0 {
		c.Rate = Rate{PerSecond: 100, Burst: 400}
	}
	return nil
}

// New makes the handler of the whole API.
func New(c Config) (http.Handler, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	return newFunnel(c)
}
