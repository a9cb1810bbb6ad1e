// Package simulated makes Azure confidential VMs that are none: a software TPM with
// what the paravisor leaves in a vTPM, on simulated processors. The verifier's code is
// the same; only the roots are others.
package simulated

import (
	"cmp"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/snp"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/attest/tdx"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/internal/strict"
)

// Platform is the makers of the processors and all that they made. Two platforms of
// one seed are the same.
type Platform struct {
	SNP *snpsim.Platform // its Chip is the processor of SNP machines
	TDX *tdxsim.Platform // its TD is every TDX machine
	AKs *Authority       // certifies the AKs of all machines
}

// New makes the platform of a seed: the roots are those of the simulated processors
// of that seed.
func New(seed [32]byte) (*Platform, error) {
	s, err := snpsim.New(seed)
	if err != nil {
		return nil, err
	}
	x, err := tdxsim.New(seed)
	if err != nil {
		return nil, err
	}
	x.TD.Events = nil // the paravisor measures into the vTPM, and leaves the RTMRs zero
	a, err := newAuthority(seed)
	return &Platform{SNP: s, TDX: x, AKs: a}, err
}

// Config is that of a verifier that trusts this platform and nothing else.
func (p *Platform) Config() (azurecvm.Config, error) {
	s, err := snp.New(snp.Config{Type: attest.TypeSNP.Simulated(), Products: p.SNP.Products(), Endorser: p.SNP.Endorser()})
	if err != nil {
		return azurecvm.Config{}, err
	}
	x, err := tdx.New(tdx.Config{Type: attest.TypeTDX.Simulated(), Roots: p.TDX.Roots(), Endorser: p.TDX})
	if err != nil {
		return azurecvm.Config{}, err
	}
	return azurecvm.Config{
		Type: attest.TypeAzureCVM.Simulated(), SNP: s, TDX: x,
		AKRoots: []*x509.Certificate{p.AKs.Root}, AKIntermediates: []*x509.Certificate{p.AKs.Intermediate},
	}, nil
}

// Machine is what one machine finds in its vTPM and at its metadata service.
type Machine struct {
	HCL           []byte // NV index 0x01400001
	AKCertificate []byte // NV index 0x01C101D0, DER
	TDQuote       []byte // of a TDX machine

	vcek  []byte // DER, of an SNP machine
	chain string // PEM
}

// Report has the processor report that it runs a paravisor whose vTPM has this AK, and
// the AK certified.
func (p *Platform) Report(ak *rsa.PublicKey, o Options) (*Machine, error) {
	m, err := p.report(ak, o)
	if err != nil {
		return nil, err
	}
	c, err := p.AKs.certify(ak, cmp.Or(o.VMID, vmID(ak)))
	if err != nil {
		return nil, err
	}
	m.AKCertificate = c.Raw
	if o.AKCertificate != nil {
		m.AKCertificate = o.AKCertificate(c.Raw)
	}
	return m, nil
}

func (p *Platform) report(ak *rsa.PublicKey, o Options) (*Machine, error) {
	json, err := runtimeJSON(ak, o)
	if err != nil {
		return nil, err
	}
	h := format.HCL{Version: 1, Kind: o.Kind, Hash: format.HCLSHA256, Runtime: json}
	digest := sha256.Sum256(json)
	var reportData [64]byte
	copy(reportData[:], digest[:])
	if o.Kind == format.HCLTDX {
		return p.reportTDX(&h, reportData)
	}
	h.Kind = format.HCLSNP
	if h.Report, err = p.SNP.Report(reportData, p.SNP.Chip); err != nil {
		return nil, err
	}
	leaf, err := p.SNP.Leaf(p.SNP.Chip)
	if err != nil {
		return nil, err
	}
	m := &Machine{HCL: h.Encode(), vcek: leaf.Raw}
	for _, line := range p.SNP.Products() {
		if leaf.CheckSignatureFrom(line.ASK) == nil {
			m.chain = certificate(line.ASK.Raw) + certificate(line.ARK.Raw)
		}
	}
	return m, nil
}

func certificate(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// Endorsements are the certificates that evidence of the machine carries.
func (m *Machine) Endorsements() []attest.Endorsement {
	if m.vcek == nil {
		return nil
	}
	return []attest.Endorsement{{Type: attest.EndorsementCertificate, Data: m.vcek}}
}

// Metadata is the JSON that the metadata service of the machine answers a path with;
// ok says whether it has one.
func (m *Machine) Metadata(path string) (answer []byte, ok bool) {
	var v any
	switch {
	case path == "/metadata/THIM/amd/certification" && m.vcek != nil:
		v = map[string]string{"vcekCert": certificate(m.vcek), "certificateChain": m.chain, "tcbm": "DB18000000000004", "cacheControl": "86400"}
	case path == "/acc/tdquote" && m.TDQuote != nil:
		v = map[string]string{"quote": base64.RawURLEncoding.EncodeToString(m.TDQuote)}
	default:
		return nil, false
	}
	answer, err := strict.Marshal(v)
	return answer, err == nil
}

// Options are what a machine is made with. The zero value is a sound SNP machine.
type Options struct {
	Kind uint32 // format.HCLSNP (0 too) or format.HCLTDX
	VMID string // GUID, upper case; "": derived from the AK
	// Runtime changes the runtime JSON before the hardware signs its hash; nil: not.
	Runtime func(json []byte) []byte
	// AKCertificate changes that of the AK, DER, before it goes into NV; nothing: there is
	// none. Nil: not.
	AKCertificate func(der []byte) []byte
}

type runtime struct {
	Keys     []jwk  `json:"keys"`
	Config   config `json:"vm-configuration"`
	UserData string `json:"user-data"`
}

type jwk struct {
	KID string   `json:"kid"`
	Ops []string `json:"key_ops"`
	Kty string   `json:"kty"`
	E   string   `json:"e"`
	N   string   `json:"n"`
}

type config struct {
	Console    bool   `json:"console-enabled"`
	SecureBoot bool   `json:"secure-boot"`
	TPM        bool   `json:"tpm-enabled"`
	VMID       string `json:"vmUniqueId"`
}

// runtimeJSON is what the paravisor says, short enough for a software TPM's NV.
func runtimeJSON(ak *rsa.PublicKey, o Options) ([]byte, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	if o.VMID == "" {
		o.VMID = vmID(ak)
	}
	b, err := strict.Marshal(runtime{
		Keys:     []jwk{{"HCLAkPub", []string{"sign"}, "RSA", b64(big.NewInt(int64(ak.E)).Bytes()), b64(ak.N.Bytes())}},
		Config:   config{true, true, true, o.VMID},
		UserData: strings.Repeat("0", 128),
	})
	if err == nil && o.Runtime != nil {
		b = o.Runtime(b)
	}
	return b, err
}

// vmID is a GUID that belongs to the AK.
func vmID(ak *rsa.PublicKey) string {
	h := sha256.Sum256(ak.N.Bytes())
	s := strings.ToUpper(hex.EncodeToString(h[:16]))
	return fmt.Sprintf("%s-%s-%s-%s-%s", s[:8], s[8:12], s[12:16], s[16:20], s[20:])
}
