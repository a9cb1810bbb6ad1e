package arch

import (
	"slices"
	"strings"
	"testing"
)

// rule says what the code of a folder (its tests aside) may import of ours.
// Reason is the text of a failure.
type rule struct {
	pkg    string   // pattern of matches; the first rule that covers a folder is its rule
	may    []string // patterns of folders
	reason string
}

// The rules of docs/architecture.md, one a line of its table.
var rules = []rule{
	{"attest/*/format", []string{"attest", "attest/*/format"}, "a wire shape is shared by verifier and guest, so it stands below both"},
	{"attest/*/guest", []string{"attest", "attest/binding", "attest/*/format", "attest/tpm/guest", "attest/tsm/guest"}, "the collecting half runs inside the machine and must not carry a verifier"},
	{"attest/all", []string{"attest/..."}, "the list of verifiers knows verifiers and nothing above them"},
	{"attest/tpm/tpmtest", []string{"attest", "attest/binding", "attest/tpm", "attest/tpm/format"}, "evidence for tests needs the shapes and the issuing of certificates"},
	{"attest/*/simulated", []string{"attest", "attest/binding", "attest/dcap", "attest/snp/...", "attest/tdx/...", "attest/azurecvm/...", "attest/nitro/...", "attest/tpm/format"}, "simulated hardware makes evidence under its own root; it needs shapes and configurations"},
	{"attest/attesttest", []string{"attest"}, "the suite is for any Verifier, so it knows only the interface"},
	{"attest/binding", []string{"attest", "internal/strict"}, "runtime data is read by agent and broker alike"},
	{"attest/schema", nil, "a way of writing JSON schema"},
	{"attest/verified", nil, "a cache knows hashes, not what they are of"},
	{"attest/eventlog", nil, "the format of a log, not what it proves"},
	{"attest/azurecvm", []string{"attest", "attest/binding", "attest/schema", "attest/verified", "attest/tpm", "attest/snp", "attest/tdx", "attest/*/format"}, "a composite verifies its parts with their own verifiers"},
	{"attest/gce", []string{"attest", "attest/binding", "attest/schema", "attest/verified", "attest/tpm", "attest/snp", "attest/tdx", "attest/*/format"}, "a composite verifies its parts with their own verifiers"},
	{"attest/dcap", []string{"attest", "attest/binding", "attest/schema", "attest/verified"}, "Intel's quotes are one format for TDX and SGX"},
	{"attest/tdx", []string{"attest", "attest/binding", "attest/schema", "attest/verified", "attest/eventlog", "attest/dcap", "attest/tdx/format"}, "a verifier depends on no other: a new one is a folder and a line"},
	{"attest/sgx", []string{"attest", "attest/binding", "attest/schema", "attest/verified", "attest/dcap", "attest/sgx/format"}, "a verifier depends on no other: a new one is a folder and a line"},
	{"attest/token", []string{"attest", "attest/binding", "attest/schema", "attest/verified", "attest/token/format", "internal/jose"}, "a verifier depends on no other: a new one is a folder and a line"},
	{"attest/tpm", []string{"attest", "attest/binding", "attest/schema", "attest/verified", "attest/eventlog", "attest/tpm/format"}, "a verifier depends on no other: a new one is a folder and a line"},
	{"attest/snp", []string{"attest", "attest/binding", "attest/schema", "attest/verified", "attest/snp/format"}, "a verifier depends on no other: a new one is a folder and a line"},
	{"attest/nitro", []string{"attest", "attest/binding", "attest/schema", "attest/verified", "attest/nitro/format"}, "a verifier depends on no other: a new one is a folder and a line"},
	{"attest", nil, "attest is what every verifier stands on"},

	{"release/receipt", nil, "an auditor vendors release/receipt alone"},
	{"release/wrap", nil, "agent and broker share release/wrap; it knows neither"},
	{"release/releasetest", []string{"release/...", "attest/..."}, "ports in memory stand in for every adapter"},
	{"release/challenge", []string{"release", "release/receipt"}, "a port's implementation knows the port, not its neighbours"},
	{"release/keyvault/p256k", nil, "a curve knows bytes"},
	{"release/keyvault", []string{"release", "release/receipt", "release/wrap", "release/keyvault/p256k", "attest/verified"}, "a port's implementation knows the port, not its neighbours"},
	{"release", []string{"attest", "attest/binding", "release/receipt"}, "the Relying Party decides; protocols, SQL and Rego come in as ports"},

	{"policies/azure", nil, "the JSON grammar is read and translated without knowing who evaluates"},
	{"policies", []string{"release", "attest", "policies/azure"}, "an engine is a release.Policy and knows no adapter"},
	{"enclave-agent/file", nil, "the container of encrypted files is used by agent and operator alike"},
	{"enclave-agent/boot", []string{"enclave-agent", "internal/strict"}, "opening a disk stands on the agent alone: it goes into an initrd"},
	{"enclave-agent/cse", []string{"release/wrap", "internal/strict"}, "a format knows bytes and a key, not where they come from"},
	{"enclave-agent/ageplugin", []string{"enclave-agent", "internal/strict"}, "a plugin of age is a use of the agent"},
	{"enclave-agent/whole", nil, "a file is written without knowing what it holds"},
	{"enclave-agent/blob", []string{"enclave-agent/whole"}, "where bytes lie is independent of how they are encrypted"},
	{"enclave-agent/supervise", []string{"enclave-agent"}, "running a program with its secrets is a use of the agent"},
	{"enclave-agent/keyprovider", []string{"enclave-agent", "release/wrap", "internal/strict"}, "the key provider protocol is a use of the agent"},
	{"enclave-agent/local", []string{"enclave-agent", "release/receipt", "release/wrap", "internal/imds", "internal/strict", "attest", "attest/binding"}, "the local API is a use of the agent; it knows no broker but through it"},
	{"enclave-agent/agenttest", []string{"attest/binding", "attest/*/format", "release/receipt", "release/wrap"}, "a fake broker answers tests; it is no broker"},
	{"enclave-agent", []string{"enclave-agent/file", "enclave-agent/whole", "attest", "attest/binding", "attest/*/guest", "attest/*/format", "release/receipt", "release/wrap", "internal/strict"}, "what boots a machine carries no verifier, no broker and no adapter"},

	{"internal/strict", nil, "strict JSON is below everything"},
	{"internal/jose", nil, "internal/jose is swapped when jwx is: it must know nothing of ours"},
	{"internal/seal", nil, "a root of trust for keys at rest knows bytes, not records"},
	{"internal/telemetry", nil, "telemetry is told names; it does not know types"},
	{"internal/canary", nil, "who looks for a key knows nothing of who had it"},
	{"internal/swtpm", nil, "a software TPM for demo and tests knows nothing of ours"},
	{"internal/store/...", []string{"release", "release/keyvault", "release/receipt", "internal/store/..."}, "rows know records and keys, nothing that serves them"},
	{"internal/audit", []string{"release", "release/keyvault", "release/receipt", "internal/store/...", "attest/verified"}, "the log stands on the store and is a port of release"},
	{"internal/deployment", []string{"release/...", "internal/seal", "internal/store/...", "internal/audit"}, "a deployment is made of keys, log and store; doors open on top of it"},
	{"internal/endorser", []string{"attest"}, "what an authority publishes is fetched and kept without knowing what it proves"},
	{"internal/schedule", nil, "what is due is known by who does it"},
	{"internal/reference", []string{"release", "release/receipt", "attest"}, "reference values are objects with a record; who reads them is a policy's business"},
	{"internal/uki", nil, "a unified kernel image is measured without knowing why"},
	{"internal/simulate/simulatetest", []string{"internal/simulate"}, "hardware for tests is the simulation's"},
	{"internal/simulate", []string{"attest/..."}, "simulated hardware is what a machine would have; it knows no broker"},
	{"internal/enroll", []string{"release/...", "attest/..."}, "enrolment makes machines; it knows no door"},
	{"internal/imds", nil, "a local endpoint hands on what it is given"},
	{"internal/identity", []string{"release", "release/keyvault", "release/receipt", "internal/jose", "attest/verified"}, "who calls is independent of how"},
	{"internal/api/...", []string{"internal/api/...", "release/...", "attest", "attest/binding", "attest/*/format", "internal/identity", "internal/jose", "internal/enroll", "internal/reference", "internal/telemetry", "internal/strict"}, "a door speaks a protocol to ports; it knows no store, no log, no verifier"},
	{"internal/e2e/...", []string{"..."}, "whole machines are tested with the whole product"},
	{"internal/bench", []string{"..."}, "benchmarks measure the whole"},
	{"testvectors", nil, "vectors are for other implementations too"},
	{"internal/arch", nil, "rules have no code"},

	{"cmd/openskr-agent", []string{"enclave-agent", "enclave-agent/boot"}, "the agent's program wires package agent and nothing else"},
	{"cmd/openskr-workload", []string{"enclave-agent/...", "internal/imds", "release/receipt"}, "what runs inside the machine carries no verifier and no broker"},
	{"cmd/...", []string{"..."}, "a composition root may import anything"},
}

