package simulated

import (
	"crypto/sha512"

	"github.com/openskr/openskr/attest/azurecvm/format"
)

// reportTDX puts a TDREPORT into the HCL report, and has it quoted.
func (p *Platform) reportTDX(h *format.HCL, reportData [64]byte) (*Machine, error) {
	quote, err := p.TDX.Quote(reportData)
	if err != nil {
		return nil, err
	}
	h.Version, h.Report = 2, tdReport(p.TDX.Report(reportData))
	return &Machine{HCL: h.Encode(), TDQuote: quote}, nil
}

// tdReport is the TDREPORT that a quote with this body was made of (Intel TDX module
// ABI, TDREPORT_STRUCT). Its MAC, which only the processor could check, is left zero.
func tdReport(body []byte) []byte {
	r := make([]byte, 1024)
	r[0] = 0x81
	copy(r[128:192], body[520:584])
	copy(r[256:], []byte{0xff, 1, 3})
	copy(r[264:384], body[:120])
	copy(r[512:912], body[120:520])
	tcb, info := sha512.Sum384(r[256:495]), sha512.Sum384(r[512:])
	copy(r[32:], tcb[:])
	copy(r[80:], info[:])
	return r
}
