package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
)

// tree makes a folder with these files in it.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		path := filepath.Join(root, f)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files    []string
		provider string
		want     attest.Type
		probed   string            // platforms in order
		why      map[string]string // platform to part of its reason
	}{
		"nothing": {
			probed: "tdx sgx azure-cvm snp cca nitro gce tpm",
			why: map[string]string{
				"tdx": "no /dev/tdx_guest, and configfs gives no reports: file does not exist", "sgx": "no /dev/attestation",
				"azure-cvm": "vTPM cannot be opened", "gce": "vTPM cannot be opened", "snp": "no /dev/sev-guest", "cca": "do not come from arm_cca_guest", "nitro": "no /dev/nsm", "tpm": "no TPM",
			},
		},
		"tdx by provider":   {provider: "tdx_guest", want: attest.TypeTDX, probed: "tdx", why: map[string]string{"tdx": "configfs reports come from tdx_guest"}},
		"tdx by device":     {files: []string{"dev/tdx_guest"}, want: attest.TypeTDX, probed: "tdx", why: map[string]string{"tdx": "/dev/tdx_guest is there"}},
		"snp by provider":   {provider: "sev_guest", want: attest.TypeSNP, probed: "tdx sgx azure-cvm snp", why: map[string]string{"tdx": "configfs reports come from sev_guest"}},
		"snp by device":     {files: []string{"dev/sev-guest"}, want: attest.TypeSNP, probed: "tdx sgx azure-cvm snp"},
		"snp without nodes": {files: []string{"sys/devices/platform/sev-guest/uevent"}, want: attest.TypeSNP, probed: "tdx sgx azure-cvm snp"},
		"tdx before snp":    {files: []string{"dev/sev-guest"}, provider: "tdx_guest", want: attest.TypeTDX, probed: "tdx"},
		"nitro":             {files: []string{"dev/nsm"}, want: attest.TypeNitro, probed: "tdx sgx azure-cvm snp cca nitro"},
		"cca": {
			provider: "arm_cca_guest", probed: "tdx sgx azure-cvm snp cca nitro gce tpm",
			why: map[string]string{"cca": "whose evidence is not supported", "snp": "come from arm_cca_guest"},
		},
		"sgx": {
			files: []string{"dev/sgx_enclave"}, probed: "tdx sgx azure-cvm snp cca nitro gce tpm",
			why: map[string]string{"sgx": "/dev/sgx_enclave is there, but quotes of enclaves are verified, not collected"},
		},
		"sgx in a nitro": {files: []string{"dev/attestation/quote", "dev/nsm"}, want: attest.TypeNitro, probed: "tdx sgx azure-cvm snp cca nitro"},
		"no TPM but a file": {
			files: []string{"dev/tpmrm0"}, probed: "tdx sgx azure-cvm snp cca nitro gce tpm",
			why: map[string]string{"tpm": "neither a device nor a socket"},
		},
	} {
		d := detect(t.Context(), Hardware{Root: tree(t, c.files...)}, func(string) (string, error) {
			if c.provider == "" {
				return "", fs.ErrNotExist
			}
			return c.provider, nil
		})
		var probed []string
		for _, p := range d.Probes {
			probed = append(probed, p.Platform)
			if !strings.Contains(p.Why, c.why[p.Platform]) || p.Why == "" {
				t.Errorf("%s: %s: %q, want %q", name, p.Platform, p.Why, c.why[p.Platform])
			}
			if !strings.Contains(d.Error(), p.Why) {
				t.Errorf("%s: the error does not say %q", name, p.Why)
			}
			if p.Found != (p.Platform == string(d.Platform)) {
				t.Errorf("%s: %s found: %v", name, p.Platform, p.Found)
			}
		}
		if d.Platform != c.want || strings.Join(probed, " ") != c.probed {
			t.Errorf("%s: %q after %v", name, d.Platform, probed)
		}
		if !errors.Is(d, ErrNoHardware) {
			t.Errorf("%s: not ErrNoHardware", name)
		}
	}
}

func TestDetectTPM(t *testing.T) {
	if shared.err != nil {
		t.Skip(shared.err)
	}
	d := Detect(t.Context(), Hardware{Root: tree(t), TPM: shared.Socket})
	if d.Platform != attest.TypeTPM || !strings.Contains(d.Error(), "holds no HCL report") || !strings.Contains(d.Error(), "no AK certificate of Google's") {
		t.Error(d)
	}
}

// A folder that is no configfs has entries without a provider; the one made to ask
// is gone afterwards.
func TestReportProvider(t *testing.T) {
	if _, err := reportProvider(tree(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	root := tree(t, reportFolder+"/.keep")
	if _, err := reportProvider(root); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(root, reportFolder))
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}
