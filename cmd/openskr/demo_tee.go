package main

import (
	"bufio"
	"context"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/simulate"
)

// demoTEE is a confidential machine that the demo can be of.
type demoTEE struct {
	kind     string // of `openskr simulate`
	name     string
	platform attest.Type
	vTPM     bool
	shows    []string // claims to show
	measured string   // what its hardware measures at launch
	policy   string
}

// demoSocket is where the simulated hardware is asked.
const demoSocket = "machine.sock"

// demoTEEs are the machines by the names of --tee. Their policies look measurements up
// in the reference set "demo", which the operator takes from a good machine.
func demoTEEs() map[string]demoTEE {
	return map[string]demoTEE{
		"snp": {
			"snp", "AMD SEV-SNP", attest.TypeSNP.Simulated(), false,
			[]string{"snp.product", "snp.measurement", "snp.policy.debug", "snp.vmpl", "snp.tcb.reported"},
			"firmware, kernel and command line",
			`	input.claims.snp.vmpl == 0
	data.references.demo["snp-measurement"][input.claims.snp.measurement] # firmware, kernel, initrd, command line
`,
		},
		"tdx": {
			"tdx", "Intel TDX", attest.TypeTDX.Simulated(), false,
			[]string{"tdx_mrtd", "tdx_rtmr0", "tdx_rtmr1", "tdx_rtmr2", "tdx.attributes.debug", "tdx.tcb.status"},
			"firmware",
			`	input.evidence.tcb_status == "UpToDate"
	data.references.demo.mrtd[input.claims.tdx_mrtd]   # firmware
	data.references.demo.rtmr0[input.claims.tdx_rtmr0] # its configuration, Secure Boot
	data.references.demo.rtmr1[input.claims.tdx_rtmr1] # boot loader
	data.references.demo.rtmr2[input.claims.tdx_rtmr2] # kernel, initrd, command line
`,
		},
		"azure": {
			"azure", "Azure confidential VM on SEV-SNP", attest.TypeAzureCVM.Simulated(), true,
			[]string{"secureboot", "boot.cmdline", "snp.product", "snp.measurement", "snp.policy.debug", "snp.vmpl"},
			"paravisor below the guest",
			`	input.claims.secureboot
	data.references.demo["snp-measurement"][input.claims.snp.measurement] # paravisor, which has the vTPM
	data.references.demo.pcr4[input.claims.tpm.pcrs.sha256["4"]]          # boot loader and kernel
	data.references.demo.pcr7[input.claims.tpm.pcrs.sha256["7"]]          # Secure Boot state and authorities
	data.references.demo.pcr8[input.claims.tpm.pcrs.sha256["8"]]          # command line
	data.references.demo.pcr9[input.claims.tpm.pcrs.sha256["9"]]          # files the loader read: kernel and initrd
	input.claims.tpm.pcrs.sha256["12"] == "` + strings.Repeat("0", 64) + `" # nothing was added to the command line
`,
		},
		"nitro": {
			"nitro", "AWS Nitro enclave", attest.TypeNitro.Simulated(), false,
			[]string{"nitro.module_id", "nitro.pcrs.0", "nitro.pcrs.8"},
			"enclave image",
			`	data.references.demo["nitro-pcr0"][input.claims.nitro.pcrs["0"]] # enclave image
	data.references.demo["nitro-pcr8"][input.claims.nitro.pcrs["8"]] # certificate that signed it
`,
		},
	}
}

// teeSteps are a confidential machine, from its launch to the audit.
func (d *demo) teeSteps() []demoStep {
	return append([]demoStep{
		{"The operator sets up a SIMULATION and starts the broker: every record will say so", d.startBroker},
		{"A machine starts: " + d.tee.name + ". Its hardware is SIMULATED and vouches under roots of this deployment alone", d.launch},
		{"The operator looks at evidence of this machine, and keeps its measurements as reference values", d.know},
		{"The operator encrypts a file; its key is released only to what was measured", d.encryptTEE},
	}, d.releaseSteps(demoStep{"The host launches another " + d.tee.measured + ". The machine is refused and learns nothing", d.relaunch})...)
}

