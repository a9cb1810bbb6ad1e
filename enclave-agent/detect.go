package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/openskr/openskr/attest"
	azure "github.com/openskr/openskr/attest/azurecvm/guest"
	gce "github.com/openskr/openskr/attest/gce/guest"
	nitro "github.com/openskr/openskr/attest/nitro/guest"
	snp "github.com/openskr/openskr/attest/snp/guest"
	"github.com/openskr/openskr/attest/tpm/guest"
)

// Detection is what was looked for on this machine, in order, and what was found.
// Nothing of it is evidence: who detects wrongly makes evidence that is refused.
// A Detection without a platform is an error that says why and what to do.
type Detection struct {
	Platform attest.Type `json:"platform"` // "": none
	Probes   []Probe     `json:"probes"`
}

// Probe is one platform that was looked for.
type Probe struct {
	Platform string `json:"platform"` // an evidence type, or "cca"
	Found    bool   `json:"found"`
	Why      string `json:"why"`
	Do       string `json:"do,omitempty"` // what would help, "" when nothing would
}

func (d *Detection) Error() string {
	return "no attestation hardware that this program can use:" + d.List()
}

// List gives the probes, each on a line of its own with a line break in front.
func (d *Detection) List() string {
	var b strings.Builder
	for _, p := range d.Probes {
		fmt.Fprintf(&b, "\n  %-9s  %s", p.Platform, p.Why)
		if p.Do != "" {
			fmt.Fprintf(&b, " (%s)", p.Do)
		}
	}
	return b.String()
}

// Unwrap makes it an [ErrNoHardware].
func (d *Detection) Unwrap() error { return ErrNoHardware }

// reportFolder of the kernel's TSM interface (Linux 6.7,
// Documentation/ABI/testing/configfs-tsm).
const reportFolder = "/sys/kernel/config/tsm/report"

const tdxDevice = "/dev/tdx_guest"

// Providers of it.
const (
	providerSNP = "sev_guest"
	providerTDX = "tdx_guest"
	providerCCA = "arm_cca_guest"
)

// host is the machine that is looked at.
type host struct {
	Hardware
	provider string // of configfs reports, "" when there is none or it cannot be asked
	why      string // there is none
}

// Detect looks for each platform until one is found: hardware TEEs first, since a
// machine with one usually has a vTPM too. It reads what the kernel offers and
// never CPUID, which the host chooses.
func Detect(ctx context.Context, h Hardware) *Detection {
	return detect(ctx, h, reportProvider)
}

func detect(ctx context.Context, h Hardware, provider func(root string) (string, error)) *Detection {
	m := newHost(h, provider)
	d := &Detection{}
	for _, probe := range []func(context.Context) Probe{m.tdx, m.sgx, m.azure, m.snp, m.cca, m.nitro, m.gce, m.plain} {
		p := probe(ctx)
		d.Probes = append(d.Probes, p)
		if p.Found {
			d.Platform = attest.Type(p.Platform)
			break
		}
	}
	return d
}

func newHost(h Hardware, provider func(root string) (string, error)) *host {
	m := &host{Hardware: h}
	var err error
	if m.provider, err = provider(m.Root); err != nil {
		m.why = err.Error()
	}
	return m
}

