package endorser

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/openskr/openskr/attest"
)

const (
	timeout      = 3 * time.Second // a machine that boots waits for it
	maxRedirects = 3
	maxHeader    = 64 << 10 // issuer chains travel in headers
)

// New makes an Endorser. It refuses an address that is not HTTPS and a folder that
// cannot be made.
func New(cfg Config) (*Endorser, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("collateral: %w", err)
	}
	e := &Endorser{
		cfg: cfg, kinds: kinds(), client: newClient(&cfg), hosts: newBreaker(),
		chips: newBucket(cfg.ChipsPerMinute), held: newShelves(cfg.Chips),
		failed: map[attest.Need]failure{}, flights: map[attest.Need]*flight{},
	}
	_, _ = rand.Read(e.seed[:]) // never fails
	if cfg.Inspect != nil {
		e.inspect.Store(&cfg.Inspect)
	}
	if cfg.Dir != "" {
		if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
			return nil, fmt.Errorf("collateral: %w", err)
		}
		e.store = &store{dir: cfg.Dir, limit: int(cfg.MaxSize)}
	}
	return e, nil
}

// complete fills in defaults and refuses what cannot work.
func (c *Config) complete() error {
	if len(c.AMD) == 0 {
		c.AMD = []string{AMD}
	}
	if len(c.Intel) == 0 {
		c.Intel = []string{Intel}
	}
	if c.Timeout <= 0 {
		c.Timeout = timeout
	}
	if c.MaxSize <= 0 {
		c.MaxSize = 1 << 20
	}
	if c.Chips <= 0 {
		c.Chips = 4096
	}
	if c.ChipsPerMinute <= 0 {
		c.ChipsPerMinute = 30
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c.addresses()
}

func (c *Config) addresses() error {
	var errs []error
	clean := func(in []string) []string {
		out := make([]string, len(in))
		for i, a := range in {
			b, err := base(a, false)
			out[i], errs = b, append(errs, err)
		}
		return out
	}
	c.AMD, c.Intel = clean(c.AMD), clean(c.Intel)
	issuers := make(map[string]string, len(c.Issuers))
	for issuer, address := range c.Issuers {
		b, err := base(address, true)
		if len(issuer) > maxIDLength || strings.ContainsFunc(issuer, unicode.IsSpace) || issuer == "" {
			err = errors.Join(err, fmt.Errorf("issuer %.64q: want a name without spaces, up to %d bytes", issuer, maxIDLength))
		}
		issuers[issuer], errs = b, append(errs, err)
	}
	c.Issuers = issuers
	return errors.Join(errs...)
}

// newClient makes a client that goes where it is told: no proxy of the environment, no
// redirect to another host, no protocol below TLS 1.2, no compression that could blow
// up.
func newClient(cfg *Config) *http.Client {
	var transport http.RoundTripper = &http.Transport{
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.Roots},
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		MaxConnsPerHost:        8,
		IdleConnTimeout:        30 * time.Second,
	}
	if cfg.Client != nil && cfg.Client.Transport != nil {
		transport = cfg.Client.Transport
	}
	return &http.Client{Transport: transport, CheckRedirect: sameHost}
}

func sameHost(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if from := via[0].URL; r.URL.Scheme != from.Scheme || r.URL.Host != from.Host {
		return fmt.Errorf("redirect to %.100q: not followed to another host", (&url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host}).String())
	}
	return nil
}
