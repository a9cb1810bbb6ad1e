package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/openskr/openskr/attest"
	nitro "github.com/openskr/openskr/attest/nitro/guest"
	snp "github.com/openskr/openskr/attest/snp/guest"
	tdx "github.com/openskr/openskr/attest/tdx/guest"
	tsm "github.com/openskr/openskr/attest/tsm/guest"
)

// tee is the attester of a machine whose memory is the protection: recipient keys are
// in software.
type tee struct {
	platform attest.Type
	// evidence covers ask, whose runtime data names recipient, a JWK or nil.
	evidence func(ctx context.Context, ask Ask, recipient []byte) (attest.Evidence, error)
	close    func() error
}

func (t *tee) Type() attest.Type { return t.platform }

// closeLimit is how long Close waits for a request that hangs in the kernel, which
// goes on when this program ends.
const closeLimit = 2 * time.Second

func (t *tee) Close() error {
	done := make(chan error, 1)
	go func() { done <- t.close() }()
	late := time.NewTimer(closeLimit)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("%s: a request is still under way in the kernel", t.platform)
	}
}

func (t *tee) NewRecipient(_ context.Context, kind RecipientKind) (Recipient, error) {
	return newRecipient(kind)
}

func (t *tee) Evidence(ctx context.Context, ask Ask, r Recipient) (attest.Evidence, error) {
	var recipient []byte
	if r != nil {
		recipient = r.JWK()
	}
	return t.evidence(ctx, ask, recipient)
}

func (h *Hardware) tdx() tdx.Options {
	return tdx.Options{TSM: h.path("", tsm.DefaultDir), Device: h.path("", tdxDevice), EventLog: h.EventLog}
}

func (h *Hardware) snp() snp.Options {
	return snp.Options{TSM: h.path("", tsm.DefaultDir), Path: h.path("", snp.DefaultDevice)}
}

func openTDX(_ context.Context, h *Hardware) (Attester, error) {
	d, err := tdx.Open(h.tdx())
	if err != nil {
		return nil, err
	}
	return &tee{h.Platform, func(ctx context.Context, ask Ask, _ []byte) (attest.Evidence, error) {
		return d.Evidence(ctx, ask.RuntimeData)
	}, d.Close}, nil
}

func openSNP(_ context.Context, h *Hardware) (Attester, error) {
	d, err := snp.Open(h.snp())
	if err != nil {
		return nil, err
	}
	return &tee{h.Platform, func(ctx context.Context, ask Ask, _ []byte) (attest.Evidence, error) {
		return d.Evidence(ctx, ask.RuntimeData)
	}, d.Close}, nil
}

// openNitro opens the NSM. A simulated one speaks the NSM's own protocol on a socket.
func openNitro(_ context.Context, h *Hardware) (Attester, error) {
	e, err := nitro.Open(nitro.Options{Path: h.path(h.Simulator, nitro.DefaultDevice), Type: h.Platform})
	if err != nil {
		return nil, err
	}
	return &tee{h.Platform, func(ctx context.Context, ask Ask, recipient []byte) (attest.Evidence, error) {
		return e.Evidence(ctx, ask.RuntimeData, ask.Nonce, recipient)
	}, e.Close}, nil
}