// reportProvider asks the kernel which TEE makes its reports: an entry of the report
// folder names it.
func reportProvider(root string) (_ string, err error) {
	dir := filepath.Join(root, reportFolder)
	if _, err := os.Stat(dir); err != nil {
		return "", err
	}
	entry, err := os.MkdirTemp(dir, "openskr-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.Remove(entry)) }()
	b, err := os.ReadFile(filepath.Join(entry, "provider"))
	return strings.TrimSpace(string(b)), err
}

// there is the first path that exists.
func (m *host) there(paths ...string) string {
	for _, p := range paths {
		if _, err := os.Lstat(filepath.Join(m.Root, p)); err == nil {
			return p
		}
	}
	return ""
}

// reports answers for a TEE with a configfs provider and devices.
func (m *host) reports(t attest.Type, provider string, devices ...string) Probe {
	p := Probe{Platform: string(t)}
	switch at := m.there(devices...); {
	case m.provider == provider:
		p.Found, p.Why = true, "configfs reports come from "+provider
	case at != "":
		p.Found, p.Why = true, at+" is there"
	case m.provider != "":
		p.Why = fmt.Sprintf("no %s, and configfs reports come from %.32s", devices[0], m.provider)
	default:
		p.Why = fmt.Sprintf("no %s, and configfs gives no reports: %s", devices[0], m.why)
		p.Do = "in such a guest: modprobe " + strings.ReplaceAll(provider, "_", "-") + ", and run as root"
	}
	return p
}

func (m *host) tdx(context.Context) Probe {
	return m.reports(attest.TypeTDX, providerTDX, tdxDevice, "/dev/tdx-guest")
}

func (m *host) snp(context.Context) Probe {
	return m.reports(attest.TypeSNP, providerSNP, snp.DefaultDevice, "/sys/devices/platform/sev-guest")
}

func (m *host) sgx(context.Context) Probe {
	p := Probe{Platform: string(attest.TypeSGX), Why: "no /dev/attestation, /dev/sgx_enclave"}
	if at := m.there("/dev/attestation", "/dev/sgx_enclave"); at != "" {
		p.Why, p.Do = at+" is there, but quotes of enclaves are verified, not collected", "send the quote with your own program"
	}
	return p
}

func (m *host) cca(context.Context) Probe {
	p := Probe{Platform: "cca", Why: "configfs reports do not come from " + providerCCA}
	if m.provider == providerCCA {
		p.Why = "configfs reports come from " + providerCCA + ", whose evidence is not supported"
	}
	return p
}

func (m *host) nitro(context.Context) Probe {
	if m.there(nitro.DefaultDevice) != "" {
		return Probe{Platform: string(attest.TypeNitro), Found: true, Why: nitro.DefaultDevice + " is there"}
	}
	return Probe{Platform: string(attest.TypeNitro), Why: "no " + nitro.DefaultDevice}
}

// azure looks for the report of the paravisor, which is in the vTPM.
func (m *host) azure(ctx context.Context) Probe {
	p := Probe{Platform: string(attest.TypeAzureCVM)}
	a, err := azure.Open(azure.Options{TPM: m.tpm()})
	if err != nil {
		p.Why = "its vTPM cannot be opened, for the reason given at tpm"
		return p
	}
	defer a.Close()
	kind, err := a.Detect(ctx)
	switch {
	case errors.Is(err, azure.ErrNotAzure):
		p.Why = "the TPM holds no HCL report (NV index 0x01400001)"
	case err != nil:
		p.Why = err.Error()
	default:
		p.Found, p.Why = true, "the vTPM holds an HCL report of hardware of type "+kind
	}
	return p
}

// gce looks for the AK certificate of Google's.
func (m *host) gce(ctx context.Context) Probe {
	p := Probe{Platform: string(attest.TypeGCE)}
	g, err := gce.Open(ctx, gce.Options{TPM: m.tpm()})
	switch {
	case errors.Is(err, gce.ErrNotGCE):
		p.Why = "the TPM holds no AK certificate of Google's (NV index 0x01c10000 or 0x01c10002)"
	case errors.Is(err, guest.ErrNoTPM):
		p.Why = "its vTPM cannot be opened, for the reason given at tpm"
	case err != nil:
		p.Why = err.Error()
	default:
		_ = g.Close() // opened to see what it is
		p.Found, p.Why = true, "the vTPM holds an AK certificate of Google's"
	}
	return p
}

// plain is a TPM and nothing else.
func (m *host) plain(context.Context) Probe {
	p := Probe{Platform: string(attest.TypeTPM)}
	t, err := guest.Open(m.tpm())
	if err != nil {
		p.Why = err.Error()
		return p
	}
	_ = t.Close() // opened to see that it can be
	p.Found, p.Why = true, "there is a TPM at "+m.tpm()
	return p
}
