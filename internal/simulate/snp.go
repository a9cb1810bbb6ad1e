package simulate

import (
	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/snp/format"
	"github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/internal/strict"
)

// Where a report has what options change (SEV-SNP ABI 56860, table 23).
const (
	reportPolicy      = 0x08
	reportDebug       = 1 << 3 // of the third byte of the policy: bit 19
	reportMeasurement = 0x90
)

// newSNP is a guest on a chip that its host gave a certificate for.
func newSNP(seed [SeedSize]byte, o Options) (*Device, error) {
	p, err := simulated.New(seed)
	if err != nil {
		return nil, err
	}
	o.changeSNP(p)
	leaf, err := p.Leaf(p.Chip)
	if err != nil {
		return nil, err
	}
	ends := []attest.Endorsement{{Type: attest.EndorsementCertificate, Data: leaf.Raw}}
	return asked(p.Type, func(q *Question) ([]byte, []attest.Endorsement, error) {
		var data [binding.ReportDataSize]byte
		copy(data[:], q.Signed)
		report, err := p.Report(data, p.Chip)
		if err != nil {
			return nil, nil, err
		}
		body, err := strict.Marshal(format.Evidence{Type: p.Type, Report: report})
		return body, ends, err
	}), nil
}

func (o Options) changeSNP(p *simulated.Platform) {
	p.Chip.Report = func(raw []byte) {
		copy(raw[reportMeasurement:], o.Measurement)
		if o.Debug {
			raw[reportPolicy+2] |= reportDebug
		}
	}
}
