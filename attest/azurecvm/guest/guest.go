// Package guest is the collecting half of the Evidence of Azure confidential VMs: it
// runs inside the machine, reads what the paravisor left in the vTPM, has the vTPM
// quote, and asks the host's metadata service for what the hardware's maker signed.
// Nothing of the host is trusted here: the broker verifies all of it.
package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	tpmguest "github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/internal/strict"
)

// What the paravisor puts into the vTPM.
const (
	hclIndex    = 0x01400001 // NV: the HCL report
	akCertIndex = 0x01c101d0 // NV: Microsoft's certificate of the AK, on most machines
	akHandle    = 0x81000003 // the AK that the HCL report names
)

// ErrNotAzure says that the TPM of this machine holds no HCL report.
var ErrNotAzure = errors.New("not an Azure confidential VM")

// Kinds of hardware, as Detect gives them.
const (
	SNP = "snp"
	TDX = "tdx"
)

// Options say where to look; the zero value is right on Azure.
type Options struct {
	Type     attest.Type // "": attest.TypeAzureCVM
	TPM      string      // device or socket; "": package tpm/guest's default
	IMDS     string      // base URL of the metadata service, or "unix:" and a socket; "": [DefaultIMDS]
	EventLog string      // file; "": the kernel's
	// Client is what the machine says of itself, without proof; nil: nothing.
	Client *format.Client
	// AKChain are the certificates, PEM or DER, between that of the AK and its root, where
	// brokers do not have them. With them the AK's certificate is sent unjudged; without,
	// where it leads to Microsoft's pinned root.
	AKChain []byte
	// Warn is told what evidence goes without, for a log; nil: nobody is.
	Warn func(error)
}

// Machine is an Azure confidential VM. It is safe for concurrent use.
type Machine struct {
	opts Options
	tpm  *tpmguest.TPM
	imds *imds

	mu      sync.Mutex
	hcl     []byte // that vouched is for
	vouched voucher
	told    string // why the AK's certificate was withheld
}

// voucher is what the hardware's maker says of one HCL report, the same until the
// paravisor makes another.
type voucher struct {
	quote        []byte // of a TDX machine
	endorsements []attest.Endorsement
}

// Open opens the vTPM. Errors wrap [tpmguest.ErrNoTPM].
func Open(o Options) (*Machine, error) {
	if o.Type == "" {
		o.Type = attest.TypeAzureCVM
	}
	t, err := tpmguest.Open(o.TPM)
	if err != nil {
		return nil, err
	}
	t.EventLog, t.AKHandle = o.EventLog, akHandle
	return &Machine{opts: o, tpm: t, imds: newIMDS(o.IMDS)}, nil
}

// Close releases the vTPM. Recipients must be closed before.
func (m *Machine) Close() error { return m.tpm.Close() }

// Detect gives [SNP] or [TDX]. It wraps [ErrNotAzure] when there is no HCL report.
func (m *Machine) Detect(ctx context.Context) (string, error) {
	hcl, _, err := m.report(ctx)
	if err != nil {
		return "", err
	}
	if hcl.Kind == format.HCLTDX {
		return TDX, nil
	}
	return SNP, nil
}

// report reads the HCL report: its parts, and its bytes without the padding of NV.
func (m *Machine) report(ctx context.Context) (*format.HCL, []byte, error) {
	raw, err := m.tpm.ReadNV(ctx, hclIndex, format.MaxHCL)
	if errors.Is(err, tpmguest.ErrNoNV) {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotAzure, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("HCL report: %w", err)
	}
	hcl, err := format.ParseHCL(raw)
	if err != nil {
		return nil, nil, err
	}
	return hcl, hcl.Encode(), nil
}

// NewRecipient makes a recipient key in the vTPM; see [tpmguest.TPM.NewRecipient].
func (m *Machine) NewRecipient(ctx context.Context, kind tpmguest.Kind, sel tpmguest.Selection) (*tpmguest.Recipient, error) {
	return m.tpm.NewRecipient(ctx, kind, sel)
}

// Evidence collects Evidence whose quote covers runtimeData, with the endorsements of
// the hardware. sel and r are those of [tpmguest.TPM.Evidence], and so is
// [tpmguest.ErrPCRsChanged].
func (m *Machine) Evidence(ctx context.Context, runtimeData []byte, sel tpmguest.Selection, r *tpmguest.Recipient) (attest.Evidence, error) {
	hcl, raw, err := m.report(ctx)
	if err != nil {
		return attest.Evidence{}, err
	}
	v, err := m.voucher(ctx, hcl, raw)
	if err != nil {
		return attest.Evidence{}, err
	}
	part, err := m.tpm.Part(ctx, runtimeData, sel, r)
	if err != nil {
		return attest.Evidence{}, err
	}
	certificate, err := m.akCertificate(ctx, part.AK)
	if err != nil {
		if ctx.Err() != nil {
			return attest.Evidence{}, err
		}
		certificate = nil
		m.withheld(err)
	}
	part.AK = nil // the HCL report names it
	body, err := strict.Marshal(&format.Evidence{Type: m.opts.Type, HCL: raw, TPM: *part, TDQuote: v.quote, Client: m.opts.Client})
	if err != nil {
		return attest.Evidence{}, err
	}
	return attest.Evidence{Type: m.opts.Type, Body: body, RuntimeData: runtimeData, Endorsements: slices.Concat(certificate, v.endorsements)}, nil
}

// withheld tells once why the AK's certificate does not go along.
func (m *Machine) withheld(err error) {
	m.mu.Lock()
	told := m.told == err.Error()
	m.told = err.Error()
	m.mu.Unlock()
	if !told {
		m.warn(err)
	}
}

func (m *Machine) warn(err error) {
	if m.opts.Warn != nil {
		m.opts.Warn(err)
	}
}

// voucher asks the metadata service once for each HCL report. Without certificates the
// evidence is sent all the same: the broker may have them, or get them from AMD.
// Nobody waits for another's question, who may have more time: both ask.
func (m *Machine) voucher(ctx context.Context, hcl *format.HCL, raw []byte) (v voucher, err error) {
	m.mu.Lock()
	known, vouched := bytes.Equal(m.hcl, raw), m.vouched
	m.mu.Unlock()
	if known {
		return vouched, nil
	}
	if hcl.Kind == format.HCLTDX {
		v.quote, err = m.imds.quote(ctx, hcl.Report)
	} else {
		v.endorsements, err = m.imds.certificates(ctx)
	}
	switch {
	case err != nil && (hcl.Kind == format.HCLTDX || ctx.Err() != nil):
		return voucher{}, err
	case err != nil:
		m.warn(err)
		return voucher{}, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hcl, m.vouched = raw, v
	return v, nil
}
