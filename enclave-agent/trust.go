package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release/receipt"
)

// MaxTrust bounds agent.json in bytes.
const MaxTrust = 256 << 10

// ErrConfig says that agent.json, a key URL or an option is unusable.
var ErrConfig = errors.New("configuration")

// ReadTrust reads agent.json. Errors wrap [ErrConfig].
func ReadTrust(path string) (*receipt.Trust, error) {
	b, err := ReadBounded(path, MaxTrust)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; agent.json is made by `openskr init`, another path is given with --config", ErrConfig, err)
	}
	return ParseTrust(b)
}

// ParseTrust reads agent.json strictly and refuses what would trust anything
// beyond what it names: no broker but by HTTPS, no key but P-256, a pinned CA and
// a pinned log. Errors wrap [ErrConfig].
func ParseTrust(b []byte) (*receipt.Trust, error) {
	var t receipt.Trust
	err := strict.Unmarshal(b, MaxTrust, &t)
	if err == nil {
		err = checkTrust(&t)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: agent.json: %w", ErrConfig, err)
	}
	return &t, nil
}

func checkTrust(t *receipt.Trust) error {
	if t.V != 1 {
		return fmt.Errorf("version %d, this program knows 1", t.V)
	}
	if len(t.URLs) == 0 || len(t.URLs) > 16 || t.Deployment == "" || t.Log.Origin == "" || len(t.Log.VKeys) == 0 || len(t.ResponseKeys) == 0 {
		return errors.New("urls (at most 16), deployment, response_keys, log.origin and log.vkeys are all required")
	}
	for _, s := range t.URLs {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
			return fmt.Errorf("broker %q: want https://host[:port]", s)
		}
	}
	for _, s := range t.VaultSuffixes {
		if !isVaultHost(s) {
			return fmt.Errorf("vault suffix %.256q: want NAME or NAME:PORT", s)
		}
	}
	for _, k := range t.Log.VKeys {
		if _, err := note.NewVerifier(k); err != nil {
			return fmt.Errorf("log key: %w", err)
		}
	}
	if _, err := responseKeys(t); err != nil {
		return err
	}
	_, err := roots(t)
	return err
}

func responseKeys(t *receipt.Trust) ([]*ecdsa.PublicKey, error) {
	var out []*ecdsa.PublicKey
	for _, der := range t.ResponseKeys {
		k, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return nil, fmt.Errorf("response key: %w", err)
		}
		ec, ok := k.(*ecdsa.PublicKey)
		if !ok || ec.Curve != elliptic.P256() {
			return nil, errors.New("response key is not on P-256")
		}
		out = append(out, ec)
	}
	return out, nil
}

// roots are the CAs of the brokers' certificates, instead of the system's.
func roots(t *receipt.Trust) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for rest := []byte(t.CA); ; n++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		pool.AddCert(c)
	}
	if n == 0 {
		return nil, errors.New("ca: no certificate")
	}
	return pool, nil
}

// keyRef is a key URL taken apart: https://host/keys/name[/version].
type keyRef struct {
	url, host, name, version string
}

// checkVaultURL refuses what is not https://HOST[:PORT]. Errors wrap [ErrConfig].
func checkVaultURL(s string) error {
	host, ok := strings.CutPrefix(s, "https://")
	if u, err := url.Parse(s); !ok || err != nil || u.Host == "" || u.Host != host || u.User != nil {
		return fmt.Errorf("%w: vault %.256q: want https://HOST, without a path", ErrConfig, s)
	}
	return nil
}

// parseKeyURL reads a key URL in its one spelling. Errors wrap [ErrConfig].
func parseKeyURL(s string) (*keyRef, error) {
	bad := fmt.Errorf("%w: key %.256q: want https://host/keys/name or https://host/keys/name/version", ErrConfig, s)
	rest, ok := strings.CutPrefix(s, "https://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 3 || len(parts) > 4 || parts[1] != "keys" || !isKeyName(parts[2]) {
		return nil, bad
	}
	u, err := url.Parse(s)
	if err != nil || u.Host != parts[0] || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, bad
	}
	r := &keyRef{url: s, host: strings.ToLower(u.Host), name: parts[2]}
	if len(parts) == 4 {
		if r.version = parts[3]; !isVersion(r.version) {
			return nil, bad
		}
	}
	return r, nil
}

// SplitKeyURL takes the version off a key URL; version is "" when it has none. Errors
// wrap [ErrConfig].
func SplitKeyURL(s string) (key, version string, err error) {
	r, err := parseKeyURL(s)
	if err != nil {
		return "", "", err
	}
	return strings.TrimSuffix(r.url, "/"+r.version), r.version, nil
}

// ReadBounded reads at most one byte more than limit, so that what is too long shows.
func ReadBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}
