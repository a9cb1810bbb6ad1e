package simulate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/simulated"
)

// newAzure turns the software TPM at o.TPM into the vTPM of an Azure machine on
// hardware of that kind. What is left to play is the metadata service, on the socket.
func newAzure(seed [SeedSize]byte, o Options, kind uint32) (_ *Device, err error) {
	if o.TPM == "" {
		return nil, errors.New("an Azure machine needs the socket of a software TPM that becomes its vTPM")
	}
	p, err := simulated.New(seed)
	if err != nil {
		return nil, err
	}
	o.changeSNP(p.SNP)
	o.changeTDX(p.TDX)
	tpm, err := linuxudstpm.Open(o.TPM)
	if err != nil {
		return nil, fmt.Errorf("software TPM: %w", err)
	}
	defer func() { err = errors.Join(err, tpm.Close()) }()
	m, err := p.Install(tpm, simulated.Options{Kind: kind})
	if err != nil {
		return nil, err
	}
	return &Device{attest.TypeAzureCVM.Simulated(), func(ctx context.Context, l net.Listener) error { return metadata(ctx, l, m) }}, nil
}

// metadata plays the metadata service, over HTTP as it is.
func metadata(ctx context.Context, l net.Listener, m *simulated.Machine) error {
	s := &http.Server{
		ReadTimeout: answerLimit, WriteTimeout: answerLimit, MaxHeaderBytes: maxQuestion,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer, ok := m.Metadata(r.URL.Path)
			if !ok || r.Header.Get("Metadata") != "true" {
				http.Error(w, "no such metadata", http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer)
		}),
	}
	closed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		closed <- s.Shutdown(last)
	})
	err := s.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-closed
}
