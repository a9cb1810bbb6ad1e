package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/openskr/openskr/release/receipt"
)

// Config is everything `openskr serve` can be told, and this file is its manual.
// `openskr init` writes DIR/openskr.yaml with the values it chose; flags of
// `serve` win over the file. Unknown or repeated members are refused: a misspelt
// security setting must not be ignored.
type Config struct {
	// Listen is the address of the TLS listener, HOST:PORT. Default 127.0.0.1:8443.
	Listen string `yaml:"listen" json:"listen"`
	// Hosts are the names under which clients reach this broker, each HOST or
	// HOST:PORT. Key URLs and the broker's certificate carry them; the first one is
	// used in URLs that the broker makes. Default: the listen address.
	Hosts []string `yaml:"hosts" json:"hosts"`
	// VaultSuffixes are what the names of vaults end with, each NAME or NAME:PORT:
	// vault kv1 is https://kv1.NAME:PORT. The certificate of the deployment's CA is
	// good for them. Default: those of Hosts that are names and not addresses, such with
	// a dot first. The first is used in URLs that the broker makes.
	VaultSuffixes []string `yaml:"vault_suffixes" json:"vault_suffixes,omitempty"`
	// Resource is what 401 answers tell clients of Key Vault to ask a token for.
	// Default: the host that the client used, without the name of the vault.
	Resource string `yaml:"resource" json:"resource,omitempty"`
	// ReleaseSignature is RS256 or ES256: what releases through the Key Vault door are
	// signed with. Default RS256, which is all that Microsoft's clients verify; ES256
	// costs a thirtieth.
	ReleaseSignature string `yaml:"release_signature" json:"release_signature,omitempty"`
	// KEK is the file with the root key, 32 bytes, made by init. Without it and
	// without a recovery identity every key is lost; with it and the database every
	// key is readable. It must lie outside the data folder.
	KEK string `yaml:"kek" json:"kek"`
	// HighWater is the file of the high-water mark, on another disk than the data folder:
	// the last checkpoint of the log. A store that was put back to an older state does
	// not start against it (rollback_detected). Default: none is kept.
	HighWater string `yaml:"high_water" json:"high_water,omitempty"`
	// TLSCert and TLSKey are PEM files of the operator's own certificate. Default:
	// a certificate of the deployment's CA, renewed by serve. Reloaded on SIGHUP.
	TLSCert string `yaml:"tls_cert" json:"tls_cert,omitempty"`
	TLSKey  string `yaml:"tls_key" json:"tls_key,omitempty"`
	// EKRoots are PEM files or folders of TPM manufacturers' CA certificates. A TPM
	// whose EK certificate does not chain to one of them cannot enrol. Trusted: who
	// can edit them decides what counts as a TPM. Reloaded on SIGHUP.
	EKRoots []string `yaml:"ek_roots" json:"ek_roots"`
	// EKAllow is a file of SHA-256 hashes, hex, one a line, of EK public keys whose
	// machines are approved as they enrol. Reloaded on SIGHUP.
	EKAllow string `yaml:"ek_allow" json:"ek_allow,omitempty"`
	// EKDeny is a file of the same form: machines whose EK it names are refused, and
	// their AK certificates count as revoked. Reloaded on SIGHUP.
	EKDeny string `yaml:"ek_deny" json:"ek_deny,omitempty"`
	// OpenEnrolment approves every genuine TPM by itself. Any TPM on earth can then
	// prove any PCR values it likes over its bus: for laboratories only. /readyz
	// warns while it is on, and the setting is recorded.
	OpenEnrolment bool `yaml:"open_enrolment" json:"open_enrolment"`
	// PlatformDeny is a file of hardware that is refused whatever it proves, one id a
	// line, in either case: SNP chip ids, TDX PPIDs or their hashes in hex, Nitro module ids, cloud
	// provider ids of VLEKs, vmUniqueIds of Azure, subjects of token issuers. Reloaded
	// on SIGHUP.
	PlatformDeny string `yaml:"platform_deny" json:"platform_deny,omitempty"`
	// SNPRoots, IntelRoots, NitroRoots and GoogleRoots are PEM files or folders of CA
	// certificates trusted besides those of AMD, Intel, AWS and Google, for private
	// clouds and test hardware. Of SNP, ARK and ASK (or ASVK) of a product together.
	// Trusted: who can edit them decides what counts as hardware. Reloaded on SIGHUP.
	SNPRoots    []string `yaml:"snp_roots" json:"snp_roots,omitempty"`
	IntelRoots  []string `yaml:"intel_roots" json:"intel_roots,omitempty"`
	NitroRoots  []string `yaml:"nitro_roots" json:"nitro_roots,omitempty"`
	GoogleRoots []string `yaml:"google_roots" json:"google_roots,omitempty"`
	// MicrosoftRoots are PEM files or folders of CA certificates that certify the AKs of
	// Azure's vTPMs. Those that sign themselves are trusted besides Microsoft's; the
	// others are no trust, but lead certificates to a root. Reloaded on SIGHUP.
	MicrosoftRoots []string `yaml:"microsoft_roots" json:"microsoft_roots,omitempty"`
	// SNPVMPLs are the privilege levels of SEV-SNP guests that may have keys. Default: 0
	// alone, the most privileged; others for guests below a service module (SVSM) that
	// the policy pins. Reloaded on SIGHUP.
	SNPVMPLs []uint32 `yaml:"snp_vmpls" json:"snp_vmpls,omitempty"`
	// TokenIssuers are the attestation services whose tokens count as evidence, each
	// with kind (maa, gcs, ita, ear), issuer (exactly as in its tokens), audience, jwks
	// (file of its keys, or the URL to get them from; default: by discovery at issuer)
	// and max_age (of a token, default 10m). Reloaded on SIGHUP, except URLs.
	TokenIssuers []TokenIssuer `yaml:"token_issuers" json:"token_issuers,omitempty"`
	// OIDCIssuers are identity providers whose tokens prove callers, each with issuer
	// (exactly as in its tokens), audiences (of access tokens for this broker; none:
	// for federated principals only), jwks (as in token_issuers), algorithms (default
	// RS256), claim (that names the caller; default sub, of Entra ID oid), max_life (of a token,
	// default 24h) and roles (claim, value, role, scope: what callers with that claim
	// may do). Trusted: an issuer can speak for each of its callers. docs/authentication.md
	// has examples. Reloaded on SIGHUP, except URLs.
	OIDCIssuers []OIDCIssuer `yaml:"oidc_issuers" json:"oidc_issuers,omitempty"`
	// ClientCA are PEM files or folders of CA certificates: a client certificate that
	// chains to one of them, and is registered for a principal, proves it without a
	// token. Reloaded on SIGHUP; the listener asks for new ones after a restart.
	ClientCA []string `yaml:"client_ca" json:"client_ca,omitempty"`
	// ClientCRL are files or folders of their revocation lists, in DER or PEM. With any,
	// every CA between a root and a client certificate needs a list whose next update is
	// not due, or the certificate proves nobody. Reloaded on SIGHUP.
	ClientCRL []string `yaml:"client_crl" json:"client_crl,omitempty"`
	// CollateralOffline never asks AMD, Intel or issuers for anything: certificates, CRLs
	// and TCB info come with `openskr collateral import`.
	CollateralOffline bool `yaml:"collateral_offline" json:"collateral_offline,omitempty"`
	// AMDKDS and IntelPCS are base URLs to ask, first to last, instead of the vendors'
	// own: a mirror, or a PCCS.
	AMDKDS   []string `yaml:"amd_kds" json:"amd_kds,omitempty"`
	IntelPCS []string `yaml:"intel_pcs" json:"intel_pcs,omitempty"`
	// References is a JSON file for data.references of release policies: an object
	// of sets, each {kind: {value: {"label": …}}}. Reloaded on SIGHUP.
	References string `yaml:"references" json:"references,omitempty"`
	// NonceTTL is how long a challenge is good. Default 2m, at most 10m.
	NonceTTL time.Duration `yaml:"nonce_ttl" json:"nonce_ttl"`
	// AKLife is the life of an AK certificate. Default and maximum 24h.
	AKLife time.Duration `yaml:"ak_life" json:"ak_life"`
	// PublicLog lets anybody read checkpoint, entries and proofs of the log without a
	// token. Records hold no secret, but they name keys and show activity.
	PublicLog bool `yaml:"public_log" json:"public_log"`
	// LogLevel is debug, info, warn or error. Reloaded on SIGHUP.
	LogLevel string `yaml:"log_level" json:"log_level"`
	// DrainTimeout bounds how long SIGTERM waits for requests in flight. Default 30s.
	DrainTimeout time.Duration `yaml:"drain_timeout" json:"drain_timeout"`
	// RequestsPerSecond bounds requests without an identity per source prefix (/24,
	// /48) and second, before any cryptography. Default 200. 0 keeps the default. At
	// least 5: one login or release takes several, and machines behind one address
	// share them.
	RequestsPerSecond int `yaml:"requests_per_second" json:"requests_per_second"`
	// Throttle is how many times the rates of Azure Key Vault one principal has in one
	// vault, and five times that in all: in 10 s 4000 uses, of which an operation on an
	// RSA key of 3072 bits counts as 4 and of 4096 bits as 8; 20 new keys; 300 new
	// secrets. More answers 429. Default 10.
	Throttle float64 `yaml:"throttle" json:"throttle"`
	// TrustedProxies are addresses or networks (10.0.0.0/24) of reverse proxies. Of a
	// request from one of them, the last address in X-Forwarded-For that is none of them
	// is the source. Default: none, and the header is not read.
	TrustedProxies []string `yaml:"trusted_proxies" json:"trusted_proxies,omitempty"`
	// Connections bounds the connections that are held. Beyond it the one that has been
	// idle, or slow with a request, for longest is closed. Default 4096, of 70 kB each.
	Connections int `yaml:"connections" json:"connections"`
	// ConnectionsPerSource is how many of them one source (/24, /48) may hold that is no
	// trusted proxy; beyond it its own are closed. Default: a quarter of connections.
	ConnectionsPerSource int `yaml:"connections_per_source" json:"connections_per_source,omitempty"`
}

