package simulated

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/strict"
)

// Collateral is what Intel says of the platform. Its zero value says UpToDate, issued
// yesterday.
type Collateral struct {
	Platform, Module, QE string // TCB status; "": UpToDate
	PlatformSVN          uint8  // that the platform's level takes of component 1; 0: what the platform has
	ModuleSVN, QESVN     uint16 // that the level takes; 0: what is there
	Advisories           []string
	Number               int64     // tcbEvaluationDataNumber; 0: 17
	Issued               time.Time // zero: the day before Now's
	FMSPC                string    // of TCB info, in hex; "": the platform's
	PCEID                string    // of TCB info, in hex; "": 0000, the platform's
	QESigner             string    // MRSIGNER of the quoting enclave, in hex; "": the platform's
	DebugQE              bool      // quotes come from a quoting enclave in debug mode
	ForgedTCB, ForgedQE  bool      // signed by the PCK instead of the TCB signing key
	Revoked              []string  // of "pck", "ca", "signer"
}

// Validity of collateral from its issue on, as Intel's.
const Validity = 30 * 24 * time.Hour

// Endorse implements [attest.Endorser]. The same day gives the same bytes.
func (p *Platform) Endorse(_ context.Context, need attest.Need) (*attest.Document, error) {
	switch need {
	case attest.Need{Kind: attest.NeedIntelTCB, ID: "tdx/" + FMSPC()}:
		return p.signed("tcbInfo", p.tcbInfo("TDX"), p.Collateral.ForgedTCB)
	case attest.Need{Kind: attest.NeedIntelTCB, ID: "sgx/" + FMSPC()}:
		return p.signed("tcbInfo", p.tcbInfo("SGX"), p.Collateral.ForgedTCB)
	case attest.Need{Kind: attest.NeedIntelQE, ID: "tdx"}:
		return p.signed("enclaveIdentity", p.qeIdentity("TD_QE", 2), p.Collateral.ForgedQE)
	case attest.Need{Kind: attest.NeedIntelQE, ID: "sgx"}:
		return p.signed("enclaveIdentity", p.qeIdentity("QE", 1), p.Collateral.ForgedQE)
	case attest.Need{Kind: attest.NeedIntelPCKCRL, ID: "platform"}:
		return p.crl(p.ca, "pck")
	case attest.Need{Kind: attest.NeedIntelRootCRL}:
		return p.crl(p.root, "ca", "signer")
	}
	return nil, fmt.Errorf("simulated platform has no %s %s", need.Kind, need.ID)
}

var _ attest.Endorser = (*Platform)(nil)

func (p *Platform) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

func (p *Platform) issued() time.Time {
	if !p.Collateral.Issued.IsZero() {
		return p.Collateral.Issued
	}
	return p.now().UTC().Truncate(24 * time.Hour).Add(-24 * time.Hour)
}

// signed is {"<name>": v, "signature": hex}.
func (p *Platform) signed(name string, v map[string]any, forged bool) (*attest.Document, error) {
	number := p.Collateral.Number
	if number == 0 {
		number = 17
	}
	v["issueDate"], v["nextUpdate"] = p.issued().Format(time.RFC3339), p.issued().Add(Validity).Format(time.RFC3339)
	v["tcbEvaluationDataNumber"] = number
	inner, err := strict.Marshal(v)
	if err != nil {
		return nil, err
	}
	key := p.signer.key
	if forged {
		key = p.pck.key
	}
	signature, err := signRaw(key, inner)
	if err != nil {
		return nil, err
	}
	return &attest.Document{
		Data:  fmt.Appendf(nil, `{%q:%s,"signature":"%x"}`, name, inner, signature),
		Chain: p.pem(p.signer, p.root), Fetched: p.issued(),
	}, nil
}

