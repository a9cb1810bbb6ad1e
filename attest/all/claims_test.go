package all_test

import (
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/all"
	"github.com/openskr/openskr/attest/attesttest"
	azure "github.com/openskr/openskr/attest/azurecvm/format"
	azuresim "github.com/openskr/openskr/attest/azurecvm/simulated"
	"github.com/openskr/openskr/attest/nitro"
	nitrosim "github.com/openskr/openskr/attest/nitro/simulated"
	"github.com/openskr/openskr/attest/sgx"
	sgxformat "github.com/openskr/openskr/attest/sgx/format"
	"github.com/openskr/openskr/attest/snp"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/attest/tdx"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/internal/strict"
)

const runtimeData = `{"keys":[{"kty":"EC"}],"nonce":"AAAA","audience":"a","purpose":"release","key":"k","enc":"e"}`

// TestClaimsAreThoseOfTheSchema: whatever simulated hardware of any shape proves is a
// claim that a policy may name, with its type, and no claim that a policy may name of
// this hardware is one that nothing proves.
func TestClaimsAreThoseOfTheSchema(t *testing.T) {
	seen := map[string]bool{}
	verify := func(v attest.Verifier, ev attest.Evidence, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		ev.RuntimeData = nil // claims do not depend on it
		res, err := v.Verify(t.Context(), ev, attest.Expect{At: time.Now(), Unbound: true})
		if err != nil {
			t.Fatalf("%s: %v", ev.Type, err)
		}
		maps.Copy(seen, attesttest.Claims(t, res.Claims, all.Schema()))
	}
	seed := [32]byte{1}
	v := verifiers(t, all.Config{Seed: &seed})
	for _, c := range []snpsim.Chip{{}, {VLEK: true}, {Product: snp.Turin}, {Version: 2}} {
		ev, err := snpEvidence(seed, c)
		verify(v, ev, err)
	}
	for _, td := range []tdxsim.TD{{Version: 4}, {Version: 5}, {Version: 5, Extended: true}} {
		ev, err := tdxEvidence(seed, td)
		verify(v, ev, err)
	}
	for _, flags := range []uint64{0, 1 << 7} { // without and with KSS
		enclaves, ev, err := enclaveEvidence(seed, flags)
		verify(enclaves, ev, err)
	}
	for _, instance := range []bool{false, true} {
		ev, err := nitroEvidence(seed, instance)
		verify(v, ev, err)
	}
	for _, kind := range []uint32{azure.HCLSNP, azure.HCLTDX} {
		ev, err := azureEvidence(seed, kind)
		verify(v, ev, err)
	}
	for name, schema := range map[string]map[string]any{"snp": snp.Schema(), "tdx": tdx.Schema(), "sgx": sgx.Schema(), "nitro": nitro.Schema()} {
		for _, path := range paths("", schema) {
			if !seen[path] {
				t.Errorf("nothing proves the claim %s of %s", path, name)
			}
		}
	}
}

func snpEvidence(seed [32]byte, c snpsim.Chip) (attest.Evidence, error) {
	p, err := snpsim.New(seed)
	if err != nil {
		return attest.Evidence{}, err
	}
	p.Chip = c
	return p.Evidence([]byte(runtimeData))
}

func tdxEvidence(seed [32]byte, td tdxsim.TD) (attest.Evidence, error) {
	p, err := tdxsim.New(seed)
	if err != nil {
		return attest.Evidence{}, err
	}
	p.TD.Version, p.TD.Extended = td.Version, td.Extended
	return p.Evidence([]byte(runtimeData))
}

// enclaveEvidence has a verifier of its own: no simulation plays SGX.
func enclaveEvidence(seed [32]byte, flags uint64) (attest.Verifier, attest.Evidence, error) {
	ev := attest.Evidence{Type: attest.TypeSGX.Simulated()}
	p, err := tdxsim.New(seed)
	if err != nil {
		return nil, ev, err
	}
	p.Enclave.Flags, p.Collateral.Advisories = flags, []string{"INTEL-SA-1"}
	quote, err := p.SGXQuote([64]byte{})
	if err != nil {
		return nil, ev, err
	}
	if ev.Body, err = strict.Marshal(sgxformat.Evidence{Type: ev.Type, Quote: quote}); err != nil {
		return nil, ev, err
	}
	v, err := sgx.New(sgx.Config{Type: ev.Type, Roots: p.Roots(), Endorser: p})
	return v, ev, err
}

func nitroEvidence(seed [32]byte, instance bool) (attest.Evidence, error) {
	p, err := nitrosim.New(seed)
	if err != nil {
		return attest.Evidence{}, err
	}
	p.NitroTPM = instance
	return p.Evidence([]byte(runtimeData), time.Now())
}

// azureEvidence is the report without a quote: the vTPM's claims are those of
// package tpm, whose tests hold them against its schema.
func azureEvidence(seed [32]byte, kind uint32) (attest.Evidence, error) {
	ev := attest.Evidence{Type: attest.TypeAzureCVM.Simulated()}
	p, err := azuresim.New(seed)
	if err != nil {
		return ev, err
	}
	ak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return ev, err
	}
	m, err := p.Report(&ak.PublicKey, azuresim.Options{Kind: kind})
	if err != nil {
		return ev, err
	}
	body := azure.Evidence{Type: ev.Type, HCL: m.HCL, TDQuote: m.TDQuote}
	body.TPM.Type = attest.TypeTPM
	ev.Endorsements = append(m.Endorsements(), attest.Endorsement{Type: attest.EndorsementAKCertificate, Data: m.AKCertificate})
	ev.Body, err = strict.Marshal(body)
	return ev, err
}
