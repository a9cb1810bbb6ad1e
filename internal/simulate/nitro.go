package simulate

import (
	"context"
	"net"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/nitro/simulated"
)

// newNitro is an enclave whose NSM is the socket.
func newNitro(seed [SeedSize]byte, o Options) (*Device, error) {
	p, err := simulated.New(seed)
	if err != nil {
		return nil, err
	}
	p.Debug = o.Debug
	if o.Measurement != nil {
		p.PCRs[0] = o.Measurement
	}
	serve := func(ctx context.Context, l net.Listener) error {
		return each(ctx, l, func(c net.Conn) error { return p.Serve(c) })
	}
	return &Device{attest.TypeNitro.Simulated(), serve}, nil
}
