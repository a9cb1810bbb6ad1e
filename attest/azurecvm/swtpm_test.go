package azurecvm_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/azurecvm/guest"
	"github.com/openskr/openskr/attest/azurecvm/simulated"
	tpmguest "github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/internal/swtpm"
)

func platform(t testing.TB, seed byte) *simulated.Platform {
	t.Helper()
	p, err := simulated.New([32]byte{seed})
	if err != nil {
		t.Fatal(err)
	}
	p.SNP.Now, p.TDX.Now = clockAt, clockAt
	return p
}

func clockAt() time.Time { return now }

func trusting(t testing.TB, p *simulated.Platform) *azurecvm.Verifier {
	t.Helper()
	cfg, err := p.Config()
	if err != nil {
		t.Fatal(err)
	}
	return verifier(t, cfg)
}

// boot starts a software TPM that booted a real log, as a machine of the platform, and
// opens it as the agent does.
func boot(t *testing.T, p *simulated.Platform, o simulated.Options) *guest.Machine {
	t.Helper()
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	s, err := swtpm.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	if err := errors.Join(s.Boot(testdata.Ubuntu2404AmdSevSnpEventLog), os.WriteFile(log, testdata.Ubuntu2404AmdSevSnpEventLog, 0o600)); err != nil {
		t.Fatal(err)
	}
	raw, err := linuxudstpm.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Install(raw, o)
	if err != nil {
		t.Fatal(err)
	}
	imds := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := m.Metadata(r.URL.Path)
		if !ok || r.Header.Get("Metadata") != "true" {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		_, _ = w.Write(answer)
	}))
	g, err := guest.Open(guest.Options{Type: attest.TypeAzureCVM.Simulated(), TPM: s.Socket, IMDS: imds.URL, EventLog: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		imds.Close()
		if err := errors.Join(raw.Close(), g.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return g
}

func collect(t *testing.T, g *guest.Machine, kind tpmguest.Kind) attest.Evidence {
	t.Helper()
	r, err := g.NewRecipient(t.Context(), kind, tpmguest.DefaultSelection())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ev, err := g.Evidence(t.Context(), tpmtest.RuntimeData(string(r.JWK), nonce), tpmguest.DefaultSelection(), r)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// TestRealTPM is both halves with a TPM between them.
func TestRealTPM(t *testing.T) {
	for name, kind := range map[string]uint32{guest.SNP: format.HCLSNP, guest.TDX: format.HCLTDX} {
		t.Run(name, func(t *testing.T) {
			p := platform(t, 1)
			g := boot(t, p, simulated.Options{Kind: kind})
			if got, err := g.Detect(t.Context()); err != nil || got != name {
				t.Fatalf("detected %q, %v", got, err)
			}
			var id attest.Identity
			for _, kind := range []tpmguest.Kind{tpmguest.Hybrid, tpmguest.RSA} {
				ev := collect(t, g, kind)
				res, err := trusting(t, p).Verify(t.Context(), ev, attest.Expect{At: now})
				if err != nil {
					t.Fatal(err)
				}
				releasable(t, res, name)
				if id != (attest.Identity{}) && id != res.Identity {
					t.Errorf("identities %v and %v of one machine", id, res.Identity)
				}
				id = res.Identity
				if c, _ := res.Claims["azure"].(map[string]any)["ak_certificate"].(map[string]any); c["issuer"] != p.AKs.Intermediate.Subject.String() {
					t.Errorf("AK certificate: %v", c)
				}
				_, err = trusting(t, platform(t, 2)).Verify(t.Context(), ev, attest.Expect{At: now})
				wantCheck(t, err, attest.CheckChainUntrusted)
			}
		})
	}
}

// releasable fails unless the floor of a release would take the result.
func releasable(t *testing.T, res *attest.Result, native string) {
	t.Helper()
	f := res.Facts
	if !f.Chain || !f.Signature || !f.Bound || !f.Recipient || !f.Resident || f.Revocation != attest.Checked || f.Debug || f.Migratable {
		t.Errorf("facts %+v", f)
	}
	if native == guest.TDX && f.TCBStatus != attest.TCBUpToDate {
		t.Errorf("TCB status %q", f.TCBStatus)
	}
	if res.Claims["boot"].(map[string]any)["cmdline"].(string)+"\x00" != testdata.Ubuntu2404AmdSevSnpCmdline || res.Claims[native] == nil {
		t.Errorf("claims %v", res.Claims)
	}
}

// TestTwoMachines swaps parts of two sound machines of one platform: each part is
// genuine and fresh, and none of the mixtures is a machine.
func TestTwoMachines(t *testing.T) {
	p := platform(t, 1)
	a, b := boot(t, p, simulated.Options{}), boot(t, p, simulated.Options{})
	evA, evB := collect(t, a, tpmguest.P256), collect(t, b, tpmguest.P256)
	v := trusting(t, p)
	for name, c := range map[string]struct {
		mix  func(a, b *format.Evidence)
		want attest.Check
	}{
		"nothing":      {func(_, _ *format.Evidence) {}, ""},
		"HCL report":   {func(a, b *format.Evidence) { a.HCL = b.HCL }, attest.CheckNotLinked},
		"quote":        {func(a, b *format.Evidence) { a.TPM.Quote, a.TPM.Signature = b.TPM.Quote, b.TPM.Signature }, attest.CheckSignature},
		"recipient":    {func(a, b *format.Evidence) { a.TPM.Recipient = b.TPM.Recipient }, attest.CheckRecipientUnbound},
		"runtime JSON": {swapRuntime, attest.CheckReportData},
		"hardware":     {swapReport, attest.CheckReportData},
		"certify's data": {func(a, b *format.Evidence) {
			a.TPM.Recipient.Certify, a.TPM.Recipient.Signature = b.TPM.Recipient.Certify, b.TPM.Recipient.Signature
		}, attest.CheckSignature},
	} {
		t.Run(name, func(t *testing.T) {
			ev, mixed := evA, decode(t, evA)
			c.mix(mixed, decode(t, evB))
			var err error
			if ev.Body, err = strict.Marshal(mixed); err != nil {
				t.Fatal(err)
			}
			_, err = v.Verify(t.Context(), ev, attest.Expect{At: now})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantCheck(t, err, c.want)
		})
	}
}

func decode(t testing.TB, ev attest.Evidence) *format.Evidence {
	t.Helper()
	var b format.Evidence
	if err := strict.Unmarshal(ev.Body, 4<<20, &b); err != nil {
		t.Fatal(err)
	}
	return &b
}

// swapRuntime gives a's report the JSON of b, which names b's AK.
func swapRuntime(a, b *format.Evidence) { swap(a, b, func(x, y *format.HCL) { x.Runtime = y.Runtime }) }

// swapReport gives a's JSON the report of b.
func swapReport(a, b *format.Evidence) { swap(a, b, func(x, y *format.HCL) { x.Report = y.Report }) }

func swap(a, b *format.Evidence, mix func(x, y *format.HCL)) {
	x, errX := format.ParseHCL(a.HCL)
	y, errY := format.ParseHCL(b.HCL)
	if errX != nil || errY != nil {
		return
	}
	mix(x, y)
	a.HCL = x.Encode()
}
