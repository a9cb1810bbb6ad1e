package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/identity"
)

// OIDCIssuer is one entry of oidc_issuers.
type OIDCIssuer struct {
	Issuer     string        `yaml:"issuer" json:"issuer"`
	Audiences  []string      `yaml:"audiences" json:"audiences,omitempty"`
	JWKS       string        `yaml:"jwks" json:"jwks,omitempty"`
	Algorithms []string      `yaml:"algorithms" json:"algorithms,omitempty"`
	Claim      string        `yaml:"claim" json:"claim,omitempty"`
	MaxLife    time.Duration `yaml:"max_life" json:"max_life,omitempty"`
	Roles      []RoleMapping `yaml:"roles" json:"roles,omitempty"`
}

// RoleMapping is one entry of the roles of an OIDCIssuer.
type RoleMapping struct {
	Claim string `yaml:"claim" json:"claim"`
	Value string `yaml:"value" json:"value"`
	Role  string `yaml:"role" json:"role"`
	Scope string `yaml:"scope" json:"scope"`
}

// keys is where the key set of the issuer is: a file, or a URL.
func (i *OIDCIssuer) keys() (file, address string) { return keySource(i.Issuer, i.JWKS) }

// keySource is where jwks of an entry leads to, by discovery at the issuer when it is empty.
func keySource(issuer, jwks string) (file, address string) {
	switch {
	case jwks == "":
		return "", strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	case strings.HasPrefix(jwks, "https://"):
		return "", jwks
	default:
		return jwks, ""
	}
}

// issuerURLs are where the keys of issuers are, for those whose keys are in no file.
func (c *Config) issuerURLs() map[string]string {
	out := map[string]string{}
	for _, i := range c.TokenIssuers {
		if _, address := i.keys(); address != "" {
			out[i.Issuer] = address
		}
	}
	for _, i := range c.OIDCIssuers {
		if _, address := i.keys(); address != "" {
			out[i.Issuer] = address
		}
	}
	return out
}

// newIssuerURL says whether c has an issuer with a URL that old did not have.
func (c *Config) newIssuerURL(old *Config) bool {
	known := old.issuerURLs()
	for issuer, address := range c.issuerURLs() {
		if known[issuer] != address {
			return true
		}
	}
	return false
}

// newClientCA says whether c has roots of client certificates that the listener does
// not ask for yet.
func (c *Config) newClientCA(old *Config) bool {
	return slices.ContainsFunc(c.ClientCA, func(path string) bool { return !slices.Contains(old.ClientCA, path) })
}

// callersOf reads whom a configuration believes about callers.
func callersOf(c *Config) (t identity.Trust, err error) {
	for _, i := range c.OIDCIssuers {
		is := identity.Issuer{Issuer: i.Issuer, Audiences: i.Audiences, Algorithms: i.Algorithms, Claim: i.Claim, MaxLife: i.MaxLife}
		for _, m := range i.Roles {
			is.Roles = append(is.Roles, identity.Mapping{Claim: m.Claim, Value: m.Value, Role: m.Role, Scope: m.Scope})
		}
		if file, _ := i.keys(); file != "" {
			if is.JWKS, err = os.ReadFile(file); err != nil {
				return t, fmt.Errorf("oidc_issuers: %w", err)
			}
		}
		t.Issuers = append(t.Issuers, is)
	}
	if len(c.ClientCA) > 0 {
		if t.ClientCAs, err = certPool(c.ClientCA); err != nil {
			return t, fmt.Errorf("client_ca: %w", err)
		}
	}
	if t.ClientCRLs, err = revocationLists(c.ClientCRL); err != nil {
		return t, fmt.Errorf("client_crl: %w", err)
	}
	return t, nil
}

// callers prepares what s says about who may call. It counts once s is in use.
func (b *broker) callers(s *settings) (err error) {
	s.admit, err = b.ids.Prepare(s.callers)
	return err
}

// keySet is the published key set of an identity provider.
func (b *broker) keySet(ctx context.Context, issuer string) (set []byte, fetched time.Time, err error) {
	doc, err := b.endorser.Endorse(ctx, attest.Need{Kind: attest.NeedJWKS, ID: issuer})
	if err != nil {
		return nil, time.Time{}, err
	}
	return doc.Data, doc.Fetched, nil
}

// clientCertificates makes the listener ask for one where client_ca is set. Who it
// proves, and whether its root still counts, is judged at every request.
func clientCertificates(c *tls.Config, roots *x509.CertPool) *tls.Config {
	if roots != nil {
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, roots
	}
	return c
}

// checkIssuers refuses two entries that would read the keys of one issuer from two URLs.
func (c *Config) checkIssuers() error {
	known := (&Config{TokenIssuers: c.TokenIssuers}).issuerURLs()
	for _, i := range c.OIDCIssuers {
		_, address := i.keys()
		if old := known[i.Issuer]; old != "" && address != "" && old != address {
			return fmt.Errorf("oidc_issuers: %s has other keys in token_issuers", i.Issuer)
		}
	}
	if c.CollateralOffline && len(c.issuerURLs()) > 0 {
		return errors.New("token_issuers, oidc_issuers: with collateral_offline nobody fetches an issuer's keys: name a file as its jwks")
	}
	return nil
}
