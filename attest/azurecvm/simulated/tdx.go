package simulated

import (
	"errors"

	"github.com/openskr/openskr/attest/azurecvm/format"
)

func (p *Platform) reportTDX(*format.HCL, [64]byte) (*Machine, error) {
	return nil, errors.New("simulated Azure VM: no TDX")
}