func TestImportRules(t *testing.T) {
	for _, f := range tree(t) {
		if f.test {
			continue // a test may look at its package from outside
		}
		r, ok := ruleOf(f.pkg)
		if !ok {
			t.Errorf("%s: no rule covers this folder: say in docs/architecture.md and here what it may import", f.path)
			continue
		}
		for _, imp := range f.imports {
			pkg, ok := ours(imp)
			if ok && pkg != f.pkg && !allowed(r, pkg) {
				t.Errorf("%s imports %s: %s", f.path, pkg, r.reason)
			}
		}
	}
}

func ruleOf(pkg string) (rule, bool) {
	i := slices.IndexFunc(rules, func(r rule) bool { return matches(r.pkg, pkg) })
	if i < 0 {
		return rule{}, false
	}
	return rules[i], true
}

func allowed(r rule, pkg string) bool {
	if pkg == "internal/strict" && r.may != nil { // below everything that may import anything
		return true
	}
	return slices.ContainsFunc(r.may, func(m string) bool { return m == "..." || matches(m, pkg) })
}

// Sole importers: a library that is expensive to leave, or dangerous to hold
// wrongly, is held in one place.
var sole = []struct {
	imp    string // import path or prefix of it
	only   []string
	reason string
}{
	{"github.com/labstack/", []string{"internal/api/..."}, "echo binds and trusts headers too readily: only internal/api handles it"},
	{"github.com/open-policy-agent/opa", []string{"policies"}, "tenants' Rego runs bounded only in package policies"},
	{"github.com/lestrrat-go/", []string{"internal/jose"}, "jwx/v2 is deprecated: leaving it must touch one folder"},
	{"database/sql", []string{"internal/store/..."}, "every query stands where the conformance suite finds it"},
	{"modernc.org/sqlite", []string{"internal/store/..."}, "the driver is an adapter's business"},
	{"github.com/pressly/goose", []string{"internal/store/..."}, "migrations belong to the store"},
	{"github.com/prometheus/", []string{"internal/telemetry"}, "label sets are closed in one place"},
	{"github.com/spf13/cobra", []string{"cmd/..."}, "only programs read flags"},
	{"filippo.io/age", []string{"internal/deployment", "cmd/openskr", "enclave-agent/ageplugin"}, "age is for recovery and for its own files, not for releases"},
	{"github.com/google/go-tpm", []string{"attest/tpm/...", "attest/azurecvm/simulated", "internal/enroll", "internal/swtpm", "internal/simulate", "enclave-agent/agenttest", "cmd/openskr"}, "TPM structures are read by the TPM's verifier and guest"},
	{"github.com/google/go-sev-guest", nil, "go-sev-guest accepts debug, any TCB and trailing bytes: tests compare with it, the product does not stand on it"},
	{"github.com/google/go-tdx-guest", nil, "go-tdx-guest discards the platform's TCB level: tests compare with it, the product does not stand on it"},
	{"github.com/google/go-configfs-tsm", []string{"attest/*/guest"}, "reports are made inside the machine"},
	{"github.com/decred/", []string{"release/keyvault/p256k"}, "secp256k1 is for keys that ask for it, never for a recipient"},
	{"gocloud.dev", []string{"enclave-agent/blob"}, "three clouds' SDKs stay behind one door, and out of the agent"},
	{"google.golang.org/grpc", []string{"enclave-agent/keyprovider"}, "gRPC is for one local protocol"},
	{"github.com/containers/ocicrypt", []string{"enclave-agent/keyprovider"}, "gRPC is for one local protocol"},
	{"go.yaml.in/yaml", []string{"cmd/openskr"}, "configuration is read once, at the top"},
}

