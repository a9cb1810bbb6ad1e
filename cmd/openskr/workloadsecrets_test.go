package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// secretsRig is a simulation with the secret db in two vaults, and a machine that an
// attested role lets read it.
type secretsRig struct {
	*teeRig
	machine agent.Hardware
}

func newSecretsRig(t *testing.T) *secretsRig {
	t.Helper()
	r := newTEERig(t)
	r.configure(t, "vault_suffixes: []", "vault_suffixes: [kv.example]")
	r.withBroker(func(ctx context.Context, b *broker) {
		_, err := b.keys.CreateVault(ctx, "team-a", keyvault.VaultSettings{})
		for _, vault := range []string{keyvault.DefaultVault, "team-a"} {
			for _, name := range []string{"db", "other"} {
				_, serr := b.keys.SetSecret(ctx, vault, name, []byte(name+" of "+vault), keyvault.SecretSettings{})
				err = errors.Join(err, serr)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	r.start(servedBroker{})
	t.Cleanup(func() { _ = r.stop(syscall.SIGTERM) })
	k := teeKinds()[0]
	s := &secretsRig{r, r.machine(t, k, simulate.Options{})}
	policy := fmt.Appendf(nil, "package release\n\nallow if {\n\tinput.evidence.type == %q\n\tinput.claims.%s == %q\n}\n", k.typ, k.measured, claim(t, r.claims(t, s.machine), k.measured))
	for _, vault := range []string{keyvault.DefaultVault, "team-a"} {
		r.attestedRole(t, "db-"+vault, "Key Vault Secrets User", "/vaults/"+vault+"/secrets/db", policy)
	}
	trust, err := (&app{}).readTrust(filepath.Join(r.dir, agentFile))
	if err != nil {
		t.Fatal(err)
	}
	r.trust = *trust
	return s
}

// TestWorkloadReadsSecrets: the agent reads secrets of any vault that agent.json leads
// to, over a connection to the broker that it names, until something changes.
func TestWorkloadReadsSecrets(t *testing.T) {
	r := newSecretsRig(t)
	if got := r.trust.VaultSuffixes; len(got) != 1 || !strings.HasPrefix(got[0], "kv.example:") {
		t.Fatalf("agent.json has the suffixes %q", got)
	}
	a, err := agent.New(t.Context(), agent.Config{Trust: &r.trust, Hardware: r.machine, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	read := func(name string) (string, error) {
		ref, err := agent.ParseSecretRef(&r.trust, name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := a.ReadSecret(t.Context(), ref)
		if err != nil {
			return "", err
		}
		defer v.Value.Close()
		return string(v.Value.Bytes()), nil
	}
	for _, vault := range []string{"default", "team-a"} {
		if got, err := read(vault + "/db"); err != nil || got != "db of "+vault {
			t.Errorf("%s: %q, %v", vault, got, err)
		}
		var refused *agent.Refused
		if _, err := read(vault + "/other"); !errors.As(err, &refused) || refused.Reason != string(release.ReasonForbidden) {
			t.Errorf("%s: another secret: %v", vault, err)
		}
	}
	// What a token rests on changed: the broker takes it no longer, and a new one is got.
	r.operator(t, "attested-role", "remove", "db-team-a")
	if got, err := read("default/db"); err != nil || got != "db of default" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := read("team-a/db"); agent.ExitCode(err) != agent.ExitRefused {
		t.Error(err)
	}
}

// TestWorkloadRun runs the program as a service would.
func TestWorkloadRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	program := filepath.Join(t.TempDir(), "openskr-workload")
	build := exec.Command("go", "build", "-o", program, "../openskr-workload")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r := newSecretsRig(t)
	run := func(secret string) (string, error) {
		cmd := exec.Command(program, "run", "--config", filepath.Join(r.dir, agentFile), "--platform", string(r.machine.Platform), "--simulator", r.machine.Simulator,
			"--secret", "DB="+secret, "--", "printenv", "DB")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, stderr.String())
		}
		return string(out), err
	}
	for _, secret := range []string{"default/db", "team-a/db", r.url + "/secrets/db"} {
		want := "db of default\n"
		if secret == "team-a/db" {
			want = "db of team-a\n"
		}
		if got, err := run(secret); err != nil || got != want {
			t.Errorf("%s: %q, %v", secret, got, err)
		}
	}
	if out, err := run("default/other"); err == nil || out != "" || !strings.Contains(err.Error(), "exit status 3: ") || !strings.Contains(err.Error(), "role_missing") {
		t.Errorf("another secret: %q, %v", out, err)
	}
	log := r.operator(t, "log", "tail", "--lines", "40", "--json")
	if !strings.Contains(log, `"operation":"secrets/get"`) || !strings.Contains(log, `"caller":{"kind":"machine"`) {
		t.Errorf("no record of a machine that reads a secret:\n%s", log)
	}
}
