package policies

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
)

const (
	compilerArg = "policy-compiler"
	probeArg    = "confined-probe"
)

// TestMain makes the test binary its own compiler process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == compilerArg {
		os.Exit(CompilerMain(os.Stdin, os.Stdout))
	}
	if len(os.Args) > 2 && os.Args[1] == probeArg {
		os.Exit(probe(os.Args[2]))
	}
	os.Exit(m.Run())
}

func argv() []string { return []string{"/proc/self/exe", compilerArg} }

// claimsSchema is a claims schema like that of package attest/tpm.
func claimsSchema() map[string]any {
	pcrs := map[string]any{}
	for i := range 24 {
		pcrs[fmt.Sprint(i)] = scalar("string")
	}
	str, num, boolean := scalar("string"), scalar("integer"), scalar("boolean")
	array := func(of map[string]any) map[string]any { return map[string]any{"type": "array", "items": of} }
	return object(map[string]any{
		"secureboot":             boolean,
		"secureboot_authorities": array(str), "secureboot_other_authorities": array(str), "secureboot_db_hashes": array(str),
		"boot": object(map[string]any{"cmdline": str, "loader": str, "firmware": str}),
		"tpm": object(map[string]any{
			"pcrs":             object(map[string]any{"sha256": object(pcrs), "sha384": object(pcrs)}),
			"clock":            object(map[string]any{"reset_count": num, "restart_count": num, "safe": boolean}),
			"eventlog":         object(map[string]any{"present": boolean, "complete": boolean, "unexplained": array(num)}),
			"firmware_version": str,
		}),
		"snp": object(map[string]any{
			"measurement": str, "chip_id": str, "id_key_digest": str, "vmpl": num,
			"tcb": object(map[string]any{"reported": object(map[string]any{"boot_loader": num, "tee": num, "snp": num, "microcode": num})}),
		}),
		"tdx_mrtd": str, "tdx_rtmr0": str, "tdx_rtmr1": str, "tdx_rtmr2": str, "tdx_td_attributes_septve_disable": boolean,
		"nitro": object(map[string]any{"pcrs": object(pcrs)}), "gce": object(map[string]any{"project_id": str, "project_number": str}),
		"unverified": object(map[string]any{"os_distro": str}), "attester_tcb_status": str,
		// not of a TEE: for tests of the language
		"level": num, "name": str, "list": array(str), "revoked": boolean, "free": object(nil),
	})
}

func engine(t testing.TB) *Engine {
	t.Helper()
	e, err := New(Config{Compiler: argv(), ClaimsSchema: claimsSchema()})
	if err != nil {
		t.Fatal(err)
	}
	e.limits.wall = time.Hour // steps decide, however busy the machine is
	if err := e.SetReferences(references1()); err != nil {
		t.Fatal(err)
	}
	return e
}

func references1() map[string]any {
	return map[string]any{"web": map[string]any{"pcr4": map[string]any{
		strings.Repeat("4", 64): map[string]any{"label": "image 1", "until": int64(0)},
		strings.Repeat("a", 64): map[string]any{"label": "image 2", "until": int64(2000)},
	}}}
}

func policy(src string) release.ReleasePolicy {
	return release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: []byte(src), Digest: sha256.Sum256([]byte(src))}
}

const preamble = "package release\n\ndefault allow := false\n\n"

// input is a request whose claims are those of a machine, plus extra.
func input(extra attest.Claims) *release.Input {
	pcrs := map[string]any{}
	for i := range 24 {
		pcrs[fmt.Sprint(i)] = strings.Repeat(fmt.Sprintf("%x", i%16), 64)
	}
	claims := attest.Claims{
		"secureboot": true, "level": int64(2), "name": "abc", "list": []any{"a", "b"},
		"boot": map[string]any{"cmdline": "root=/dev/vda ro", "loader": "grub"},
		"tpm": map[string]any{
			"pcrs":     map[string]any{"sha256": pcrs},
			"clock":    map[string]any{"reset_count": int64(7), "restart_count": int64(0), "safe": true},
			"eventlog": map[string]any{"present": true, "complete": true, "unexplained": []any{}},
		},
	}
	for k, v := range extra {
		claims[k] = v
	}
	return &release.Input{
		Request:  release.InputRequest{Key: "https://vault/keys/disk", Version: strings.Repeat("0", 32), Enc: "HPKE", Door: release.DoorNative, Time: 1000},
		Caller:   release.InputCaller{Kind: "machine", ID: "m1", Roles: []string{}},
		Machine:  &release.InputMachine{Labels: map[string]string{"role": "web"}, Enrolled: true},
		Evidence: release.InputEvidence{Type: "tpm", Authority: "ak-ca", Freshness: "nonce"},
		Claims:   claims,
		Key:      release.InputKey{Name: "disk", Tags: map[string]string{"role": "web"}, Attributes: release.Attributes{Enabled: true, Exportable: true}},
	}
}

// diagnostics gives those of a refused upload.
func diagnostics(t *testing.T, err error) []Diagnostic {
	t.Helper()
	var ce *CheckError
	if err == nil || release.ReasonOf(err) != release.ReasonPolicyInvalid || !errors.As(err, &ce) {
		t.Fatalf("want policy_invalid with diagnostics, got %v", err)
	}
	return ce.Diagnostics
}

// sequential skips a long test that starts no goroutine: the race detector can
// find nothing in it and makes it ten times longer.
func sequential(t *testing.T) {
	t.Helper()
	if childData > 1<<40 {
		t.Skip("nothing here for the race detector")
	}
}