func TestSoleImporters(t *testing.T) {
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		for _, imp := range f.imports {
			for _, s := range sole {
				if strings.HasPrefix(imp, s.imp) && !slices.ContainsFunc(s.only, func(p string) bool { return matches(p, f.pkg) }) {
					t.Errorf("%s imports %s: %s", f.path, imp, s.reason)
				}
			}
		}
	}
}

// What a folder may never reach for, even from the standard library.
var forbidden = []struct {
	pkg     string
	except  string
	imports []string
	reason  string
}{
	{"attest/...", "attest/*/guest", []string{"net", "net/http", "os", "os/exec", "database/sql"}, "a verifier has no network and no files: collateral arrives as Endorsements, the clock as Expect.At"},
	{"release/...", "", []string{"net", "net/http", "os", "os/exec", "database/sql"}, "the Relying Party reaches the world through ports only"},
	{"...", "", []string{"math/rand", "math/rand/v2"}, "random numbers here are secrets: crypto/rand"},
	{"...", "", []string{"text/template", "plugin", "net/http/pprof"}, "not in a program that holds keys"},
	{"...", "attest/*/guest", []string{"unsafe"}, "only an ioctl of a device needs it"},
}

func TestForbiddenImports(t *testing.T) {
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		for _, rule := range forbidden {
			if rule.pkg != "..." && !matches(rule.pkg, f.pkg) || rule.except != "" && matches(rule.except, f.pkg) {
				continue
			}
			for _, imp := range f.imports {
				if slices.Contains(rule.imports, imp) {
					t.Errorf("%s imports %s: %s", f.path, imp, rule.reason)
				}
			}
		}
	}
}

