package main

import (
	"bytes"
	"context"
	"crypto/hpke"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-eventlog/testdata"

	"github.com/openskr/openskr/attest"
	nitrosim "github.com/openskr/openskr/attest/nitro/simulated"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/simulate/simulatetest"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/internal/swtpm"
	"github.com/openskr/openskr/policies"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// teeKind is one kind of simulated machine, and where its evidence says things.
type teeKind struct {
	kind     string
	typ      attest.Type
	measured string // claim of what was launched
	id       string // claim that platform_deny takes; "": the id of the machine
}

func teeKinds() []teeKind {
	return []teeKind{
		{"snp", attest.TypeSNP.Simulated(), "snp.measurement", "snp.chip_id"},
		{"tdx", attest.TypeTDX.Simulated(), "tdx_mrtd", "tdx.ppid_hash"},
		{"nitro", attest.TypeNitro.Simulated(), `nitro.pcrs["0"]`, "nitro.module_id"},
		{"azure", attest.TypeAzureCVM.Simulated(), "snp.measurement", ""},
	}
}

// teeRig is a simulation in a process of its own, and machines in this one.
type teeRig struct {
	*rig
	seed [simulate.SeedSize]byte
	tpm  *swtpm.TPM // of the Azure machine; nil: none can be had here
	log  string     // event log that it booted
}

func newTEERig(t *testing.T) *teeRig {
	t.Helper()
	r := &teeRig{rig: bareRig(t, initFlags{simulation: true})}
	var err error
	if r.seed, err = simulate.ReadSeed(r.seedFile()); err != nil {
		t.Fatal(err)
	}
	if swtpm.Available() != nil {
		return r
	}
	if r.tpm, err = swtpm.Start(t.Context(), filepath.Join(shortTemp(t), "t")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.tpm.Close() })
	r.log = filepath.Join(t.TempDir(), "eventlog")
	if err := errors.Join(r.tpm.Boot(testdata.Rhel8EventLog), os.WriteFile(r.log, testdata.Rhel8EventLog, 0o600)); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *teeRig) seedFile() string { return filepath.Join(r.dir, simulate.SeedFile) }

// machine plays a machine of that kind.
func (r *teeRig) machine(t *testing.T, k teeKind, o simulate.Options) agent.Hardware {
	t.Helper()
	h := agent.Hardware{Platform: k.typ}
	if k.kind == "azure" {
		o.TPM, h.TPM, h.EventLog = r.tpm.Socket, r.tpm.Socket, r.log
	}
	h.Simulator = simulatetest.Play(t, k.kind, r.seed, o)
	return h
}

