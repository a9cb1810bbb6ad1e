package agent

import (
	"context"
	"errors"

	"github.com/openskr/openskr/attest"
	gce "github.com/openskr/openskr/attest/gce/guest"
	snp "github.com/openskr/openskr/attest/snp/guest"
	tdx "github.com/openskr/openskr/attest/tdx/guest"
)

// gceMachine is an instance with what its hardware was opened as.
type gceMachine struct {
	*gce.Machine
	hardware *tee // nil: a Shielded VM
}

func (m *gceMachine) Close() error {
	err := m.Machine.Close()
	if m.hardware != nil {
		err = errors.Join(err, m.hardware.Close())
	}
	return err
}

// openGCE opens the vTPM, and the hardware of a Confidential VM. Hardware that is
// there and cannot be used is an error: evidence without it would say less than this
// machine can prove.
func openGCE(ctx context.Context, h *Hardware) (_ Attester, err error) {
	m := newHost(*h, reportProvider)
	o := gce.Options{TPM: h.tpm(), EventLog: h.EventLog}
	out := &gceMachine{}
	defer func() {
		if err != nil && out.hardware != nil {
			err = errors.Join(err, out.hardware.Close())
		}
	}()
	switch {
	case m.tdx(ctx).Found:
		d, err := tdx.Open(h.tdx())
		if err != nil {
			return nil, err
		}
		out.hardware = &tee{platform: attest.TypeTDX, close: d.Close}
		o.TDX = func(ctx context.Context, reportData [64]byte) ([]byte, []attest.Endorsement, error) {
			quote, err := d.Quote(ctx, reportData)
			return quote, nil, err
		}
	case m.snp(ctx).Found:
		d, err := snp.Open(h.snp())
		if err != nil {
			return nil, err
		}
		out.hardware = &tee{platform: attest.TypeSNP, close: d.Close}
		o.SNP = func(ctx context.Context, reportData [64]byte) ([]byte, []attest.Endorsement, error) {
			report, table, err := d.Report(ctx, reportData)
			if err != nil || len(table) == 0 {
				return report, nil, err
			}
			return report, []attest.Endorsement{{Type: attest.EndorsementCertificateTable, Data: table}}, nil
		}
	}
	if out.Machine, err = gce.Open(ctx, o); err != nil {
		return nil, err
	}
	return &inVTPM{out, attest.TypeGCE, h.PCRs}, nil
}
