package all_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/all"
	"github.com/openskr/openskr/attest/azurecvm/format"
	nitrosim "github.com/openskr/openskr/attest/nitro/simulated"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/attest/token"
	"github.com/openskr/openskr/attest/tpm"
)

func verifiers(t *testing.T, c all.Config) *all.Verifiers {
	t.Helper()
	v, err := all.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSimulationIsApart: a deployment that is none does not know simulated types.
// It is EV-06.
func TestSimulationIsApart(t *testing.T) {
	plain, sim := verifiers(t, all.Config{}), verifiers(t, all.Config{Seed: &[32]byte{1}})
	n := 0
	for typ := range sim.Set {
		if _, simulated := typ.Base(); simulated {
			n++
			if _, ok := plain.Set[typ]; ok {
				t.Errorf("%s is verified outside a simulation", typ)
			}
		}
	}
	if n == 0 {
		t.Error("a simulation has no simulated type")
	}
}

// TestAnchors: whatever is trusted more shows in the hash that records carry.
func TestAnchors(t *testing.T) {
	base := verifiers(t, all.Config{}).Anchors()
	if base != verifiers(t, all.Config{}).Anchors() {
		t.Error("the hash is not a function of the configuration")
	}
	microsoft, _, err := format.Microsoft()
	if err != nil {
		t.Fatal(err)
	}
	amd, err := snpsim.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	aws, err := nitrosim.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]all.Config{
		"a root of Azure's vTPMs": {Microsoft: microsoft},
		"a root of AMD's kind":    {Products: amd.Products()},
		"a root of Intel's kind":  {Intel: microsoft[:1]},
		"a root of AWS's kind":    {AWS: aws.Config().Roots},
		"a root of Google's kind": {Google: microsoft[:1]},
		"simulated roots":         {Seed: &[32]byte{1}},
		"TPMs":                    {TPM: &tpm.Config{AllowUncertifiedAK: true}},
	} {
		if verifiers(t, c).Anchors() == base {
			t.Errorf("%s: same hash", name)
		}
	}
	if verifiers(t, all.Config{Seed: &[32]byte{1}}).Anchors() == verifiers(t, all.Config{Seed: &[32]byte{2}}).Anchors() {
		t.Error("two seeds, one hash")
	}
}

// TestSchema: claims of one name mean one thing in every TEE (Union panics otherwise).
func TestSchema(t *testing.T) {
	properties := all.Schema()["properties"].(map[string]any)
	for _, name := range []string{"tpm", "snp", "tdx", "sgx", "nitro", "x-ms-sevsnpvm-launchmeasurement", "tdx_mrtd", "x-ms-attestation-type", "unverified"} {
		if _, ok := properties[name]; !ok {
			t.Errorf("no claim %s", name)
		}
	}
}

// TestAssertContains: what a token makes a library do is no more than a refusal.
func TestAssertContains(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	v := verifiers(t, all.Config{
		Endorser: broken{}, Denied: func(string) bool { return false },
		Issuers: []token.Issuer{{Kind: token.KindMAA, Issuer: "https://elsewhere.example"}},
		Own: &token.Own{
			Deployment: "d", Issuers: []string{"https://here.example"},
			JWKS: fmt.Appendf(nil, `{"keys":[{"kty":"RSA","kid":"k","n":%q,"e":"AQAB"}]}`, b64(key.N.Bytes())),
		},
	})
	jwt := b64([]byte(`{"alg":"RS256","typ":"JWT","kid":"k"}`)) + "." + b64([]byte(`{"iss":"https://elsewhere.example"}`)) + ".AAAA"
	at := time.Unix(1800000000, 0)
	for name, c := range map[string]struct {
		v     *all.Verifiers
		check attest.Check
	}{
		"panic":      {v, attest.CheckInternal},
		"no service": {verifiers(t, all.Config{}), attest.CheckTypeUnsupported},
	} {
		said, err := c.v.Assert(t.Context(), jwt, at)
		if rej, ok := errors.AsType[*attest.Rejection](err); said != nil || !ok || rej.Check != c.check {
			t.Errorf("%s: %v, %v", name, said, err)
		}
	}
}

type broken struct{}

func (broken) Endorse(context.Context, attest.Need) (*attest.Document, error) { panic("no document") }

func TestInspectOfNobody(t *testing.T) {
	v := verifiers(t, all.Config{})
	if _, err := v.Inspect(attest.Need{Kind: "other"}, &attest.Document{}, time.Unix(1800000000, 0)); err == nil {
		t.Error("a document that nothing uses was found sound")
	}
}
