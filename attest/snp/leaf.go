package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// leaf is a VCEK or VLEK certificate with AMD's extensions read (KDS specification
// 57230, table 8). Until a chain is verified these are what a stranger claims.
type leaf struct {
	cert *x509.Certificate
	pub  *ecdsa.PublicKey
	key  SigningKey
	line string // product line
	tcb  levels
	hwid []byte // VCEK only; 64 bytes, Turin 8
	csp  string // VLEK only
}

// Lengths of HWID in bytes.
const (
	hwidSize      = 64
	hwidSizeTurin = 8
	maxCSP        = 256
)

// Subjects of leaves.
const (
	nameVCEK = "SEV-VCEK"
	nameVLEK = "SEV-VLEK"
)

// parseLeaf reads the certificate of a signing key and refuses one that is not in
// AMD's profile: nothing critical, every extension known, none left out.
func parseLeaf(cert *x509.Certificate) (*leaf, error) {
	l := &leaf{cert: cert}
	switch cert.Subject.CommonName {
	case nameVCEK:
		l.key = VCEK
	case nameVLEK:
		l.key = VLEK
	default:
		return nil, fmt.Errorf("subject %.32q is neither %s nor %s", cert.Subject.CommonName, nameVCEK, nameVLEK)
	}
	pub, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P384() {
		return nil, errors.New("want a key on P-384")
	}
	if cert.IsCA {
		return nil, errors.New("the certificate of a signing key is a CA's")
	}
	l.pub = pub
	return l, l.extensions()
}

// arc is AMD's, 1.3.6.1.4.1.3704.1.
var arc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}

// Extensions below arc.
const (
	extVersion = "1"
	extProduct = "2"
	extHWID    = "4"
	extCSP     = "5"
	extFMC     = "3.9"
)

// extensions reads those below arc. x509 has refused duplicates.
func (l *leaf) extensions() error {
	values := map[string][]byte{}
	for _, e := range l.cert.Extensions {
		if e.Critical {
			return fmt.Errorf("critical extension %v", e.Id)
		}
		if len(e.Id) > len(arc) && arc.Equal(e.Id[:len(arc)]) {
			values[e.Id[len(arc):].String()] = e.Value
		}
	}
	if v, err := integer(values, extVersion); err != nil || v > 1 {
		return fmt.Errorf("structure version %d: want 0 or 1: %w", v, err)
	}
	product, err := ia5(values, extProduct)
	if err != nil {
		return err
	}
	l.line, _, _ = strings.Cut(product, "-") // "Milan-B0" names the stepping too
	if err := l.levels(values); err != nil {
		return err
	}
	if err := l.holder(values); err != nil {
		return err
	}
	for id := range values {
		return fmt.Errorf("unknown extension %v.%s", arc, id)
	}
	return nil
}

// levels reads the TCB.
func (l *leaf) levels(values map[string][]byte) error {
	fields := []struct {
		id       string
		to       *byte
		optional bool
	}{
		{"3.1", &l.tcb.bootLoader, false},
		{"3.2", &l.tcb.tee, false},
		{"3.3", &l.tcb.snp, false},
		{"3.8", &l.tcb.microcode, false},
		{extFMC, &l.tcb.fmc, l.line != Turin},
		// Reserved by every product: Turin has no 3.4, Milan and Genoa have all four.
		{"3.4", nil, true},
		{"3.5", nil, true},
		{"3.6", nil, true},
		{"3.7", nil, true},
	}
	for _, f := range fields {
		if _, ok := values[f.id]; !ok && f.optional {
			continue
		}
		v, err := integer(values, f.id)
		switch {
		case err != nil:
			return err
		case f.id == extFMC && l.line != Turin:
			return fmt.Errorf("%s has no FMC", l.line)
		case f.to != nil:
			*f.to = v
		case v != 0:
			return fmt.Errorf("reserved TCB component %s is %d", f.id, v)
		}
	}
	return nil
}

// holder reads the chip that a VCEK is of, or the cloud that has a VLEK.
func (l *leaf) holder(values map[string][]byte) (err error) {
	if l.key == VLEK {
		if l.csp, err = ia5(values, extCSP); err == nil && (l.csp == "" || len(l.csp) > maxCSP) {
			return errors.New("VLEK of a nameless cloud")
		}
		return err
	}
	want := hwidSize
	if l.line == Turin {
		want = hwidSizeTurin
	}
	l.hwid = values[extHWID]
	delete(values, extHWID)
	if len(l.hwid) == want+2 { // an OCTET STRING in some certificates, bare in most
		l.hwid = bytes.TrimPrefix(l.hwid, []byte{0x04, byte(want)})
	}
	if len(l.hwid) != want || zero(l.hwid) {
		return fmt.Errorf("HWID of %d bytes, want %d, not all zero", len(l.hwid), want)
	}
	return nil
}

// ofChip says whether the certificate is of the chip that a report names.
func (l *leaf) ofChip(chipID []byte) bool {
	if l.key == VLEK {
		return zero(chipID)
	}
	return bytes.Equal(l.hwid, chipID[:len(l.hwid)]) && zero(chipID[len(l.hwid):])
}

// integer takes an INTEGER from 0 to 255.
func integer(values map[string][]byte, id string) (byte, error) {
	var v int
	rest, err := asn1.Unmarshal(values[id], &v)
	if err != nil || len(rest) > 0 || v < 0 || v > 255 {
		return 0, fmt.Errorf("extension %v.%s: want an integer from 0 to 255", arc, id)
	}
	delete(values, id)
	return byte(v), nil
}

// ia5 takes an IA5String of printable characters.
func ia5(values map[string][]byte, id string) (string, error) {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(values[id], &v)
	unprintable := func(b byte) bool { return b < ' ' || b > '~' }
	if err != nil || len(rest) > 0 || v.Class != asn1.ClassUniversal || v.Tag != asn1.TagIA5String || v.IsCompound || slices.ContainsFunc(v.Bytes, unprintable) {
		return "", fmt.Errorf("extension %v.%s: want a string", arc, id)
	}
	delete(values, id)
	return string(v.Bytes), nil
}
