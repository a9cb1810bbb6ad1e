// Package azurecvm verifies Evidence of an Azure confidential VM, on SEV-SNP or TDX:
// a chain from the processor to what the machine measured of itself.
//
//	AMD or Intel root → report of the hardware → hash of the runtime JSON →
//	attestation key of the vTPM → quote over the runtime data, PCRs, event log
//
// The paravisor (HCL), which the hardware measured at launch, runs the vTPM and had
// the report made at boot; freshness comes from the quote alone. If one part fails,
// all fails. docs/claims.md has the claims.
package azurecvm

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/verified"
)

// Bounds of what a stranger may send, in bytes, checked before any parsing.
const (
	maxQuote  = 16 << 10
	maxClient = 16 << 10
	maxBody   = tpm.MaxEventLog*4/3 + 128<<10
)

// Hardware verifies the report or quote of the processor: a verifier of package snp or
// tdx. Appraise checks everything but the binding and gives the report data.
type Hardware interface {
	Appraise(ctx context.Context, raw []byte, ends []attest.Endorsement, at time.Time) (*attest.Result, []byte, *attest.Rejection)
	Anchors() [][]byte
}

// Config holds the trust of a Verifier, which is that of the verifiers it is made of.
type Config struct {
	Type attest.Type // "": attest.TypeAzureCVM
	// SNP and TDX verify the machine's processor, under roots of the same kind as Type:
	// the authority's own or simulated. One may be nil: such machines are refused.
	SNP, TDX Hardware
	// AKRoots and AKIntermediates verify the certificate of the AK, where evidence carries
	// one. No root: Microsoft's, pinned, with the pinned intermediates added to those
	// given; for a simulated type none, which refuses such evidence.
	AKRoots, AKIntermediates []*x509.Certificate
	// Denied is the deployment's own deny list by machine identity (attest.Identity.ID)
	// and by vmUniqueId (upper case). Nil: none. Chips are on the lists of SNP and TDX.
	Denied func(id string) bool
}

// Verifier implements [attest.Verifier] for [attest.TypeAzureCVM].
type Verifier struct {
	cfg   Config
	certs *verified.Cache[*tpm.ExternalAK]
}

var _ attest.Verifier = (*Verifier)(nil)

// New makes a Verifier. It refuses a configuration that trusts nothing.
func New(cfg Config) (*Verifier, error) {
	if cfg.Type == "" {
		cfg.Type = attest.TypeAzureCVM
	}
	base, simulated := cfg.Type.Base()
	if base != attest.TypeAzureCVM {
		return nil, errors.New("azure-cvm verifier: configured for another type of evidence")
	}
	if cfg.SNP == nil && cfg.TDX == nil {
		return nil, errors.New("azure-cvm verifier: no verifier of hardware given, so no evidence could pass")
	}
	if len(cfg.AKRoots) == 0 && !simulated {
		roots, intermediates, err := format.Microsoft()
		if err != nil {
			return nil, err
		}
		cfg.AKRoots, cfg.AKIntermediates = roots, append(intermediates, cfg.AKIntermediates...)
	}
	return &Verifier{cfg: cfg, certs: verified.NewCache[*tpm.ExternalAK](cacheSize)}, nil
}

// Anchors are the roots trusted, DER: the hardware's, then those of AK certificates.
func (v *Verifier) Anchors() [][]byte {
	var out [][]byte
	for _, h := range []Hardware{v.cfg.SNP, v.cfg.TDX} {
		if h != nil {
			out = append(out, h.Anchors()...)
		}
	}
	for _, c := range v.cfg.AKRoots {
		out = append(out, c.Raw)
	}
	return out
}

// Verify implements [attest.Verifier]. In this order, each step on what the one
// before proved:
//   - the HCL report has its one layout, and holds a report of the hardware
//   - that report, or for TDX the quote made of it, is genuine and not of a debug guest
//   - it was made at the privilege level of the paravisor
//   - its report data is the hash of the runtime JSON, which names the vTPM's AK
//   - the AK's certificate, where there is one, is for that AK and leads to a root
//   - the AK signed a quote over the runtime data's hash, and all that package tpm asks of it
//   - the machine is not on the deny list
//
// Once the AK's signature is proven, a Rejection carries the machine's identity.
func (v *Verifier) Verify(ctx context.Context, ev attest.Evidence, want attest.Expect) (*attest.Result, error) {
	if _, rej := binding.Signed(ev.RuntimeData, want); rej != nil {
		return nil, rej
	}
	body, rej := v.decode(ev)
	if rej != nil {
		return nil, rej
	}
	m, rej := v.machine(ctx, body, ev.Endorsements, want.At)
	if rej != nil {
		return nil, rej
	}
	part, rej := quoted(body, m, ev.RuntimeData, want)
	if rej != nil {
		return nil, rej
	}
	if rej := v.denied(m); rej != nil {
		return nil, rej
	}
	return v.result(body, m, part), nil
}

