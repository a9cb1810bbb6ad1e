package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/reference"
	"github.com/openskr/openskr/policies"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// of Debian's systemd-boot-efi
const stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

// makeUKI puts an image together around the stub that is installed. Its kernel is
// the stub again: a PE image is all that is asked of it.
func makeUKI(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "image.efi")
	write(t, filepath.Join(dir, "cmdline"), []byte("root=/dev/mapper/root rw systemd.gpt_auto=no nohibernate noresume"))
	args := []string{
		"--add-section", ".cmdline=" + filepath.Join(dir, "cmdline"), "--change-section-vma", ".cmdline=0x1000000",
		"--add-section", ".linux=" + stub, "--change-section-vma", ".linux=0x1100000", stub, image,
	}
	if _, err := os.Stat(stub); err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command("objcopy", args...).CombinedOutput(); err != nil {
		t.Skipf("objcopy: %v: %s", err, out)
	}
	return image
}

func TestReferencesOfAnImage(t *testing.T) {
	image := makeUKI(t)
	u := &ukiFlags{bank: "sha256", pcrs: []int{4, 11}, phases: []string{"none", "enter-initrd"}}
	entries, open, err := u.entries(image)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(open) != "[systemd.import_credentials=no efi=noruntime]" {
		t.Errorf("words against the host that are missing: %v", open)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.Kind, " ", len(e.Value)))
	}
	if strings.Join(got, ",") != "pcr4 64,pcr4 64,pcr11 64,pcr11 64" {
		t.Errorf("%v", got)
	}
	u.before = []string{stub}
	behind, _, err := u.entries(image)
	if err != nil || behind[0] == entries[0] || behind[1] == entries[1] || behind[2] != entries[2] {
		t.Errorf("a program before the image changes PCR 4 and nothing else: %v, %v", behind, err)
	}
	for name, bad := range map[string]ukiFlags{
		"bank": {bank: "sha1", pcrs: []int{11}}, "pcr": {bank: "sha256", pcrs: []int{9}},
		"phase":   {bank: "sha256", pcrs: []int{11}, phases: []string{"shutdown"}},
		"program": {bank: "sha256", pcrs: []int{4}, before: []string{"reference_test.go"}},
		"missing": {bank: "sha256", pcrs: []int{4}, before: []string{"missing"}},
	} {
		if _, _, err := bad.entries(image); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, _, err := u.entries(stub); err == nil {
		t.Error("a stub without a kernel was taken")
	}
}

// TestMeasurements: each claim gives the kind that policies look it up by.
func TestMeasurements(t *testing.T) {
	c := attest.Claims{
		"tdx_mrtd": "01", "tdx_rtmr1": "02", "tdx_rtmr3": "03", "x-ms-sgx-mrenclave": "04",
		"x-ms-isolation-tee": map[string]any{"x-ms-sevsnpvm-launchmeasurement": "05", "snp": map[string]any{"chip_id": "06"}},
		"tpm":                map[string]any{"ek": "07", "pcrs": map[string]any{"sha384": map[string]any{"4": "08", "1": "09", "12": "00"}}},
		"nitro":              map[string]any{"pcrs": map[string]any{"0": "0a", "3": "0b", "8": "00"}},
		"secureboot":         true,
	}
	var usual, named []string
	for _, m := range measurements(c) {
		if m.usual {
			usual = append(usual, m.kind+"="+m.value)
		} else {
			named = append(named, m.kind+"="+m.value)
		}
	}
	if got := strings.Join(usual, " "); got != "mrenclave=04 mrtd=01 nitro-pcr0=0a pcr12=00 pcr4=08 rtmr1=02 snp-measurement=05" {
		t.Error(got)
	}
	for name, c := range map[string]attest.Claims{
		"chip=06 snp-id-key=07 snp-measurement=05": {"x-ms-sevsnpvm-launchmeasurement": "05", "x-ms-sevsnpvm-idkeydigest": "07", "snp": map[string]any{"chip_id": "06"}},
		"": {"azure": map[string]any{}, "snp": map[string]any{"chip_id": "06"}}, // another host tomorrow
	} {
		var got []string
		for _, m := range measurements(c) {
			if m.usual {
				got = append(got, m.kind+"="+m.value)
			}
		}
		if strings.Join(got, " ") != name {
			t.Errorf("%v, want %s", got, name)
		}
	}
	instance := measurements(attest.Claims{"nitro": map[string]any{"nitrotpm_pcrs": map[string]any{"4": "0c"}}})
	if len(instance) != 1 || instance[0] != (taken{"pcr4", "0c", true}) {
		t.Errorf("NitroTPM: %v", instance)
	}
	if got := strings.Join(named, " "); got != "chip=06 ek=07 nitro-pcr3=0b nitro-pcr8=00 pcr1=09 rtmr3=03" {
		t.Error(got)
	}
}