// Folders that others embed or that boot a machine name every module they use.
var modulesOf = []struct {
	pkg    string
	may    []string
	reason string
}{
	{"attest", nil, "attest stands on the standard library"},
	{"release", nil, "release stands on the standard library"},
	{"release/receipt", []string{"golang.org/x/mod"}, "an auditor vendors release/receipt alone"},
	{"release/wrap", []string{"github.com/go-json-experiment/json"}, "cryptography comes from the standard library"},
	{"release/challenge", nil, "cryptography comes from the standard library"},
	{"release/keyvault/p256k", []string{"github.com/decred/dcrd/dcrec/secp256k1/v4"}, "the one curve that the standard library has not"},
	{"release/keyvault", nil, "cryptography comes from the standard library"},
	{"attest/binding", []string{"github.com/go-json-experiment/json"}, "the agent links it"},
	{"attest/tpm/guest", []string{"github.com/google/go-tpm", "golang.org/x/sys", "github.com/go-json-experiment/json"}, "the agent links it and stays below 9 MB"},
	{"enclave-agent/boot", []string{"github.com/go-json-experiment/json", "golang.org/x/sys"}, "it goes into an initrd with the agent"},
	{"enclave-agent", []string{"github.com/go-json-experiment/json", "github.com/google/go-tpm", "golang.org/x/sys", "golang.org/x/mod"}, "the agent stays below 9 MB"},
}

func TestModules(t *testing.T) {
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		for _, m := range modulesOf {
			if m.pkg != f.pkg {
				continue
			}
			for _, imp := range f.imports {
				if _, own := ours(imp); own || standard(imp) {
					continue
				}
				if !slices.ContainsFunc(m.may, func(p string) bool { return imp == p || strings.HasPrefix(imp, p+"/") }) {
					t.Errorf("%s imports %s: %s", f.path, imp, m.reason)
				}
			}
		}
	}
}

// The rules themselves are checked on imports that must be refused, so that a
// rule that no longer bites is noticed.
func TestRulesBite(t *testing.T) {
	for _, c := range [][2]string{
		{"attest", "attest/binding"},
		{"attest/tpm", "release"},
		{"attest/tpm/guest", "attest/tpm"},
		{"attest/snp", "attest/tpm"},
		{"release", "internal/store"},
		{"release", "policies"},
		{"release/receipt", "release"},
		{"release/wrap", "attest"},
		{"enclave-agent", "attest/tpm"},
		{"enclave-agent", "release"},
		{"internal/jose", "release"},
		{"internal/api/v1", "internal/store"},
		{"internal/audit", "internal/api"},
		{"internal/store/sqlite", "internal/audit"},
		{"cmd/openskr-agent", "attest/tpm"},
	} {
		if r, ok := ruleOf(c[0]); ok && allowed(r, c[1]) {
			t.Errorf("the rule of %s allows %s", c[0], c[1])
		}
	}
}