// TokenIssuer is one entry of token_issuers.
type TokenIssuer struct {
	Kind     string        `yaml:"kind" json:"kind"`
	Issuer   string        `yaml:"issuer" json:"issuer"`
	Audience string        `yaml:"audience" json:"audience,omitempty"`
	JWKS     string        `yaml:"jwks" json:"jwks,omitempty"`
	MaxAge   time.Duration `yaml:"max_age" json:"max_age,omitempty"`
}

// keys is where the key set of the issuer is: a file, or a URL.
func (i *TokenIssuer) keys() (file, address string) { return keySource(i.Issuer, i.JWKS) }

const (
	configName  = "openskr.yaml"
	defaultPort = "8443"
)

// loadConfig reads path strictly; "" reads DIR/openskr.yaml when it is there.
func loadConfig(dir, path string) (*Config, error) {
	if path == "" {
		path = filepath.Join(dir, configName)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			c := &Config{}
			return c, c.complete()
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parseConfig(b []byte) (*Config, error) {
	c := &Config{}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(c); errors.Is(err, io.EOF) { // also a file that is being written
		return nil, errors.New("the file is empty")
	} else if err != nil {
		return nil, err
	}
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document")
	}
	return c, c.complete()
}

// complete fills in defaults and refuses values that cannot work.
func (c *Config) complete() error {
	def := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:" + defaultPort
	}
	def(&c.NonceTTL, 2*time.Minute)
	def(&c.AKLife, 24*time.Hour)
	def(&c.DrainTimeout, 30*time.Second)
	if c.LogLevel == "" {
		c.LogLevel = "info"
	}
	if c.RequestsPerSecond == 0 {
		c.RequestsPerSecond = 200
	}
	if _, err := c.level(); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w: want HOST:PORT", err)
	}
	if len(c.Hosts) == 0 {
		if host == "" || net.ParseIP(host).IsUnspecified() {
			return errors.New("hosts: name at least one host, since listen names none")
		}
		c.Hosts = []string{net.JoinHostPort(host, port)}
	}
	if err := c.names(); err != nil {
		return err
	}
	if err := c.limits(); err != nil {
		return err
	}
	switch {
	case slices.ContainsFunc(c.SNPVMPLs, func(l uint32) bool { return l > 3 }):
		return errors.New("snp_vmpls: levels are 0 to 3")
	case c.NonceTTL < 5*time.Second || c.NonceTTL > 10*time.Minute:
		return errors.New("nonce_ttl: want 5s to 10m")
	case c.AKLife < time.Minute || c.AKLife > 24*time.Hour:
		return errors.New("ak_life: want 1m to 24h")
	case c.DrainTimeout < 0 || c.DrainTimeout > 10*time.Minute:
		return errors.New("drain_timeout: want 0s to 10m")
	case c.RequestsPerSecond < 5:
		return errors.New("requests_per_second: want 5 or more (0: 200): one login or release takes several requests, and machines behind one address share them")
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return errors.New("tls_cert and tls_key go together")
	case len(c.ClientCRL) > 0 && len(c.ClientCA) == 0:
		return errors.New("client_crl: there is no client_ca whose certificates it could be about")
	}
	return c.checkIssuers()
}

