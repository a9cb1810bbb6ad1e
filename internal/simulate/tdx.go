package simulate

import (
	"crypto/sha512"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tdx/format"
	"github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/internal/strict"
)

// Of a TD report (Intel TDX DCAP quoting library API, A.3.2).
const (
	attributeDebug = 1 << 0
	tdMeasurement  = 136 // MRTD
	tdRTMR3        = 472
)

// newTDX is a trust domain; its quotes carry their chain.
func newTDX(seed [SeedSize]byte, o Options) (*Device, error) {
	p, err := simulated.New(seed)
	if err != nil {
		return nil, err
	}
	o.changeTDX(p)
	log := p.TD.EventLog()
	return asked(p.Type, func(q *Question) ([]byte, []attest.Endorsement, error) {
		var data [binding.ReportDataSize]byte
		copy(data[:], q.Signed)
		quote, err := p.Quote(data)
		if err != nil {
			return nil, nil, err
		}
		body, err := strict.Marshal(format.Evidence{Type: p.Type, Quote: quote, EventLog: log})
		return body, nil, err
	}), nil
}

func (o Options) changeTDX(p *simulated.Platform) {
	if o.Debug {
		p.TD.Attributes |= attributeDebug
	}
	p.TD.Edit = func(report []byte) {
		copy(report[tdMeasurement:], o.Measurement)
		if o.Extended != nil { // from zero: no firmware extends this register
			v := sha512.Sum384(append(make([]byte, sha512.Size384), o.Extended...))
			copy(report[tdRTMR3:], v[:])
		}
	}
}
