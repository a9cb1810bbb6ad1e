// Package guest is the collecting half of the Evidence of Google Compute Engine
// instances: it runs inside the machine, finds the AK that Google certified in the
// vTPM, has it quote, and asks the hardware of a Confidential VM for a report that
// names the same AK.
package guest

import (
	"context"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/gce/format"
	tpmguest "github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/internal/strict"
)

// NV indices that Google writes: the certificate of an AK, and in the next one the
// template that it is made of.
const (
	certRSA   = 0x01c10000
	certECC   = 0x01c10002
	templates = 1 // behind the certificate's
)

const (
	maxCert     = 8 << 10
	maxTemplate = 1 << 10
)

// ErrNotGCE says that the TPM of this machine holds no AK certificate of Google's.
var ErrNotGCE = errors.New("not a Google Compute Engine instance with a vTPM")

// Report has the hardware of a Confidential VM make a report or quote over 64 bytes,
// and gives what endorses it.
type Report func(ctx context.Context, reportData [64]byte) (raw []byte, ends []attest.Endorsement, err error)

// Options say where to look; the zero value is right for a Shielded VM.
type Options struct {
	TPM      string // device or socket; "": package tpm/guest's default
	EventLog string // file; "": the kernel's
	// SNP or TDX makes the hardware's part; nil: there is none. At most one is set.
	SNP, TDX Report
}

// Machine is an instance. It is safe for concurrent use.
type Machine struct {
	opts Options
	tpm  *tpmguest.TPM
	cert []byte // of the AK, DER
}

// Open opens the vTPM and finds the AK. Errors wrap [tpmguest.ErrNoTPM] or
// [ErrNotGCE].
func Open(ctx context.Context, o Options) (*Machine, error) {
	if o.SNP != nil && o.TDX != nil {
		return nil, errors.New("a machine has one kind of hardware")
	}
	t, err := tpmguest.Open(o.TPM)
	if err != nil {
		return nil, err
	}
	t.EventLog = o.EventLog
	m := &Machine{opts: o, tpm: t}
	if err := m.find(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return m, nil
}

// find reads certificate and template, of the elliptic curve first: it signs faster.
func (m *Machine) find(ctx context.Context) error {
	var failed error
	for _, index := range []uint32{certECC, certRSA} {
		b, err := m.tpm.ReadNV(ctx, index, maxCert)
		if err == nil {
			var der asn1.RawValue // the index may be larger than the certificate
			_, err = asn1.Unmarshal(b, &der)
			m.cert = der.FullBytes
		}
		if err == nil {
			m.tpm.AKTemplate, err = m.tpm.ReadNV(ctx, index+templates, maxTemplate)
		}
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("AK certificate at NV index %#x: %w", index, err))
	}
	return fmt.Errorf("%w: %w", ErrNotGCE, failed)
}

// Close releases the vTPM. Recipients must be closed before.
func (m *Machine) Close() error { return m.tpm.Close() }

// NewRecipient makes a recipient key in the vTPM; see [tpmguest.TPM.NewRecipient].
func (m *Machine) NewRecipient(ctx context.Context, kind tpmguest.Kind, sel tpmguest.Selection) (*tpmguest.Recipient, error) {
	return m.tpm.NewRecipient(ctx, kind, sel)
}

// Evidence collects Evidence whose quote, and whose hardware report, cover
// runtimeData. sel and r are those of [tpmguest.TPM.Evidence], and so is
// [tpmguest.ErrPCRsChanged].
func (m *Machine) Evidence(ctx context.Context, runtimeData []byte, sel tpmguest.Selection, r *tpmguest.Recipient) (attest.Evidence, error) {
	part, err := m.tpm.Part(ctx, runtimeData, sel, r)
	if err != nil {
		return attest.Evidence{}, err
	}
	body := &format.Evidence{Type: attest.TypeGCE, TPM: *part}
	ends := []attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: m.cert}}
	for _, hw := range []struct {
		report Report
		raw    *attest.Bytes
	}{{m.opts.SNP, &body.SNPReport}, {m.opts.TDX, &body.TDXQuote}} {
		if hw.report == nil {
			continue
		}
		raw, more, err := hw.report(ctx, reportData(runtimeData, part.AK))
		if err != nil {
			return attest.Evidence{}, fmt.Errorf("hardware report: %w", err)
		}
		*hw.raw, ends = raw, append(ends, more...)
	}
	raw, err := strict.Marshal(body)
	if err != nil {
		return attest.Evidence{}, err
	}
	return attest.Evidence{Type: attest.TypeGCE, Body: raw, RuntimeData: runtimeData, Endorsements: ends}, nil
}

// reportData ties the report to the request and to the AK of this machine.
func reportData(runtimeData, ak []byte) (out [64]byte) {
	data, key := binding.Digest(runtimeData), sha256.Sum256(ak)
	copy(out[copy(out[:], data[:]):], key[:])
	return out
}