func (c *Config) level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return 0, fmt.Errorf("log_level: %q is not debug, info, warn or error", c.LogLevel)
	}
	return l, nil
}

// listenFor is where a broker of these names listens when nobody said: on loopback
// as long as all names are, else on every interface, at the port of the names.
func listenFor(hosts []string) string {
	port, everywhere, loopback := "", "", "127.0.0.1"
	for _, h := range hosts {
		name, p, err := net.SplitHostPort(h)
		if err != nil {
			name, p = h, defaultPort
		}
		if port == "" {
			port = p
		}
		ip := net.ParseIP(strings.Trim(name, "[]"))
		if ip.IsLoopback() && len(hosts) == 1 {
			loopback = ip.String() // the one address that was asked for
		}
		if everywhere != "" || name == "localhost" || strings.HasSuffix(name, ".localhost") || ip.IsLoopback() {
			continue
		}
		if everywhere, port = "0.0.0.0", p; ip != nil && ip.To4() == nil {
			everywhere = "::"
		}
	}
	if port == "" {
		port = defaultPort
	}
	if everywhere == "" {
		everywhere = loopback
	}
	return net.JoinHostPort(everywhere, port)
}

// reached says whether a client that uses a URL of c, and no proxy, comes to the
// listener's port.
func (c *Config) reached() bool {
	_, port, _ := net.SplitHostPort(c.Listen)
	return slices.ContainsFunc(c.URLs(), func(s string) bool {
		u, err := url.Parse(s)
		return err == nil && (u.Port() == port || u.Port() == "" && port == "443")
	})
}

