package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"github.com/openskr/openskr/attest/all"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/internal/enroll"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release/receipt"
)

// settings is what SIGHUP loads again, whole or not at all.
type settings struct {
	config     *Config
	digest     receipt.Digest
	cert       *tls.Certificate // the operator's own, nil: of the deployment's CA
	references map[string]any
	deny       enroll.AllowList // hashes of EKs, by key or certificate: no enrolment, and their AK certificates count as revoked
	enroll     *enroll.Service
	platforms  platforms  // denied, platform_deny
	denials    string     // digest of platforms
	trust      all.Config // roots and issuers of the configuration
	verifiers  *all.Verifiers
	anchors    receipt.Digest // of everything the verifiers trust
	callers    identity.Trust // identity providers and roots of client certificates
	admit      func()         // puts callers in place
}

// maxReferences bounds the references file in bytes.
const maxReferences = 64 << 20

// loadSettings reads every file that c names.
func (b *broker) loadSettings(c *Config) (s *settings, err error) {
	s = &settings{config: c}
	if s.digest, err = c.Digest(); err != nil {
		return nil, err
	}
	if c.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("tls_cert: %w", err)
		}
		s.cert = &cert
	}
	if c.References != "" {
		text, err := os.ReadFile(c.References)
		if err != nil {
			return nil, err
		}
		if err := strict.Unmarshal(text, maxReferences, &s.references); err != nil {
			return nil, fmt.Errorf("references: %s: %w", c.References, err)
		}
	}
	if s.deny, err = hashList(c.EKDeny); err != nil {
		return nil, fmt.Errorf("ek_deny: %w", err)
	}
	if s.platforms, err = platformList(c.PlatformDeny); err != nil {
		return nil, fmt.Errorf("platform_deny: %w", err)
	}
	s.denials = s.platforms.digest()
	if s.trust, err = trustOf(c); err != nil {
		return nil, err
	}
	if s.callers, err = callersOf(c); err != nil {
		return nil, err
	}
	return s, nil
}

// enrolment builds the enrolment service of s, once the log is open.
func (b *broker) enrolment(s *settings) error {
	roots, err := certPool(s.config.EKRoots)
	if err != nil {
		return fmt.Errorf("ek_roots: %w", err)
	}
	allow, err := hashList(s.config.EKAllow)
	if err != nil {
		return fmt.Errorf("ek_allow: %w", err)
	}
	s.enroll, err = enroll.New(enroll.Config{
		EKRoots: roots, CA: b.dep.AKCAs[0].Cert, CAKey: b.dep.AKCAs[0].Key, Key: b.dep.EnrollKey, Pseudonym: b.dep.PseudonymKey,
		Objects: b.log.Objects(), Log: b.log, AllowList: allow.Allows, Denied: s.deniedEK,
		Open: s.config.OpenEnrolment, Deployment: b.dep.ID,
		Record: b.records, Now: b.now, Life: s.config.AKLife,
	})
	return err
}

// deniedEK says whether the operator's deny list names an EK, by the hash of its
// SubjectPublicKeyInfo or of its certificate.
func (s *settings) deniedEK(spki, cert [32]byte) bool {
	return s.deny.Allows(spki) || s.deny.Allows(cert)
}

// denied says whether the operator's deny list names an AK certificate or its EK.
func (s *settings) denied(c *x509.Certificate) bool {
	spki, cert, ok := tpm.CertifiedEK(c)
	return !ok || s.deniedEK(spki, cert) || s.deny.Allows(sha256.Sum256(c.Raw))
}

func hashList(path string) (enroll.AllowList, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// A list that is still being written must not count: a deny list cut short lets
	// machines back in. An empty one says so in a comment.
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return nil, fmt.Errorf("%s is empty or does not end with a line break: it may be half written", path)
	}
	return enroll.ParseAllowList(b)
}

// certPool reads PEM files and folders of them. A file without a certificate is
// an error: a trust list that is half read is not the one the operator wrote.
func certPool(paths []string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	return pool, eachFile(paths, func(path string, b []byte) error { return addPEM(pool, path, b) })
}

// revocationLists reads files, and the files in folders: of a list in DER, or of some in
// PEM. Folders without any are an error: a broker without lists asks for none, and who
// empties a folder to fill it anew would let everybody back in.
func revocationLists(paths []string) (out [][]byte, err error) {
	add := func(path string, der []byte) error {
		if err := identity.CheckCRL(der); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, der)
		return nil
	}
	err = eachFile(paths, func(path string, b []byte) (err error) {
		block, rest := pem.Decode(b)
		if block == nil {
			return add(path, b)
		}
		for ; block != nil && err == nil; block, rest = pem.Decode(rest) {
			if block.Type != "X509 CRL" {
				return fmt.Errorf("%s: a %s (PEM), want X509 CRL", path, block.Type)
			}
			err = add(path, block.Bytes)
		}
		return err
	})
	if err == nil && len(paths) > 0 && len(out) == 0 {
		err = fmt.Errorf("no revocation list in %s: put the lists there, or leave the setting away", strings.Join(paths, ", "))
	}
	return out, err
}

func addPEM(pool *x509.CertPool, path string, b []byte) error {
	n := 0
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return fmt.Errorf("%s: no certificate (PEM) in it", path)
	}
	return nil
}
