package agent

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm"
	azuresim "github.com/openskr/openskr/attest/azurecvm/simulated"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/strict"
)

// TestAKChain: the certificate of an Azure vTPM's AK goes along, with the chain that
// was given, and a verifier that does not know the intermediate takes both.
func TestAKChain(t *testing.T) {
	azure := platforms()[2]
	hw := azure.hardware()
	var seed [32]byte
	hw.Simulator, seed = start(t, azure.kind, simulate.Options{})
	p, err := azuresim.New(seed)
	if err != nil {
		t.Fatal(err)
	}
	hw.AKChain = filepath.Join(t.TempDir(), "chain.pem")
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.AKs.Intermediate.Raw})
	if err := os.WriteFile(hw.AKChain, chain, 0o600); err != nil {
		t.Fatal(err)
	}
	p.AKs.Intermediate = p.AKs.Root // known to nobody
	cfg, err := p.Config()
	if err != nil {
		t.Fatal(err)
	}
	v, err := azurecvm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("audit"))
	for given, want := range map[string]attest.Check{hw.AKChain: "", "": attest.CheckChainUntrusted} {
		hw := hw
		hw.AKChain = given
		out, err := Evidence(t.Context(), hw, []byte("audit"))
		if err != nil {
			t.Fatal(err)
		}
		var req binding.ReleaseRequest
		if err := strict.Unmarshal(out, len(out), &req); err != nil {
			t.Fatal(err)
		}
		ev := attest.Evidence{Type: azure.typ, Body: req.Evidence, Endorsements: req.Endorsements}
		_, err = v.Verify(context.Background(), ev, attest.Expect{At: time.Now(), SignedData: digest[:]})
		var r *attest.Rejection
		if want == "" && err != nil || want != "" && (!errors.As(err, &r) || r.Check != want) {
			t.Errorf("with chain %q: %v, want check %q", given, err, want)
		}
	}
}

// TestAKChainRefused: a file that no evidence would hold, or that is not there.
func TestAKChainRefused(t *testing.T) {
	long := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(long, make([]byte, maxAKChain+1), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("not a certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]Hardware{
		"another platform": {Platform: attest.TypeTPM, AKChain: long},
		"another file":     {Platform: attest.TypeAzureCVM, AKChain: other},
		"absent":           {Platform: attest.TypeAzureCVM, AKChain: long + "er"},
		"too long":         {Platform: attest.TypeAzureCVM, AKChain: long},
	} {
		if _, err := Evidence(t.Context(), h, nil); ExitCode(err) != ExitUsage {
			t.Errorf("%s: exit %d: %v", name, ExitCode(err), err)
		}
	}
}
