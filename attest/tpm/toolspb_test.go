package tpm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm-tools/server"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
)

// attestation reads a real attestation from the pinned go-tpm-tools.
func attestation(t testing.TB, name string) []byte {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/go-tpm-tools").Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "internal/test/attestations", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// collected is when the certificates of the real attestations were valid.
var collected = time.Date(2022, 6, 1, 0, 0, 0, 0, time.UTC)

// TestRealAttestation verifies a quote that a Google Compute Engine vTPM made,
// up to Google's root.
func TestRealAttestation(t *testing.T) {
	ev, err := tpm.FromAttestation(attestation(t, "gce-cos-85-nonce9009.pb"))
	if err != nil {
		t.Fatal(err)
	}
	google, err := tpm.New(tpm.Config{ExternalRoots: server.GceEKRoots, ExternalIntermediates: server.GceEKIntermediates})
	if err != nil {
		t.Fatal(err)
	}
	res, err := google.Verify(t.Context(), ev, attest.Expect{At: collected, SignedData: []byte{0x90, 0x09}})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Facts.Chain || !res.Facts.Signature || res.Facts.Bound || res.Facts.Resident || res.Recipient != nil {
		t.Errorf("facts %+v", res.Facts)
	}
	if res.Claims["secureboot"] != true || !strings.Contains(res.Authority, "Google") {
		t.Errorf("authority %q, claims %v", res.Authority, res.Claims)
	}
	t.Log(res.Authority, res.Identity)

	for name, tc := range map[string]struct {
		cfg  tpm.Config
		want attest.Expect
		code attest.Check
	}{
		"other nonce":     {tpm.Config{ExternalRoots: server.GceEKRoots, ExternalIntermediates: server.GceEKIntermediates}, attest.Expect{At: collected, SignedData: []byte{0x90, 0x08}}, attest.CheckReportData},
		"empty nonce":     {tpm.Config{ExternalRoots: server.GceEKRoots, ExternalIntermediates: server.GceEKIntermediates}, attest.Expect{At: collected, SignedData: []byte{}}, attest.CheckReportData},
		"no intermediate": {tpm.Config{ExternalRoots: server.GceEKRoots}, attest.Expect{At: collected, Unbound: true}, attest.CheckChainUntrusted},
		"too late":        {tpm.Config{ExternalRoots: server.GceEKRoots, ExternalIntermediates: server.GceEKIntermediates}, attest.Expect{At: time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC), Unbound: true}, attest.CheckChainExpired},
		"our own CA only": {tpm.Config{AKRoots: caOf(machine(t))}, attest.Expect{At: collected, Unbound: true}, attest.CheckChainUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := tpm.New(tc.cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Verify(t.Context(), ev, tc.want)
			wantCheck(t, err, tc.code)
		})
	}
}

// TestEmptyNonceNeverBinds holds a real quote over no data against data and
// against nothing: only a verification that says it is unbound takes it.
func TestEmptyNonceNeverBinds(t *testing.T) {
	ev, err := tpm.FromAttestation(attestation(t, "gce-cos-85-no-nonce.pb"))
	if err != nil {
		t.Fatal(err)
	}
	ev.Endorsements = nil
	v, err := tpm.New(tpm.Config{AllowUncertifiedAK: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: collected, SignedData: []byte{}})
	wantCheck(t, err, attest.CheckReportData)
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: collected})
	wantCheck(t, err, attest.CheckRuntimeData)
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: collected, Unbound: true})
	if err != nil {
		t.Fatal(err)
	}
	if res.Facts.Chain || res.Authority != "" || res.Facts.Bound || res.Facts.Freshness != attest.NotChecked || res.Identity.ID == "" {
		t.Errorf("facts %+v, authority %q", res.Facts, res.Authority)
	}
}
