package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/go-eventlog/testdata"

	"github.com/openskr/openskr/internal/swtpm"
)

// tpmSteps are a machine with a TPM, from its boot to the audit.
func (d *demo) tpmSteps() []demoStep {
	return append([]demoStep{
		{"A machine with a TPM boots; its firmware, loader and kernel are measured into the PCRs", d.bootMachine},
		{"The operator sets up a deployment and starts the broker", d.startBroker},
		{"The machine enrols: its EK certificate is checked, and it waits for approval", d.enroll},
		{"The operator approves it", d.approve},
		{"The operator encrypts a file; its key is released only to this boot state", d.encrypt},
	}, d.releaseSteps(demoStep{"Somebody tampers: one PCR changes. The machine is refused and learns nothing", d.tamper})...)
}

// releaseSteps are what every demo ends with; wrong brings the machine into a state
// that gets no key.
func (d *demo) releaseSteps(wrong demoStep) []demoStep {
	return []demoStep{
		{"The machine proves what it booted, gets the key, decrypts the file", d.decrypt},
		{"Somebody encrypts a blob as Azure's storage SDKs do, with the public half of a key; the machine decrypts it", d.blob},
		{"An auditor verifies the log entry offline, with the pinned log key alone", d.audit},
		wrong,
		{"The operator sees why", d.explain},
		{"Somebody edits a copy of the log; verification finds the entry", d.forge},
	}
}

func (d *demo) bootMachine(ctx context.Context) (string, error) {
	var err error
	if d.tpm, err = swtpm.Start(ctx, d.path("tpm")); err != nil {
		return "", err
	}
	log := testdata.Rhel8EventLog
	if err := d.tpm.Boot(log); err != nil {
		return "", err
	}
	return "Event log of a real RHEL 8 machine with Secure Boot, replayed into a software TPM.\n",
		errors.Join(os.WriteFile(d.path("eventlog"), log, 0o600), os.WriteFile(d.path("tpm-roots.pem"), d.tpm.Roots, 0o600))
}

func (d *demo) startBroker(ctx context.Context) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	_ = l.Close()
	d.url = "https://" + addr
	hardware := []string{"--simulation"}
	if d.tee == nil {
		hardware = []string{"--ek-roots", d.path("tpm-roots.pem")}
	}
	text, err := d.run(ctx, 0, d.self, append([]string{
		"init", "--data", d.path("broker"), "--kek", d.path("kek", "root.key"), "--listen", addr, "--admin-credential", d.path("admin.json"),
	}, hardware...)...)
	if err != nil {
		return text, err
	}
	d.serve = d.background(ctx, "serve", "--data", d.path("broker"))
	logFile, err := os.Create(d.path("broker.log"))
	if err != nil {
		return text, err
	}
	defer logFile.Close()
	d.serve.Stdout, d.serve.Stderr = logFile, logFile
	if err := d.serve.Start(); err != nil {
		return text, err
	}
	text += d.paint("33", "$ openskr serve --data …/broker &") + "\n"
	return text, d.ready(ctx)
}

