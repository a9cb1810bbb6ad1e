package attestation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/openskr/openskr/attest"
	sgxformat "github.com/openskr/openskr/attest/sgx/format"
	snpformat "github.com/openskr/openskr/attest/snp/format"
	tdxformat "github.com/openskr/openskr/attest/tdx/format"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
)

// Token answers POST /attest/….
type Token struct {
	Token string `json:"token"`
}

// maxQuote bounds one report or quote, and maxChain its certificates, in bytes.
const (
	maxQuote = 64 << 10
	maxChain = 32 << 10
)

// snp is POST /attest/SevSnpVm: a report with its chain (wire format: §5.3).
func (s *Service) snp(ctx context.Context, c *route.Call) (any, error) {
	req, err := parseRequest(c.Body, "report")
	if err != nil {
		return nil, err
	}
	report, chain, err := parseReport(req.evidence)
	if err != nil {
		return nil, err
	}
	res, err := s.verify(ctx, attest.TypeSNP, req, func(t attest.Type) any { return snpformat.Evidence{Type: t, Report: report} }, chain...)
	if err != nil {
		return nil, err
	}
	if err := started(req, res.Claims["x-ms-sevsnpvm-hostdata"], 2*sha256.Size); err != nil {
		return nil, err
	}
	return s.issue(c, req, res)
}

// tdx is POST /attest/TdxVm: a quote with its certificates (wire format: §5.4).
func (s *Service) tdx(ctx context.Context, c *route.Call) (any, error) {
	req, quote, err := quoted(c)
	if err != nil {
		return nil, err
	}
	if req.init.bytes != nil { // which hash of it MRCONFIGID would have, Azure does not say
		return nil, release.Refuse(release.ReasonNotOffered, "initTimeData of a TD is not offered")
	}
	res, err := s.verify(ctx, attest.TypeTDX, req, func(t attest.Type) any { return tdxformat.Evidence{Type: t, Quote: quote} })
	if err != nil {
		return nil, err
	}
	return s.issue(c, req, res)
}

// sgx is POST /attest/SgxEnclave (wire format: §5.6).
func (s *Service) sgx(ctx context.Context, c *route.Call) (any, error) {
	req, quote, err := quoted(c)
	if err != nil {
		return nil, err
	}
	res, err := s.verify(ctx, attest.TypeSGX, req, func(t attest.Type) any { return sgxformat.Evidence{Type: t, Quote: quote} })
	if err != nil {
		return nil, err
	}
	if err := started(req, res.Claims["x-ms-sgx-config-id"], 4*sha256.Size); err != nil {
		return nil, err
	}
	return s.issue(c, req, res)
}

// quoted reads a request whose evidence is a DCAP quote.
func quoted(c *route.Call) (*request, []byte, error) {
	req, err := parseRequest(c.Body, "quote")
	if err != nil {
		return nil, nil, err
	}
	quote, err := decodeBinary(req.evidence, maxQuote)
	return req, quote, err
}

// parseReport reads {"SnpReport", "VcekCertChain", "Endorsements"}. Endorsements of
// utility VMs are not verified here, and become no claim.
func parseReport(evidence string) ([]byte, []attest.Endorsement, error) {
	doc, err := decodeBinary(evidence, maxReport)
	if err != nil {
		return nil, nil, err
	}
	m, err := members(doc, maxReport, "SnpReport", "VcekCertChain", "Endorsements")
	if err != nil {
		return nil, nil, err
	}
	var parts [2][]byte
	for i, name := range []string{"SnpReport", "VcekCertChain"} {
		encoded, err := text(m, name)
		if err != nil {
			return nil, nil, err
		}
		if parts[i], err = decodeBinary(encoded, maxChain); err != nil {
			return nil, nil, err
		}
	}
	if len(parts[1]) == 0 { // the verifier gets the chip's certificate itself
		return parts[0], nil, nil
	}
	return parts[0], []attest.Endorsement{{Type: attest.EndorsementCertificate, Data: parts[1]}}, nil
}

// verify hands evidence to the verifier of its type. What it signed must be the hash
// of the runtime data; without any, nothing is compared, and the token repeats nothing.
func (s *Service) verify(ctx context.Context, t attest.Type, req *request, body func(attest.Type) any, ends ...attest.Endorsement) (*attest.Result, error) {
	req.denials = s.denials()
	return s.try(t, func(t attest.Type, want attest.Expect) (*attest.Result, error) {
		b, err := strict.Marshal(body(t))
		if err != nil {
			return nil, err
		}
		return s.Verifier.Verify(ctx, attest.Evidence{Type: t, Body: b, Endorsements: ends}, want)
	}, req.runtime.bytes)
}

// denials is read before evidence is verified: what changes meanwhile makes the token stale.
func (s *Service) denials() string {
	if s.Denials == nil {
		return ""
	}
	return s.Denials()
}

// try asks the verifiers that may know the evidence, and judges what one takes. In a
// simulation the simulated type is tried first: what other hardware made it knows
// nothing of.
func (s *Service) try(t attest.Type, ask func(attest.Type, attest.Expect) (*attest.Result, error), runtimeData []byte) (*attest.Result, error) {
	types := []attest.Type{t}
	if s.Simulation {
		types = []attest.Type{t.Simulated(), t}
	}
	want := attest.Expect{At: s.Now(), Unbound: true}
	if runtimeData != nil {
		sum := sha256.Sum256(runtimeData)
		want.Unbound, want.SignedData = false, sum[:]
	}
	var first error
	for _, t := range types {
		res, err := ask(t, want)
		if err == nil {
			return res, accept(res)
		}
		if first == nil || foreign(first) { // the refusal of the verifier that knew the roots
			first = err
		}
	}
	return nil, first
}

// foreign says that a verifier did not know whose evidence it saw.
func foreign(err error) bool {
	var r *attest.Rejection
	return errors.As(err, &r) && (r.Check == attest.CheckChainUntrusted || r.Check == attest.CheckTypeUnsupported)
}

// accept refuses what no door releases anything to (docs/floor.md), although the
// verifier takes it: a token should not outlive what is known.
func accept(res *attest.Result) error {
	switch {
	case !res.Facts.Chain || !res.Facts.Signature:
		return release.Refuse(release.ReasonFloor, "chain or signature is not proven")
	case res.Facts.Debug:
		return release.Refuse(release.Reason(attest.CheckDebug), "debug is on")
	case res.Facts.TCBStatus == attest.TCBRevoked:
		return release.Refuse(release.Reason(attest.CheckTCBRevoked), "the platform's TCB level is revoked")
	}
	return nil
}

// started holds init-time data against what the hardware keeps of it from launch: the
// claim, hex of so many digits, begins with its hash.
func started(req *request, claim any, digits int) error {
	if req.init.bytes == nil {
		return nil
	}
	sum := sha256.Sum256(req.init.bytes)
	want := []byte(hex.EncodeToString(sum[:]))
	if got, ok := claim.(string); !ok || len(got) != digits || !bytes.Equal([]byte(got[:len(want)]), want) {
		return attest.Reject(attest.CheckReportData, "what the hardware keeps from launch is not the hash of initTimeData")
	}
	return nil
}
