package guest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/azurecvm/guest"
	"github.com/openskr/openskr/attest/azurecvm/simulated"
	tpmguest "github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/internal/swtpm"
)

// vtpm is a software TPM with nothing of Azure's in it, opened as the paravisor does.
func vtpm(t *testing.T) (raw transport.TPM, socket string) {
	t.Helper()
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	s, err := swtpm.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := linuxudstpm.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(opened.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return opened, s.Socket
}

// machine is a guest with that vTPM, whose metadata service is imds.
func machine(t *testing.T, socket string, imds http.HandlerFunc, o guest.Options) *guest.Machine {
	t.Helper()
	server := httptest.NewServer(imds)
	o.TPM, o.IMDS = socket, server.URL
	m, err := guest.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// empty is both.
func empty(t *testing.T, imds http.HandlerFunc, o guest.Options) (transport.TPM, *guest.Machine) {
	t.Helper()
	raw, socket := vtpm(t)
	return raw, machine(t, socket, imds, o)
}

// The metadata service is asked once for each HCL report, and again for another.
func TestEvidence(t *testing.T) {
	p, err := simulated.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	var now atomic.Pointer[simulated.Machine]
	var asked, down atomic.Int32
	raw, m := empty(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		answer, ok := now.Load().Metadata(r.URL.Path)
		if !ok || down.Load() != 0 {
			http.Error(w, "", http.StatusNotFound)
			return
		}
		_, _ = w.Write(answer)
	}, guest.Options{Client: &format.Client{OSDistro: "Ubuntu"}})
	for _, step := range []struct {
		kind  uint32
		down  int32
		asked int32
		ok    bool
	}{
		{format.HCLTDX, 1, 1, false},
		{format.HCLTDX, 0, 2, true},
		{format.HCLTDX, 1, 2, true},
		{format.HCLSNP, 0, 3, true},
		{format.HCLSNP, 1, 3, true},
	} {
		host, err := p.Install(raw, simulated.Options{Kind: step.kind})
		if err != nil {
			t.Fatal(err)
		}
		now.Store(host)
		down.Store(step.down)
		ev, err := m.Evidence(t.Context(), []byte("runtime data"), tpmguest.DefaultSelection(), nil)
		if (err == nil) != step.ok || asked.Load() != step.asked {
			t.Fatalf("%+v: %v, asked %d times", step, err, asked.Load())
		}
		if err != nil {
			continue
		}
		var b format.Evidence
		if err := strict.Unmarshal(ev.Body, 1<<20, &b); err != nil {
			t.Fatal(err)
		}
		tdx := step.kind == format.HCLTDX
		if ev.Type != "azure-cvm" || b.Type != ev.Type || len(b.TPM.AK) != 0 || (len(b.TDQuote) > 0) != tdx || (len(ev.Endorsements) == 0) != tdx || b.Client.OSDistro != "Ubuntu" {
			t.Errorf("%+v: type %s, AK %x, quote %d bytes, %d endorsements", step, ev.Type, b.TPM.AK, len(b.TDQuote), len(ev.Endorsements))
		}
	}
}

// An SNP machine whose metadata service fails sends what it has, says so, and asks again.
func TestEvidenceWithoutCertificates(t *testing.T) {
	p, err := simulated.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	var asked, warnings atomic.Int32
	raw, m := empty(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "", http.StatusNotFound)
	}, guest.Options{Warn: func(error) { warnings.Add(1) }})
	if _, err := p.Install(raw, simulated.Options{AKCertificate: none}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		ev, err := m.Evidence(t.Context(), []byte("runtime data"), tpmguest.DefaultSelection(), nil)
		if err != nil || len(ev.Endorsements) != 0 || asked.Load() != int32(i+1) {
			t.Fatalf("%v, %d endorsements, asked %d times", err, len(ev.Endorsements), asked.Load())
		}
	}
	if n := warnings.Load(); n != 2 {
		t.Errorf("%d warnings", n)
	}
}

func TestDetect(t *testing.T) {
	raw, m := empty(t, http.NotFound, guest.Options{})
	if kind, err := m.Detect(t.Context()); !errors.Is(err, guest.ErrNotAzure) {
		t.Errorf("a TPM without HCL report: %q, %v", kind, err)
	}
	p, err := simulated.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[uint32]string{format.HCLSNP: guest.SNP, format.HCLTDX: guest.TDX} {
		if _, err := p.Install(raw, simulated.Options{Kind: kind}); err != nil {
			t.Fatal(err)
		}
		if got, err := m.Detect(t.Context()); err != nil || got != want {
			t.Errorf("%q, %v, want %s", got, err, want)
		}
	}
	_, err = guest.Open(guest.Options{TPM: "/nonexistent"})
	if !errors.Is(err, tpmguest.ErrNoTPM) || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("no TPM: %v", err)
	}
}