// TestReferencesOfRawEvidence: evidence is verified before anything of it counts.
func TestReferencesOfRawEvidence(t *testing.T) {
	a := &app{stderr: os.Stderr}
	path := filepath.Join(t.TempDir(), "evidence.json")
	write(t, path, []byte(`{"type":"tpm","quote":"AAAA","signature":"AAAA","ak":"AAAA","pcrs":{}}`))
	if c, err := a.claimsOf(t.Context(), path, ""); err == nil {
		t.Errorf("garbage gave %v", c)
	}
}

// TestExplainedWithOtherReferences: an explanation by values that changed since says so.
func TestExplainedWithOtherReferences(t *testing.T) {
	for _, same := range []bool{true, false} {
		var out strings.Builder
		a := &app{stdout: &out}
		rec := &receipt.Record{Decision: receipt.Deny, References: receipt.Digest{1}}
		x := &policies.Explanation{Decision: release.Decision{Messages: []string{"m"}}}
		if same {
			x.Decision.References = rec.References
		}
		a.explain(rec, &shownDecision{Explanation: x})
		if strings.Contains(out.String(), "the decision had others") == same {
			t.Errorf("same %v: %s", same, out.String())
		}
	}
}

// TestExplainedLookup: a value that no reference lists is shown beside those that do.
func TestExplainedLookup(t *testing.T) {
	const claim, table = "input.claims.tdx_mrtd", "data.references.web.mrtd"
	entry := policies.Value{Name: table + "[" + claim + "]", Got: "(missing)"}
	known, got := policies.Value{Name: table, Got: "one of 01… (good)"}, policies.Value{Name: claim, Got: `"02"`}
	for _, c := range []struct {
		values []policies.Value
		want   string
	}{
		{[]policies.Value{got, entry, known}, "expected  one of 01… (good)\n      got       \"02\"\n"},
		{[]policies.Value{{Name: claim, Got: `"one of x"`}, entry, known}, "expected  one of 01… (good)\n      got       \"one of x\"\n"},
		{[]policies.Value{got, entry}, "got       (missing)\n"},
		{[]policies.Value{got, got, entry, known}, "got       (missing)\n"},
	} {
		var out strings.Builder
		a := &app{stdout: &out}
		a.printFailure(policies.Failure{Rule: "allow", Row: 3, Text: entry.Name, Values: c.values})
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%v:\n%s", c.values, out.String())
		}
	}
}

// TestReloadReferences: a reload takes the file's sets, or none of them when one is
// the broker's as well, and leaves no record of what it did not do.
func TestReloadReferences(t *testing.T) {
	r := newRig(t, nil)
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := openBroker(t.Context(), brokerOptions{Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.references.Add(t.Context(), "web", []reference.Entry{{Kind: "pcr4", Value: strings.Repeat("ab", 32)}}, false); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.dir, "references.json")
	reload := func(text string) error {
		t.Helper()
		write(t, file, []byte(text))
		fresh := *cfg
		fresh.References = file
		if err := fresh.write(r.dir, "test"); err != nil {
			t.Fatal(err)
		}
		return b.reload(t.Context(), serveOptions{dir: r.dir, cfg: cfg})
	}
	before := b.digest()
	if err := reload(`{"web":{},"other":{}}`); release.ReasonOf(err) != release.ReasonConflict {
		t.Errorf("clash: %v", err)
	}
	if _, _, found := b.references.List("other", "", 1); found || b.digest() != before {
		t.Error("half of a refused file was taken")
	}
	if err := reload(`{"other":{"pcr4":{"00":{"label":"x"}}}}`); err != nil {
		t.Error(err)
	}
	if _, _, found := b.references.List("other", "", 1); !found || b.digest() == before {
		t.Error("the file was not taken")
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	reloads, adds := 0, 0
	for _, rec := range r.operations(t) {
		switch rec.Operation {
		case "config/reload":
			reloads++
		case reference.OpAdd:
			adds++
		}
	}
	if reloads != 1 || adds != 1 {
		t.Errorf("%d reloads and %d additions in the log", reloads, adds)
	}
}
