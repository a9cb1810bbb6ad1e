package simulated

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
)

// Chip is one processor and the guest on it. The zero value is a Milan that runs a
// guest no rule objects to.
type Chip struct {
	Name    string // tells chips of one platform apart
	Product string // "": Milan
	Version uint32 // of the report; 0: 3, Turin 5
	VLEK    bool   // signs with the key of a cloud
	TCB     *[8]byte
	// Report changes a report before it is signed. Offsets are those of the SEV-SNP ABI.
	Report func(raw []byte)
	// Certificate changes the leaf before it is signed.
	Certificate func(*x509.Certificate)
}

// CSP is the cloud of simulated VLEKs.
const CSP = "CN=simulated-cloud"

// Offsets of a report.
const (
	reportSize = snp.ReportSize
	offPolicy  = 0x08
	offSigned  = 0x2a0
)

func (c Chip) product() string {
	if c.Product == "" {
		return snp.Milan
	}
	return c.Product
}

func (c Chip) version() uint32 {
	switch {
	case c.Version != 0:
		return c.Version
	case c.Product == snp.Turin:
		return 5
	}
	return 3
}

// tcb is TCB_VERSION in the layout of the chip's product.
func (c Chip) tcb() [8]byte {
	switch {
	case c.TCB != nil:
		return *c.TCB
	case c.product() == snp.Turin:
		return [8]byte{1, 1, 1, 4, 0, 0, 0, 81}
	}
	return [8]byte{4, 0, 0, 0, 0, 0, 24, 219}
}

func (c Chip) hwid(p *Platform) ([]byte, error) {
	n := 64
	if c.product() == snp.Turin {
		n = 8
	}
	return p.derive("hwid/"+c.product()+"/"+c.Name, n)
}

// Report makes and signs a report of chip c over reportData.
func (p *Platform) Report(reportData [64]byte, c Chip) ([]byte, error) {
	l, ok := p.lines[c.product()]
	if !ok {
		return nil, fmt.Errorf("simulated SNP: no product %q", c.Product)
	}
	hwid, err := c.hwid(p)
	if err != nil {
		return nil, err
	}
	reportID, err := p.derive("report-id/"+c.Name, 32)
	if err != nil {
		return nil, err
	}
	measurement := sha512.Sum384([]byte("simulated guest"))
	r, tcb := make([]byte, reportSize), c.tcb()
	binary.LittleEndian.PutUint32(r, c.version())
	binary.LittleEndian.PutUint64(r[offPolicy:], 0x30000) // SMT allowed
	binary.LittleEndian.PutUint32(r[0x34:], 1)            // ECDSA P-384
	r[0x40] = 0x25                                        // SMT, ECC, alias check complete
	copy(r[0x50:], reportData[:])
	copy(r[0x90:], measurement[:])
	copy(r[0x140:], reportID)
	copy(r[0x160:], strings.Repeat("\xff", 32)) // no migration agent
	for _, off := range []int{0x38, 0x180, 0x1e0, 0x1f0} {
		copy(r[off:], tcb[:])
	}
	copy(r[0x1e8:], []byte{29, 55, 1, 0, 29, 55, 1, 0})
	if c.version() >= 3 {
		copy(r[0x188:], map[string][]byte{snp.Milan: {0x19, 1, 1}, snp.Genoa: {0x19, 0x11, 1}, snp.Turin: {0x1a, 2, 1}}[l.Name])
	}
	if c.VLEK {
		r[0x48] = 1 << 2
	} else {
		copy(r[0x1a0:], hwid)
	}
	if c.Report != nil {
		c.Report(r)
	}
	key, err := p.leafKey(c)
	if err != nil {
		return nil, err
	}
	return r, Sign(r, key)
}

// Sign puts a signature by key on a report.
func Sign(r []byte, key *ecdsa.PrivateKey) error {
	digest := sha512.Sum384(r[:offSigned])
	der, err := key.Sign(nil, digest[:], crypto.SHA384)
	if err != nil {
		return err
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return err
	}
	for i, n := range []*big.Int{sig.R, sig.S} {
		b := n.FillBytes(make([]byte, 72))
		slices.Reverse(b)
		copy(r[offSigned+72*i:], b)
	}
	return nil
}

func (p *Platform) leafKey(c Chip) (*ecdsa.PrivateKey, error) {
	if c.VLEK {
		return p.key("vlek/" + c.product())
	}
	return p.key(fmt.Sprintf("vcek/%s/%s/%x", c.product(), c.Name, c.tcb()))
}