// ready waits until the broker answers.
func (d *demo) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	client, err := trustClient(d.path("broker", "agent.json"))
	if err != nil {
		return err
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			b, _ := os.ReadFile(d.path("broker.log"))
			return fmt.Errorf("the broker did not become ready: %w\n%s", ctx.Err(), b)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// agentArgs are the flags every agent call of the demo needs.
func (d *demo) agentArgs(verb ...string) []string {
	args := append(verb, "--config", d.path("broker", agentFile), "--allow-swap") // its keys are for show
	if d.tee != nil {
		args = append(args, "--platform", string(d.tee.platform), "--simulator", d.path(demoSocket))
	} else {
		args = append(args, "--state", d.path("agent"))
	}
	if d.vTPM() {
		args = append(args, "--tpm", d.tpm.Socket, "--eventlog", d.path("eventlog"))
	}
	return args
}

const exitPending = 7 // openskr-agent: enrolled, waiting for approval

func (d *demo) enroll(ctx context.Context) (string, error) {
	return d.run(ctx, exitPending, d.agent, d.agentArgs("enroll")...)
}

func (d *demo) approve(ctx context.Context) (string, error) {
	_, body, err := d.ask(ctx, d.self, "machine", "list", "--json")
	if err != nil {
		return "", err
	}
	var machines struct {
		Value []struct {
			ID string `json:"id"`
		} `json:"value"`
	}
	if err := json.Unmarshal([]byte(body), &machines); err != nil || len(machines.Value) != 1 {
		return "", fmt.Errorf("want one machine in %q: %w", body, err)
	}
	text, err := d.run(ctx, 0, d.self, "machine", "approve", machines.Value[0].ID)
	if err != nil {
		return text, err
	}
	again, err := d.run(ctx, 0, d.agent, d.agentArgs("enroll")...)
	return text + again, err
}

// The policy of the demo names the boot state: what was measured, by value.
const demoPolicy = `package release

default allow := false

# Secure Boot was on, and the kernel was started with exactly this command line.
allow if {
	input.evidence.type == "tpm"
	input.claims.secureboot
	input.claims.boot.cmdline == %q
	input.claims.tpm.pcrs.sha256["4"] == %q # boot loader and kernel
	input.claims.tpm.pcrs.sha256["7"] == %q # Secure Boot state and authorities
	input.claims.tpm.pcrs.sha256["9"] == %q # files the loader read: kernel and initrd
	input.claims.tpm.pcrs.sha256["12"] == "%064d" # nothing was added to the command line
}
`

func (d *demo) encrypt(ctx context.Context) (string, error) {
	claims, err := d.claims(ctx)
	if err != nil {
		return "", err
	}
	pcr := claims.TPM.PCRs.SHA256
	return d.seal(ctx, fmt.Sprintf(demoPolicy, claims.Boot.Cmdline, pcr["4"], pcr["7"], pcr["9"], 0))
}

// seal encrypts the secret file under that release policy.
func (d *demo) seal(ctx context.Context, policy string) (string, error) {
	secret := []byte("The vault's combination is 18-33-7.\n")
	if err := errors.Join(os.WriteFile(d.path("boot.rego"), []byte(policy), 0o600), os.WriteFile(d.path("secret.txt"), secret, 0o600)); err != nil {
		return "", err
	}
	text := d.paint("2", policy)
	check, err := d.run(ctx, 0, d.self, "policy", "check", d.path("boot.rego"))
	if err != nil {
		return text + check, err
	}
	enc, err := d.run(ctx, 0, d.self, "encrypt", d.path("secret.txt"), "--key", "demo-file", "--policy", d.path("boot.rego"))
	return text + check + enc, err
}

// demoClaims is what the demo reads of its own machine to write the policy.
type demoClaims struct {
	Boot struct {
		Cmdline string `json:"cmdline"`
	} `json:"boot"`
	TPM struct {
		PCRs struct {
			SHA256 map[string]string `json:"sha256"`
		} `json:"pcrs"`
	} `json:"tpm"`
}

// claims asks the verifier what this machine's evidence says.
func (d *demo) claims(ctx context.Context) (*demoClaims, error) {
	_, body, err := d.ask(ctx, d.agent, d.agentArgs("evidence")...)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.path("evidence.json"), []byte(body), 0o600); err != nil {
		return nil, err
	}
	if _, body, err = d.ask(ctx, d.self, "evidence", "verify", "--json", "--type", "tpm", "--evidence", d.path("evidence.json")); err != nil {
		return nil, err
	}
	var res struct {
		Claims demoClaims `json:"claims"`
	}
	return &res.Claims, json.Unmarshal([]byte(body), &res)
}