// launch starts the hardware, whose vTPM, if it has one, booted a real event log.
func (d *demo) launch(ctx context.Context) (text string, err error) {
	if d.tee.vTPM {
		if text, err = d.bootMachine(ctx); err != nil {
			return text, err
		}
	}
	more, err := d.play(ctx)
	return text + more, err
}

// play runs the hardware and waits until it can be asked.
func (d *demo) play(ctx context.Context, options ...string) (string, error) {
	args := append([]string{"simulate", d.tee.kind, "--seed", d.path("broker", simulate.SeedFile), "--socket", d.path(demoSocket)}, options...)
	if d.tee.vTPM {
		args = append(args, "--tpm", d.tpm.Socket)
	}
	d.machine = d.background(ctx, args...)
	var trouble strings.Builder
	d.machine.Stderr = &trouble
	out, err := d.machine.StdoutPipe()
	if err == nil {
		err = d.machine.Start()
	}
	if err != nil {
		return "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop(d.machine)
		return "", fmt.Errorf("openskr simulate: %w\n%s", err, trouble.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return d.shown(d.typed(d.self, args) + " &\n" + line), nil
}

// know verifies evidence of the running machine and makes references of it.
func (d *demo) know(ctx context.Context) (string, error) {
	typed, body, err := d.ask(ctx, d.agent, d.agentArgs("evidence")...)
	if err != nil {
		return "", err
	}
	text := typed + " > …/evidence.json\n"
	if err := os.WriteFile(d.path("evidence.json"), []byte(body), 0o600); err != nil {
		return text, err
	}
	typed, body, err = d.ask(ctx, d.self, "evidence", "verify", "--evidence", d.path("evidence.json"), "--simulation", d.path("broker", simulate.SeedFile), "--json")
	if err != nil {
		return text, err
	}
	text += typed + " > …/good.json\n"
	if err := os.WriteFile(d.path("good.json"), []byte(body), 0o600); err != nil {
		return text, err
	}
	seen, err := d.tee.summary([]byte(body))
	if err != nil {
		return text, err
	}
	add, err := d.run(ctx, 0, d.self, "reference", "from-evidence", d.path("good.json"), "--set", "demo", "--label", "known-good")
	return text + seen + add, err
}

// summary is what to look at first in a verification.
func (t *demoTEE) summary(verified []byte) (string, error) {
	var v verification
	if err := json.Unmarshal(verified, &v); err != nil {
		return "", err
	}
	var b strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&b, "  %-20s %v\n", name, value) }
	line("verified", v.Verified)
	line("type", v.Type)
	line("authority", v.Authority)
	line("chain", v.Chain)
	line("revocation", v.Revocation)
	if v.Revocation != attest.Checked {
		fmt.Fprintln(&b, "                       nobody publishes a list for it; a broker has its own (platform_deny)")
	}
	for _, path := range t.shows {
		var at any = map[string]any(v.Claims)
		for name := range strings.SplitSeq(path, ".") {
			at = object(at)[name]
		}
		if at == nil {
			return "", fmt.Errorf("the evidence has no claim %s", path)
		}
		value, err := json.Marshal(at)
		if err != nil {
			return "", err
		}
		line(path, strings.Trim(string(value), `"`))
	}
	return b.String(), nil
}

func (d *demo) encryptTEE(ctx context.Context) (string, error) {
	return d.seal(ctx, fmt.Sprintf("package release\n\ndefault allow := false\n\nallow if {\n\tinput.evidence.type == %q # simulated hardware\n%s}\n", d.tee.platform, d.tee.policy))
}

// relaunch is the same machine with something else in it.
func (d *demo) relaunch(ctx context.Context) (string, error) {
	stop(d.machine)
	text, err := d.play(ctx, "--measurement", fmt.Sprintf("%x", sha512.Sum384([]byte("another image"))))
	if err != nil {
		return text, err
	}
	more, err := d.decryptRefused(ctx)
	return text + more, err
}
