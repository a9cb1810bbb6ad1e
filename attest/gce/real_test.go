package gce_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/gce"
	"github.com/openskr/openskr/attest/gce/format"
	"github.com/openskr/openskr/attest/tpm"
	tpmformat "github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/strict"
)

// attestation is a real one of an instance, from the pinned go-tpm-tools, as evidence
// of type gce.
func attestation(t *testing.T, name string) attest.Evidence {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/go-tpm-tools").Output()
	if err != nil {
		t.Fatal(err)
	}
	pb, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "internal/test/attestations", name))
	if err != nil {
		t.Fatal(err)
	}
	ev, err := tpm.FromAttestation(pb)
	if err != nil {
		t.Fatal(err)
	}
	var part tpmformat.Evidence
	if err := strict.Unmarshal(ev.Body, 1<<20, &part); err != nil {
		t.Fatal(err)
	}
	body, err := strict.Marshal(format.Evidence{Type: attest.TypeGCE, TPM: part})
	if err != nil {
		t.Fatal(err)
	}
	return attest.Evidence{Type: attest.TypeGCE, Body: body, Endorsements: ev.Endorsements}
}

// TestReal verifies an instance of Google's up to the pinned root, today: its AK
// certificate is valid to 2051.
func TestReal(t *testing.T) {
	v := verifier(t, gce.Config{})
	ev := attestation(t, "gce-cos-85-nonce9009.pb")
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: now, SignedData: []byte{0x90, 0x09}})
	if err != nil {
		t.Fatal(err)
	}
	instance := res.Claims["gce"].(map[string]any)
	if instance["project_id"] != "google.com:wuale-gcp-testing" || instance["instance_name"] != "cos-test" || instance["zone"] != "us-central1-a" ||
		instance["project_number"] != "117478743145" || instance["instance_id"] != "6797026933021542085" || instance["security_version"] != "0" {
		t.Errorf("claims %v", instance)
	}
	if res.Claims["secureboot"] != true || !res.Facts.Chain || !res.Facts.Signature || res.Facts.Bound || res.Facts.Freshness != attest.Checked ||
		!strings.Contains(res.Authority, "tpm_ek_v1_cloud_host_root") {
		t.Errorf("%+v", res)
	}
	for name, tc := range map[string]struct {
		want  attest.Expect
		check attest.Check
	}{
		"other nonce": {attest.Expect{At: now, SignedData: []byte{0x90, 0x08}}, attest.CheckReportData},
		"empty nonce": {attest.Expect{At: now, SignedData: []byte{}}, attest.CheckReportData},
		"no nonce":    {attest.Expect{At: now}, attest.CheckRuntimeData},
		"too early":   {attest.Expect{At: time.Date(2021, 8, 31, 0, 0, 0, 0, time.UTC), Unbound: true}, attest.CheckChainExpired},
		"too late":    {attest.Expect{At: time.Date(2051, 8, 25, 0, 0, 0, 0, time.UTC), Unbound: true}, attest.CheckChainExpired},
	} {
		_, err := v.Verify(t.Context(), ev, tc.want)
		t.Run(name, func(t *testing.T) { wantCheck(t, err, tc.check, false) })
	}
}

// TestRealEmptyNonce: a quote over no data binds to nothing, whatever is asked.
func TestRealEmptyNonce(t *testing.T) {
	ev := attestation(t, "gce-cos-85-no-nonce.pb")
	ev.Endorsements = attestation(t, "gce-cos-85-nonce9009.pb").Endorsements // the same AK
	v := verifier(t, gce.Config{})
	_, err := v.Verify(t.Context(), ev, attest.Expect{At: now, SignedData: []byte{}})
	wantCheck(t, err, attest.CheckReportData, false)
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: now, SignedData: []byte{0}})
	wantCheck(t, err, attest.CheckReportData, false)
	ev.RuntimeData = newCloud(t).RuntimeData(nonce)
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: now})
	wantCheck(t, err, attest.CheckReportData, false)
	ev.RuntimeData = nil
	if res, err := v.Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true}); err != nil || res.Facts.Bound || res.Facts.Freshness != attest.NotChecked {
		t.Errorf("%+v, %v", res, err)
	}
}
