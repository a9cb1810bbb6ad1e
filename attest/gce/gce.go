// Package gce verifies Evidence of Google Compute Engine instances: a quote by the
// vTPM of a Shielded VM, whose AK Google certified together with the instance it
// belongs to, and for a Confidential VM the report of its hardware.
//
// The vTPM of an instance is a service of its host, so what its quote proves rests on
// Google. The report of AMD or Intel does not, but knows nothing of the vTPM: its
// report data names the AK beside the runtime data, so that the two are of one
// machine. Whether evidence without hardware part is good enough, the policy says.
package gce

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/gce/format"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/verified"
)

const (
	maxBody   = 2 << 20  // an event log of 512 kB and a quote, in base64
	maxReport = 32 << 10 // SNP report or TDX quote
	cacheSize = 4096     // AK certificates
)

// Hardware verifies everything in a report or quote but its binding: attest/snp and
// attest/tdx do. raw's length is bounded.
type Hardware interface {
	Appraise(ctx context.Context, raw []byte, ends []attest.Endorsement, at time.Time) (res *attest.Result, reportData []byte, rej *attest.Rejection)
	Anchors() [][]byte
}

// Config holds the trust of a Verifier.
type Config struct {
	Type attest.Type // "" = "gce"
	// Roots are the authorities of AK certificates. Nil: Google's, pinned, with the
	// pinned intermediates added to those given.
	Roots, Intermediates []*x509.Certificate
	SNP, TDX             Hardware // nil: evidence with such a part is refused
	// Denied is the deployment's own deny list by instance, "<project number>/<zone>/
	// <instance id>", or by the id of its identity. Nil: none, and Facts.Revocation
	// says not_checked, which the floor refuses.
	Denied func(id string) bool
}

// Verifier implements [attest.Verifier].
type Verifier struct {
	cfg   Config
	certs *verified.Cache[*certificate]
}

var _ attest.Verifier = (*Verifier)(nil)

// New makes a Verifier.
func New(cfg Config) (*Verifier, error) {
	if cfg.Type == "" {
		cfg.Type = attest.TypeGCE
	}
	if base, simulated := cfg.Type.Base(); base != attest.TypeGCE {
		return nil, fmt.Errorf("gce verifier: type %q", cfg.Type)
	} else if simulated && len(cfg.Roots) == 0 {
		return nil, errors.New("gce verifier: a simulation needs roots of its own")
	}
	if len(cfg.Roots) == 0 {
		roots, intermediates, err := Google()
		if err != nil {
			return nil, err
		}
		cfg.Roots, cfg.Intermediates = roots, append(intermediates, cfg.Intermediates...)
	}
	return &Verifier{cfg: cfg, certs: verified.NewCache[*certificate](cacheSize)}, nil
}

// Anchors are the roots trusted, DER: those of AK certificates, then the hardware's.
func (v *Verifier) Anchors() [][]byte {
	var out [][]byte
	for _, c := range v.cfg.Roots {
		out = append(out, c.Raw)
	}
	for _, h := range []Hardware{v.cfg.SNP, v.cfg.TDX} {
		if h != nil {
			out = append(out, h.Anchors()...)
		}
	}
	return out
}

// Verify implements [attest.Verifier]. In this order, each step on what the one
// before proved:
//   - the AK certificate chains to a root, is in time, is for signatures of a vTPM,
//     names an instance of Google's production, and the AK of this evidence
//   - the AK signed a quote over the runtime data's hash, and all that package tpm asks;
//     Google certifies its key, the quote the rest of its public area
//   - the instance is not on the deny list
//   - the hardware's report, where there is one, is genuine, not of a debug guest, and
//     names the runtime data and this AK; for a release, one of SNP is of VMPL 0
//
// Once the AK's signature is proven, a Rejection carries the instance's identity.
func (v *Verifier) Verify(ctx context.Context, ev attest.Evidence, want attest.Expect) (*attest.Result, error) {
	signed, rej := binding.Signed(ev.RuntimeData, want)
	if rej != nil {
		return nil, rej
	}
	body, rej := v.decode(ev)
	if rej != nil {
		return nil, rej
	}
	ak, cert, rej := v.attestationKey(body.TPM.AK, ev.Endorsements, want.At)
	if rej != nil {
		return nil, rej
	}
	id := attest.Identify(v.cfg.Type, []byte(cert.instance.name()))
	res, rej := tpm.Appraise(&body.TPM, ak.Primary(), ev.RuntimeData, want)
	if rej != nil {
		if rej.Identity != nil { // the AK signed for this request
			rej.Identity = &id
		}
		return nil, rej
	}
	res.Type, res.Authority, res.Identity = v.cfg.Type, cert.Authority, id
	res.Facts.Chain, res.Facts.Revocation = true, attest.NotChecked
	res.Claims["gce"] = cert.instance.claims()
	rej = v.denied(res, &cert.instance)
	if rej == nil {
		rej = v.addHardware(ctx, res, body, ak, ev.Endorsements, signed, want)
	}
	if rej != nil {
		rej.Identity = &id
		return nil, rej
	}
	return res, nil
}

func (v *Verifier) denied(res *attest.Result, i *instance) *attest.Rejection {
	if v.cfg.Denied == nil {
		return nil
	}
	res.Facts.Revocation = attest.Checked
	if v.cfg.Denied(i.name()) || v.cfg.Denied(res.Identity.ID) {
		return attest.Reject(attest.CheckPlatformDenied, "instance %s is on the deny list", i.name())
	}
	return nil
}

// decode bounds and reads the body.
func (v *Verifier) decode(ev attest.Evidence) (*format.Evidence, *attest.Rejection) {
	var body format.Evidence
	if rej := binding.Body(ev, v.cfg.Type, maxBody, &body, &body.Type); rej != nil {
		return nil, rej
	}
	switch {
	case len(body.SNPReport) > maxReport || len(body.TDXQuote) > maxReport:
		return nil, attest.Reject(attest.CheckMalformed, "report of more than %d bytes", maxReport)
	case len(body.SNPReport) > 0 && len(body.TDXQuote) > 0:
		return nil, attest.Reject(attest.CheckMalformed, "reports of two kinds of hardware")
	}
	return &body, nil
}