// quoted appraises the vTPM's part. Offline a report from boot may be looked at alone:
// it then says which machine and AK there were, and nothing of what they did.
func quoted(body *format.Evidence, m *machine, runtimeData []byte, want attest.Expect) (*attest.Result, *attest.Rejection) {
	if want.Unbound && len(body.TPM.Quote) == 0 && len(body.TPM.Signature) == 0 && len(body.TPM.EventLog) == 0 && len(body.TPM.PCRs) == 0 {
		return &attest.Result{Claims: attest.Claims{}, Facts: attest.Facts{Signature: true, Freshness: attest.NotChecked}}, nil
	}
	part, rej := tpm.Appraise(&body.TPM, m.ak, runtimeData, want)
	if rej != nil && rej.Identity != nil { // the AK signed for this request
		rej.Identity = &m.identity
	}
	return part, rej
}

// machine is what the hardware proved.
type machine struct {
	hcl      *format.HCL
	hardware *attest.Result
	runtime  *runtime
	ak       *tpm.AK
	cert     *tpm.ExternalAK // nil: the evidence carries none
	identity attest.Identity
}

// machine proves the way from the hardware's root to the AK.
func (v *Verifier) machine(ctx context.Context, body *format.Evidence, ends []attest.Endorsement, at time.Time) (*machine, *attest.Rejection) {
	hcl, err := format.ParseHCL(body.HCL)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "%w", err)
	}
	m, rej := v.prove(ctx, hcl, body.TDQuote, body.TPM.AK, theirs(ends), at)
	if rej != nil {
		return nil, rej
	}
	if m.cert, rej = v.certified(m.ak, ends, at); rej != nil {
		return nil, rej
	}
	return m, nil
}

// prove goes from the hardware's report to the AK. public may be empty.
func (v *Verifier) prove(ctx context.Context, hcl *format.HCL, quote, public []byte, ends []attest.Endorsement, at time.Time) (*machine, *attest.Rejection) {
	hardware, reportData, rej := v.appraise(ctx, hcl, quote, ends, at)
	if rej != nil {
		return nil, rej
	}
	if rej := binding.CheckReportData(reportData, runtimeHash(hcl)); rej != nil {
		rej.Err = errors.New("the hardware's report data is not the hash of the runtime JSON")
		return nil, rej
	}
	m := &machine{hcl: hcl, hardware: hardware}
	var err error
	if m.runtime, err = parseRuntime(hcl.Runtime); err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "%w", err)
	}
	if m.ak, rej = m.runtime.attestationKey(public); rej != nil {
		return nil, rej
	}
	spki, err := x509.MarshalPKIXPublicKey(m.ak.Public)
	if err != nil {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "%w", err)
	}
	m.identity = attest.Identify(v.cfg.Type, spki)
	return m, nil
}

// runtimeHash is what the report data must be, zeros behind it.
func runtimeHash(h *format.HCL) []byte {
	switch h.Hash {
	case format.HCLSHA384:
		d := sha512.Sum384(h.Runtime)
		return d[:]
	case format.HCLSHA512:
		d := sha512.Sum512(h.Runtime)
		return d[:]
	}
	d := sha256.Sum256(h.Runtime)
	return d[:]
}

func (v *Verifier) denied(m *machine) *attest.Rejection {
	if v.cfg.Denied == nil || !v.cfg.Denied(m.identity.ID) && (m.runtime.vmID == "" || !v.cfg.Denied(m.runtime.vmID)) {
		return nil
	}
	rej := attest.Reject(attest.CheckPlatformDenied, "machine %s is on the deny list", m.identity.ID)
	rej.Identity = &m.identity
	return rej
}

// decode bounds and reads the body.
func (v *Verifier) decode(ev attest.Evidence) (*format.Evidence, *attest.Rejection) {
	var body format.Evidence
	if rej := binding.Body(ev, v.cfg.Type, maxBody, &body, &body.Type); rej != nil {
		return nil, rej
	}
	if len(body.TDQuote) > maxQuote {
		return nil, attest.Reject(attest.CheckMalformed, "TD quote of %d bytes, limit %d", len(body.TDQuote), maxQuote)
	}
	if n := clientSize(body.Client); n > maxClient {
		return nil, attest.Reject(attest.CheckMalformed, "client values of %d bytes, limit %d", n, maxClient)
	}
	return &body, nil
}

func clientSize(c *format.Client) int {
	if c == nil {
		return 0
	}
	n := len(c.OSType) + len(c.OSDistro) + len(c.OSVersion) + len(c.OSBuild)
	for k, v := range c.Payload {
		n += len(k) + len(v)
	}
	return n
}
