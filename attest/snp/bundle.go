package snp

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// Bounds of what comes as endorsements.
const (
	maxEndorsements = 8
	maxEndorsement  = 64 << 10 // bytes of one
	maxCerts        = 16       // in all
	maxCert         = 8 << 10  // DER bytes
	pageSize        = 4096

	pemType = "CERTIFICATE"
)

// bundle is the certificates that came with a report, sorted by what they could be.
type bundle struct {
	ends    []attest.Endorsement
	hash    [32]byte // of all of ends
	leaves  []*leaf
	issuers []*x509.Certificate // may be an ASK or ASVK newer than ours
	count   int
	failed  error // why a certificate was not taken as a leaf
}

// newBundle bounds endorsements, before anything reads them.
func newBundle(ends []attest.Endorsement) (*bundle, error) {
	if len(ends) > maxEndorsements {
		return nil, fmt.Errorf("%d endorsements, limit %d", len(ends), maxEndorsements)
	}
	var parts [][]byte
	for _, e := range ends {
		if len(e.Data) > maxEndorsement {
			return nil, fmt.Errorf("endorsement of %d bytes, limit %d", len(e.Data), maxEndorsement)
		}
		parts = append(parts, []byte(e.Type), e.Data)
	}
	return &bundle{ends: ends, hash: verified.Key(parts...)}, nil
}

// parse reads all endorsements. Roots are left aside: the verifier has its own.
func (b *bundle) parse() error {
	for _, e := range b.ends {
		blobs := [][]byte{e.Data}
		switch e.Type {
		case attest.EndorsementCertificate:
		case attest.EndorsementCertificateTable:
			var err error
			if blobs, err = parseTable(e.Data); err != nil {
				return fmt.Errorf("certificate table: %w", err)
			}
		default:
			return fmt.Errorf("endorsement of type %.32q: SNP evidence has none such", e.Type)
		}
		if err := b.read(blobs); err != nil {
			return err
		}
	}
	return nil
}

// read adds the certificates of one endorsement.
func (b *bundle) read(blobs [][]byte) error {
	seen := map[string]bool{}
	for _, blob := range blobs {
		certs, err := parseCertificates(blob)
		if err != nil {
			return err
		}
		for _, c := range certs {
			if b.count++; b.count > maxCerts {
				return fmt.Errorf("more than %d certificates", maxCerts)
			}
			if seen[string(c.Raw)] {
				return errors.New("a certificate comes twice")
			}
			seen[string(c.Raw)] = true
			b.sort(c)
		}
	}
	return nil
}

func (b *bundle) sort(c *x509.Certificate) {
	switch {
	case c.IsCA && bytes.Equal(c.RawSubject, c.RawIssuer):
	case c.IsCA:
		b.issuers = append(b.issuers, c)
	default:
		l, err := parseLeaf(c)
		if err != nil {
			b.failed = err
			return
		}
		b.leaves = append(b.leaves, l)
	}
}

// parseCertificates reads PEM, or DER one behind the other.
func parseCertificates(b []byte) ([]*x509.Certificate, error) {
	der, err := ders(b)
	if err != nil {
		return nil, err
	}
	if len(der) > maxCerts*maxCert {
		return nil, fmt.Errorf("certificates of %d bytes, limit %d", len(der), maxCerts*maxCert)
	}
	var certs []*x509.Certificate
	for len(der) > 0 {
		var one asn1.RawValue
		if der, err = asn1.Unmarshal(der, &one); err != nil {
			return nil, err
		}
		// A copy: a chain that is kept must not keep all that came beside it.
		c, err := x509.ParseCertificate(bytes.Clone(one.FullBytes))
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate")
	}
	return certs, nil
}

// ders turns PEM into DER and leaves DER as it is.
func ders(b []byte) ([]byte, error) {
	if len(b) > 0 && b[0] == 0x30 { // SEQUENCE; "0" begins no PEM
		return b, nil
	}
	var out []byte
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		if block.Type != pemType {
			return nil, fmt.Errorf("PEM of type %.32q, want %s", block.Type, pemType)
		}
		out, b = append(out, block.Bytes...), rest
	}
	if strings.TrimSpace(string(bytes.TrimRight(b, "\x00"))) != "" {
		return nil, errors.New("neither DER nor PEM")
	}
	return out, nil
}

// Entries of a certificate table that hold a signing key's certificate or its
// issuer's, by GUID as its bytes stand in the table (GHCB 56421, table 9).
const (
	guidVCEK = "\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd"
	guidVLEK = "\xa8\x07\x4b\xc2\xa2\x5a\x48\x3e\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1"
	guidASK  = "\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82" // and ASVK

	guidSize  = 16
	entrySize = guidSize + 8 // offset and length, 32 bits each
)

// parseTable gives the entries of a table that may hold certificates this verifier
// reads; a host may put others beside them. The table ends where its last entry does,
// or zeros fill it up to whole pages, as the host's buffer is.
func parseTable(b []byte) ([][]byte, error) {
	var out [][]byte
	end, seen, pos := 0, map[string]bool{}, 0
	type span struct{ from, to int }
	var spans []span
	for ; ; pos += entrySize {
		if len(b) < pos+entrySize {
			return nil, errors.New("no empty entry ends its header")
		}
		if zero(b[pos : pos+entrySize]) {
			break
		}
		if len(spans) == maxCerts {
			return nil, fmt.Errorf("more than %d entries", maxCerts)
		}
		guid := string(b[pos : pos+guidSize])
		from := uint64(binary.LittleEndian.Uint32(b[pos+guidSize:]))
		to := from + uint64(binary.LittleEndian.Uint32(b[pos+guidSize+4:]))
		if to > uint64(len(b)) || from == to || seen[guid] {
			return nil, fmt.Errorf("entry %d is empty, of a kind that was there, or beyond the table", len(spans))
		}
		seen[guid] = true
		spans = append(spans, span{int(from), int(to)})
		if end = max(end, int(to)); guid == guidVCEK || guid == guidVLEK || guid == guidASK {
			out = append(out, b[from:to])
		}
	}
	end = max(end, pos+entrySize)
	for _, s := range spans {
		if s.from < pos+entrySize {
			return nil, errors.New("an entry lies in the header")
		}
	}
	if tail := b[end:]; len(tail) > 0 && (len(b)%pageSize != 0 || !zero(tail)) {
		return nil, fmt.Errorf("%d bytes behind the last entry", len(tail))
	}
	return out, nil
}
