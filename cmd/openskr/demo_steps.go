package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// agentArgs are the flags every agent call of the demo needs.
func (d *demo) agentArgs(verb ...string) []string {
	return append(verb, "--config", d.path("broker", "agent.json"), "--tpm", d.tpm.Socket, "--eventlog", d.path("eventlog"), "--state", d.path("agent"))
}

const exitPending = 7 // openskr-agent: enrolled, waiting for approval

func (d *demo) enroll(ctx context.Context) (string, error) {
	return d.run(ctx, exitPending, d.agent, d.agentArgs("enroll")...)
}

func (d *demo) approve(ctx context.Context) (string, error) {
	list, err := d.run(ctx, 0, d.self, "machine", "list", "--json")
	if err != nil {
		return list, err
	}
	_, body, _ := strings.Cut(list, "\n")
	var machines struct {
		Value []struct {
			ID string `json:"id"`
		} `json:"value"`
	}
	if err := json.Unmarshal([]byte(body), &machines); err != nil || len(machines.Value) != 1 {
		return list, fmt.Errorf("want one machine in %q: %w", body, err)
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
	policy := fmt.Sprintf(demoPolicy, claims.Boot.Cmdline, pcr["4"], pcr["7"], pcr["9"], 0)
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
	text, err := d.run(ctx, 0, d.agent, d.agentArgs("evidence")...)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	_, body, _ := strings.Cut(text, "\n")
	if err := os.WriteFile(d.path("evidence.json"), []byte(body), 0o600); err != nil {
		return nil, err
	}
	text, err = d.run(ctx, 0, d.self, "evidence", "verify", "--json", "--type", "tpm", "--evidence", d.path("evidence.json"))
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	_, body, _ = strings.Cut(text, "\n")
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
	text, err := d.run(ctx, 0, d.self, "log", "tail", "--json")
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, text)
	}
	_, body, _ := strings.Cut(text, "\n")
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