// Leaf is the VCEK or VLEK of chip c.
func (p *Platform) Leaf(c Chip) (*x509.Certificate, error) {
	l, ok := p.lines[c.product()]
	if !ok {
		return nil, fmt.Errorf("simulated SNP: no product %q", c.Product)
	}
	key, err := p.leafKey(c)
	if err != nil {
		return nil, err
	}
	hwid, err := c.hwid(p)
	if err != nil {
		return nil, err
	}
	exts, err := extensions(c, hwid)
	if err != nil {
		return nil, err
	}
	name, issuer, by := "SEV-VCEK", l.ASK, l.ask
	if c.VLEK {
		name, issuer, by = "SEV-VLEK", l.ASVK, l.asvk
	}
	tmpl := &x509.Certificate{SerialNumber: p.serial(c), Subject: subject(name), NotBefore: From, NotAfter: To, ExtraExtensions: exts}
	if c.Certificate != nil {
		c.Certificate(tmpl)
	}
	return sign(tmpl, issuer, &key.PublicKey, by)
}

// Table is a host's certificate table (GHCB 4.1.8.1) that holds one leaf.
func Table(leaf *x509.Certificate) []byte {
	guid := "\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd"
	if leaf.Subject.CommonName == "SEV-VLEK" {
		guid = "\xa8\x07\x4b\xc2\xa2\x5a\x48\x3e\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1"
	}
	const header = 48 // the entry and the empty one behind it
	b := binary.LittleEndian.AppendUint32([]byte(guid), header)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(leaf.Raw)))
	return append(append(b, make([]byte, header-len(b))...), leaf.Raw...)
}

// serial is a number of the chip's own; AMD's are all zero.
func (p *Platform) serial(c Chip) *big.Int {
	b, err := p.derive("serial/"+c.product()+"/"+c.Name, 8)
	if err != nil {
		return big.NewInt(1)
	}
	b[0] |= 1
	return new(big.Int).SetBytes(b)
}

// extensions of a leaf below AMD's arc (KDS specification 57230, table 8).
func extensions(c Chip, hwid []byte) ([]pkix.Extension, error) {
	var out []pkix.Extension
	var failed error
	add := func(v any, params string, id ...int) {
		der, err := asn1.MarshalWithParams(v, params)
		if err != nil {
			failed = err
		}
		out = append(out, pkix.Extension{Id: append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, id...), Value: der})
	}
	t := c.tcb()
	add(0, "", 1)
	add(c.product(), "ia5", 2)
	bytesAt := []int{0, 1, 6, 2, 3, 4, 5, 7} // of components 3.1 to 3.8
	if c.product() == snp.Turin {
		bytesAt = []int{1, 2, 3, -1, 4, 5, 6, 7}
		add(int(t[0]), "", 3, 9)
	}
	for i, at := range bytesAt {
		if at >= 0 {
			add(int(t[at]), "", 3, i+1)
		}
	}
	if c.VLEK {
		add(CSP, "ia5", 5)
	} else {
		out = append(out, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 4}, Value: hwid})
	}
	return out, failed
}

// need is how the Key Distribution Service names the VCEK of chip c.
func (p *Platform) need(c Chip) attest.Need {
	hwid, err := c.hwid(p)
	if err != nil {
		return attest.Need{}
	}
	t := c.tcb()
	id := fmt.Sprintf("%s/%x?blSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d", c.product(), hwid, t[0], t[1], t[6], t[7])
	if c.product() == snp.Turin {
		id = fmt.Sprintf("%s/%x?fmcSPL=%02d&blSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d", c.product(), hwid, t[0], t[1], t[2], t[3], t[7])
	}
	return attest.Need{Kind: attest.NeedAMDVCEK, ID: id}
}

// CRL is the revocation list of id ("vcek/Milan"), issued at the full hour before at
// and due again after 30 days.
func (p *Platform) CRL(id string, at time.Time) ([]byte, error) {
	_, name, _ := strings.Cut(id, "/")
	l, ok := p.lines[name]
	if !ok {
		return nil, fmt.Errorf("simulated SNP: no revocation list %q", id)
	}
	issued := at.UTC().Truncate(time.Hour)
	tmpl := &x509.RevocationList{
		Number: big.NewInt(issued.Unix()), ThisUpdate: issued, NextUpdate: issued.Add(30 * 24 * time.Hour),
		SignatureAlgorithm: x509.ECDSAWithSHA384,
	}
	for _, serial := range p.Revoked {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: issued})
	}
	return x509.CreateRevocationList(nil, tmpl, l.ARK, l.ark)
}
