package agent

import (
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/openskr/openskr/attest"
)

// Entries of a SEV-SNP host's certificate table that hold certificates, by GUID as its
// bytes stand there (GHCB 56421, table 9).
const (
	guidVCEK = "\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd"
	guidVLEK = "\xa8\x07\x4b\xc2\xa2\x5a\x48\x3e\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1"
	guidASK  = "\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82"
	guidARK  = "\xc0\xb4\x06\xa4\xa8\x03\x49\x52\x97\x43\x3f\xb6\x01\x4c\xd0\xae"

	guidSize   = 16
	tableEntry = guidSize + 8 // offset and length, 32 bits each
)

// chain gives the certificates of an endorsement, leaf first. Nothing here verifies
// them: who gets them does.
func chain(e attest.Endorsement) ([]*x509.Certificate, error) {
	switch e.Type {
	case attest.EndorsementCertificate:
		return certificates(e.Data)
	case attest.EndorsementCertificateTable:
		return table(e.Data)
	}
	return nil, fmt.Errorf("endorsement of type %.32q", e.Type)
}

// table reads the certificates of a table of the GHCB, 4.1.8.1.
func table(b []byte) (out []*x509.Certificate, err error) {
	found := map[string][]byte{}
	for pos := 0; ; pos += tableEntry {
		if len(b) < pos+tableEntry {
			return nil, errors.New("no empty entry ends the table")
		}
		entry := [tableEntry]byte(b[pos : pos+tableEntry])
		if entry == [tableEntry]byte{} {
			break
		}
		from := uint64(binary.LittleEndian.Uint32(entry[guidSize:]))
		to := from + uint64(binary.LittleEndian.Uint32(entry[guidSize+4:]))
		if to > uint64(len(b)) {
			return nil, errors.New("an entry lies beyond the table")
		}
		found[string(entry[:guidSize])] = b[from:to]
	}
	for _, guid := range []string{guidVCEK, guidVLEK, guidASK, guidARK} {
		if len(found[guid]) == 0 {
			continue
		}
		certs, err := certificates(found[guid])
		if err != nil {
			return nil, err
		}
		out = append(out, certs...)
	}
	return out, nil
}

// certificates reads PEM, or DER one behind the other.
func certificates(b []byte) ([]*x509.Certificate, error) {
	if len(b) > 0 && b[0] == 0x30 { // SEQUENCE; "0" begins no PEM
		return x509.ParseCertificates(b)
	}
	var der []byte
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		der = append(der, block.Bytes...)
	}
	if len(der) == 0 {
		return nil, errors.New("neither DER nor PEM")
	}
	return x509.ParseCertificates(der)
}