// get asks for a key as openskr-agent does.
func (r *teeRig) get(t *testing.T, h agent.Hardware, key string) (*agent.Released, error) {
	t.Helper()
	a, err := agent.New(t.Context(), agent.Config{Trust: &r.trust, Hardware: h, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	return a.Key(t.Context(), key)
}

// claims are those of a machine's evidence, verified offline.
func (r *teeRig) claims(t *testing.T, h agent.Hardware) attest.Claims {
	t.Helper()
	ev, err := agent.Evidence(t.Context(), h, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "evidence.json")
	write(t, file, ev)
	code, stdout, stderr := call(t, "evidence", "verify", "--json", "--evidence", file, "--simulation", r.seedFile())
	var v verification
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != codeDone || !v.Verified {
		t.Fatalf("exit %d: %v\n%s%s", code, err, stdout, stderr)
	}
	return v.Claims
}

// claim finds a claim by its path.
func claim(t *testing.T, c attest.Claims, path string) string {
	t.Helper()
	var at any = map[string]any(c)
	for name := range strings.SplitSeq(strings.ReplaceAll(strings.TrimSuffix(path, `"]`), `["`, "."), ".") {
		at = object(at)[name]
	}
	s, ok := at.(string)
	if !ok {
		t.Fatalf("no claim %s", path)
	}
	return s
}

// keyFor makes a key that is released to what the machine of that kind has launched.
func (r *teeRig) keyFor(ctx context.Context, t *testing.T, b *broker, k teeKind, measurement string) string {
	t.Helper()
	policy := fmt.Appendf(nil, "package release\n\ndefault allow := false\n\nallow if {\n\tinput.evidence.type == %q\n\tinput.claims.%s == %q\n}\n", k.typ, k.measured, measurement)
	if k.kind == "azure" {
		policy = bytes.Replace(policy, []byte("\n}"), []byte("\n\tinput.claims.secureboot\n}"), 1)
	}
	return r.makeKey(ctx, b, "for-"+k.kind, keyvault.CreateKey{Kty: keyvault.KtyOct, Size: 256}, policy)
}

// evidence is that of a machine of that kind over runtime data, made without an agent.
func (r *teeRig) evidence(t *testing.T, k teeKind) func(runtime []byte) (attest.Evidence, error) {
	t.Helper()
	s, err1 := snpsim.New(r.seed)
	x, err2 := tdxsim.New(r.seed)
	n, err3 := nitrosim.New(r.seed)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	switch k.kind {
	case "snp":
		return s.Evidence
	case "tdx":
		return x.Evidence
	case "nitro":
		return func(runtime []byte) (attest.Evidence, error) { return n.Evidence(runtime, time.Now()) }
	}
	h := r.machine(t, k, simulate.Options{})
	return func(runtime []byte) (ev attest.Evidence, err error) {
		out, err := agent.Evidence(t.Context(), h, runtime)
		if err != nil {
			return ev, err
		}
		var whole struct {
			RuntimeData  attest.Bytes         `json:"runtime_data"`
			Evidence     json.RawMessage      `json:"evidence"`
			Endorsements []attest.Endorsement `json:"endorsements"`
		}
		err = strict.Unmarshal(out, len(out), &whole)
		return attest.Evidence{Type: k.typ, Body: whole.Evidence, RuntimeData: runtime, Endorsements: whole.Endorsements}, err
	}
}

// attempt makes a request whose recipient key is in software.
func (r *teeRig) attempt(t *testing.T, key string, collect func([]byte) (attest.Evidence, error)) *attempt {
	t.Helper()
	private, err := hpke.MLKEM768P256().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.ask(t.Context(), key, private, collect)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// refusedAs sends an attempt, which must be refused for that reason, and gives the
// correlation id.
func (r *teeRig) refusedAs(t *testing.T, a *attempt, reason release.Reason) string {
	t.Helper()
	if err := r.send(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	var out struct {
		Error struct {
			InnerError struct {
				Code string `json:"code"`
			} `json:"innererror"`
			Correlation string `json:"correlation_id"`
		} `json:"error"`
	}
	if err := json.Unmarshal(a.answer, &out); err != nil || a.status != int(reason.Class()) || out.Error.InnerError.Code != string(reason) {
		t.Fatalf("%d %s: want %s", a.status, a.answer, reason)
	}
	return out.Error.Correlation
}

// configure changes a line that init wrote.
func (r *teeRig) configure(t *testing.T, line, into string) {
	t.Helper()
	file := filepath.Join(r.dir, configName)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), line, into, 1)
	if changed == string(text) {
		t.Fatalf("no line %s in the configuration", line)
	}
	write(t, file, []byte(changed))
}

// operator runs a command of the operator, which must succeed, and gives what it printed.
func (r *teeRig) operator(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := call(t, append(args, "--credential", r.dir+".admin.json")...)
	if code != codeDone {
		t.Fatalf("%v: exit %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// decision is what the operator is shown of a correlation id.
type decision struct {
	Record      *receipt.Record       `json:"record"`
	Explanation *policies.Explanation `json:"explanation"`
	Stranger    *audit.Stranger       `json:"stranger"` // refused before it proved who it is: no record of its own
}

func (r *teeRig) decision(t *testing.T, correlation string) (d decision) {
	t.Helper()
	out := r.operator(t, "log", "show", "--json", correlation)
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return d
}