// Digest is the hash that every record carries: of the effective values and of
// the files they name, so that an exchanged root shows.
func (c *Config) Digest() (receipt.Digest, error) {
	type file struct {
		Path string
		Sum  receipt.Digest
	}
	type member struct{ name, path string }
	named := []member{{"ek_allow", c.EKAllow}, {"ek_deny", c.EKDeny}, {"references", c.References}, {"tls_cert", c.TLSCert}, {"platform_deny", c.PlatformDeny}}
	for name, paths := range map[string][]string{
		"ek_roots": c.EKRoots, "snp_roots": c.SNPRoots, "intel_roots": c.IntelRoots, "nitro_roots": c.NitroRoots, "google_roots": c.GoogleRoots,
		"microsoft_roots": c.MicrosoftRoots, "client_ca": c.ClientCA,
	} {
		for _, p := range paths {
			named = append(named, member{name, p})
		}
	}
	for _, i := range c.TokenIssuers {
		if file, _ := i.keys(); file != "" {
			named = append(named, member{"token_issuers", file})
		}
	}
	for _, i := range c.OIDCIssuers {
		if file, _ := i.keys(); file != "" {
			named = append(named, member{"oidc_issuers", file})
		}
	}
	slices.SortStableFunc(named, func(a, b member) int { return strings.Compare(a.name, b.name) })
	var files []file
	for _, m := range named {
		if m.path == "" {
			continue
		}
		if err := filepath.WalkDir(m.path, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			files = append(files, file{path, sha256.Sum256(b)})
			return err
		}); err != nil {
			return receipt.Digest{}, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	b, err := json.Marshal(struct {
		Config *Config
		Files  []file
	}{c, files})
	return sha256.Sum256(b), err
}

// write stores c as DIR/openskr.yaml for serve; by is the command that did.
func (c *Config) write(dir, by string) error {
	b, err := c.yaml()
	if err != nil {
		return err
	}
	head := "# Written by `openskr " + by + "`. Every member is documented in `openskr config check --help`.\n"
	return replaceFile(filepath.Join(dir, configName), append([]byte(head), b...), 0o600)
}
