package endorser

import (
	"bytes"
	"context"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/openskr/openskr/attest"
)

const (
	maxFile  = 4 << 20 // bytes of one file
	maxFiles = 1 << 14 // of all folders
)

// errNotCollateral says that a file holds something else.
var errNotCollateral = errors.New("no collateral: want a document of AMD or Intel, DER, PEM or JSON")

//go:embed intel.pem
var intelPEM []byte

// Static is an [attest.Endorser] of documents from files. None of them was checked.
type Static map[attest.Need]*attest.Document

// Endorse implements [attest.Endorser].
func (s Static) Endorse(_ context.Context, need attest.Need) (*attest.Document, error) {
	if doc, ok := s[need]; ok {
		return doc, nil
	}
	return nil, fmt.Errorf("%w: %s %q is not among the files given", ErrMissing, need.Kind, need.ID)
}

// ReadCollateral is [Load] for those who only want to ask.
func ReadCollateral(paths []string) (attest.Endorser, error) {
	s, err := Load(paths)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Load reads documents from files and folders, told apart by content:
//   - files of an Endorser's own folder
//   - TCB info and QE identities as Intel's service sends them (JSON), issuer chains (PEM)
//     beside them in any file, found by the key that verifies
//   - CRLs of Intel and AMD, and VCEKs, in DER, PEM or hex; an AMD CRL counts as that of
//     VLEKs when its path says vlek, else of VCEKs
//   - collateral as dcap-qvl writes it (JSON with all documents of one platform)
//
// A file that is none of these is an error when it was named, and passed over in a
// folder. Of two issues of one document the later is taken.
func Load(paths []string) (Static, error) {
	c := collector{docs: map[attest.Need]*found{}}
	if _, err := c.add(intelPEM, "intel.pem"); err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := c.walk(path); err != nil {
			return nil, err
		}
	}
	if len(c.docs) == 0 {
		return nil, fmt.Errorf("%v: %w", paths, errNotCollateral)
	}
	return c.finish(), nil
}

// collector gathers documents, and certificates that may have signed them.
type collector struct {
	docs  map[attest.Need]*found
	certs []*x509.Certificate
	files int
}

// found is a document that says what it is.
type found struct {
	need   attest.Need
	doc    *attest.Document
	issued time.Time
	// signed says whether the key of c signed the document; nil where a document
	// travels without a chain.
	signed func(c *x509.Certificate) bool
}

func (c *collector) walk(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return c.readFile(path, true)
	}
	return filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return c.readFile(file, false)
	})
}

func (c *collector) readFile(path string, named bool) error {
	if c.files++; c.files > maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	known := false
	if len(b) <= maxFile {
		known, err = c.add(b, path)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case !known && named:
		return fmt.Errorf("%s: %w", path, errNotCollateral)
	}
	return nil
}

// add reads one file and says whether it held anything of use. An error means that it
// is of a known kind and broken.
func (c *collector) add(b []byte, path string) (known bool, err error) {
	trimmed := bytes.TrimSpace(b)
	switch {
	case bytes.HasPrefix(trimmed, []byte("{")):
		return c.addJSON(trimmed, path)
	case bytes.Contains(trimmed, []byte("-----BEGIN ")):
		return c.addPEM(trimmed, path), nil
	}
	return c.addDER(fromHex(b), path), nil
}

func (c *collector) addPEM(text []byte, path string) (known bool) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" || block.Type == "X509 CRL" {
			known = c.addDER(block.Bytes, path) || known
		}
	}
	return known
}

func (c *collector) addDER(der []byte, path string) (known bool) {
	if cert, err := x509.ParseCertificate(der); err == nil {
		if f := chipCert(cert); f != nil {
			c.keep(f)
		} else {
			c.certs = append(c.certs, cert)
		}
		return true
	}
	f := revocationList(der, path)
	if f == nil {
		return false
	}
	c.keep(f)
	return true
}

// keep takes f unless a later issue is there.
func (c *collector) keep(f *found) {
	if old := c.docs[f.need]; old == nil || old.issued.Before(f.issued) {
		c.docs[f.need] = f
	}
}

// finish gives every document the chain of whoever signed it.
func (c *collector) finish() Static {
	out := Static{}
	for need, f := range c.docs {
		if f.signed != nil && f.doc.Chain == nil {
			f.doc.Chain = c.chain(f)
		}
		out[need] = f.doc
	}
	return out
}

// chain finds the certificate whose key signed f, of several that which was valid when
// f was issued, and those above it.
func (c *collector) chain(f *found) []byte {
	var leaf *x509.Certificate
	for _, cert := range c.certs {
		if f.signed(cert) && (leaf == nil || !valid(leaf, f.issued)) {
			leaf = cert
		}
	}
	var out []byte
	for cert := leaf; cert != nil && len(out) < maxChain; cert = c.above(cert) {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}

func valid(c *x509.Certificate, at time.Time) bool {
	return !at.Before(c.NotBefore) && !at.After(c.NotAfter)
}

// above gives the certificate that signed cert; nil above a root.
func (c *collector) above(cert *x509.Certificate) *x509.Certificate {
	if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return nil
	}
	for _, up := range c.certs {
		if bytes.Equal(cert.RawIssuer, up.RawSubject) && cert.CheckSignatureFrom(up) == nil {
			return up
		}
	}
	return nil
}

// fromHex reads the spelling of a PCCS, which gives CRLs in hex.
func fromHex(b []byte) []byte {
	text := bytes.TrimSpace(b)
	out := make([]byte, hex.DecodedLen(len(text)))
	if n, err := hex.Decode(out, text); err == nil && n > 0 {
		return out
	}
	return b
}