func (p *Platform) tcbInfo(id string) map[string]any {
	c := &p.Collateral
	kind := c.FMSPC
	if kind == "" {
		kind = FMSPC()
	}
	pce := c.PCEID
	if pce == "" {
		pce = "0000"
	}
	here, nowhere := components(), [16]byte{}
	if c.PlatformSVN != 0 {
		here[0] = c.PlatformSVN
	}
	level := func(sgx, tdx [16]byte, pce int, g map[string]any) map[string]any {
		tcb := map[string]any{"sgxtcbcomponents": svns(sgx), "pcesvn": pce}
		if id == "TDX" {
			tcb["tdxtcbcomponents"] = svns(tdx)
		}
		g["tcb"] = tcb
		return g
	}
	tdx := p.TD.TCBSVN
	if tdx[1] > 0 {
		tdx[0], tdx[1] = 5, 0
	}
	v := map[string]any{
		"id": id, "version": 3, "fmspc": strings.ToUpper(kind), "pceId": pce, "tcbType": 0,
		"tcbLevels": []any{
			level(here, tdx, pceSVN, c.grade(c.Platform)),
			level(nowhere, nowhere, 0, map[string]any{"tcbDate": "2018-01-04T00:00:00Z", "tcbStatus": "OutOfDate"}),
		},
	}
	if id == "TDX" {
		module := map[string]any{"mrsigner": strings.Repeat("0", 96), "attributes": strings.Repeat("0", 16), "attributesMask": strings.Repeat("F", 16)}
		v["tdxModule"] = module
		v["tdxModuleIdentities"] = []any{map[string]any{
			"id": "TDX_01", "mrsigner": module["mrsigner"], "attributes": module["attributes"], "attributesMask": module["attributesMask"],
			"tcbLevels": c.levels(c.Module, c.ModuleSVN, uint16(p.TD.TCBSVN[0])),
		}}
	}
	return v
}

func svns(components [16]byte) []any {
	out := make([]any, len(components))
	for i, svn := range components {
		out[i] = map[string]any{"svn": svn}
	}
	return out
}

// grade is what a level says.
func (c *Collateral) grade(status string) map[string]any {
	if status == "" {
		status = attest.TCBUpToDate
	}
	g := map[string]any{"tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": status}
	if len(c.Advisories) > 0 {
		g["advisoryIDs"] = c.Advisories
	}
	return g
}

func (c *Collateral) levels(status string, svn, is uint16) []any {
	if svn == 0 {
		svn = is
	}
	g := c.grade(status)
	g["tcb"] = map[string]any{"isvsvn": svn}
	return []any{g}
}

func (p *Platform) qeIdentity(id string, product int) map[string]any {
	signer := p.Collateral.QESigner
	if signer == "" {
		signer = hex.EncodeToString(p.qeSigner)
	}
	return map[string]any{
		"id": id, "version": 2, "mrsigner": strings.ToUpper(signer), "isvprodid": product,
		"miscselect": "00000000", "miscselectMask": "FFFFFFFF",
		"attributes": "11000000000000000000000000000000", "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
		"tcbLevels": p.Collateral.levels(p.Collateral.QE, p.Collateral.QESVN, qeSVN),
	}
}

// crl is the revocation list of a CA, which may hold the certificates named.
func (p *Platform) crl(by identity, may ...string) (*attest.Document, error) {
	issued := p.issued()
	list := &x509.RevocationList{Number: big.NewInt(issued.Unix()), ThisUpdate: issued, NextUpdate: issued.Add(Validity), SignatureAlgorithm: x509.ECDSAWithSHA256}
	certs := map[string]identity{"pck": p.pck, "ca": p.ca, "signer": p.signer}
	for _, name := range p.Collateral.Revoked {
		if _, known := certs[name]; !known {
			return nil, errors.New("no certificate " + name)
		}
		if slices.Contains(may, name) {
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
				SerialNumber: certs[name].cert.SerialNumber, RevocationTime: issued,
			})
		}
	}
	der, err := x509.CreateRevocationList(nil, list, by.cert, by.key)
	if err != nil {
		return nil, err
	}
	return &attest.Document{Data: der, Chain: p.pem(by, p.root), Fetched: issued}, nil
}