func (d *demo) decrypt(ctx context.Context) (string, error) {
	text, err := d.run(ctx, 0, d.agent, d.agentArgs("decrypt", d.path("secret.txt.skr"), "--out", d.path("plain.txt"))...)
	if err != nil {
		return text, err
	}
	want, err1 := os.ReadFile(d.path("secret.txt"))
	got, err2 := os.ReadFile(d.path("plain.txt"))
	if err := errors.Join(err1, err2); err != nil {
		return text, err
	}
	if !bytes.Equal(want, got) {
		return text, errors.New("the decrypted file differs")
	}
	return text + "plain.txt: " + string(got), nil
}

// lastRelease finds the index of the newest release record with that decision.
func (d *demo) lastRelease(ctx context.Context, decision string) (string, error) {
	_, body, err := d.ask(ctx, d.self, "log", "tail", "--json")
	if err != nil {
		return "", err
	}
	dec, found := json.NewDecoder(strings.NewReader(body)), int64(-1)
	for dec.More() {
		var e struct {
			Index  int64 `json:"index"`
			Record struct {
				Kind     string `json:"kind"`
				Decision string `json:"decision"`
			} `json:"record"`
		}
		if err := dec.Decode(&e); err != nil {
			return "", err
		}
		if e.Record.Kind == "release" && e.Record.Decision == decision {
			found = max(found, e.Index)
		}
	}
	if found < 0 {
		return "", fmt.Errorf("no release record with decision %s", decision)
	}
	return fmt.Sprint(found), nil
}

func (d *demo) audit(ctx context.Context) (string, error) {
	n, err := d.lastRelease(ctx, "allow")
	if err != nil {
		return "", err
	}
	show, err := d.run(ctx, 0, d.self, "log", "show", n)
	if err != nil {
		return show, err
	}
	prove, err := d.run(ctx, 0, d.self, "log", "prove", n, "--out", d.path("receipt.json"))
	if err != nil {
		return show + prove, err
	}
	verify, err := d.run(ctx, 0, d.self, "log", "verify", "--receipt", d.path("receipt.json"), "--trust", d.path("broker", "agent.json"))
	return show + prove + verify, err
}

const exitRefused = 3

func (d *demo) tamper(ctx context.Context) (string, error) {
	if err := d.tpm.Extend(9, []byte("another initrd")); err != nil {
		return "", err
	}
	return d.decryptRefused(ctx)
}

func (d *demo) decryptRefused(ctx context.Context) (string, error) {
	return d.run(ctx, exitRefused, d.agent, d.agentArgs("decrypt", d.path("secret.txt.skr"), "--out", d.path("stolen.txt"))...)
}

func (d *demo) explain(ctx context.Context) (string, error) {
	if _, err := os.Stat(d.path("stolen.txt")); !errors.Is(err, os.ErrNotExist) {
		return "", errors.New("the refused agent left a file behind")
	}
	n, err := d.lastRelease(ctx, "deny")
	if err != nil {
		return "", err
	}
	return d.run(ctx, 0, d.self, "log", "show", n)
}

func (d *demo) forge(ctx context.Context) (string, error) {
	text, err := d.run(ctx, 0, d.self, "log", "export", "--out", d.path("log"))
	if err != nil {
		return text, err
	}
	args := []string{"log", "verify", "--log", d.path("log", "entries.jsonl"), "--checkpoint", d.path("log", "checkpoint"), "--trust", d.path("broker", agentFile)}
	good, err := d.run(ctx, 0, d.self, args...)
	if err != nil {
		return text + good, err
	}
	b, err := os.ReadFile(d.path("log", "entries.jsonl"))
	if err != nil {
		return text, err
	}
	i := bytes.Index(b, []byte(`"decision":"deny"`))
	if i < 0 {
		return text, errors.New("the exported log has no denial")
	}
	b[i+len(`"decision":"d`)] ^= 1
	if err := os.WriteFile(d.path("log", "entries.jsonl"), b, 0o600); err != nil {
		return text, err
	}
	bad, err := d.run(ctx, exitRefused, d.self, args...)
	return text + good + d.paint("31", "(one bit of the copy is flipped)") + "\n" + bad, err
}
