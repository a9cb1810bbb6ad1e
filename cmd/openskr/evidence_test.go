package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-eventlog/testdata"

	"github.com/openskr/openskr/internal/swtpm"
)

// call runs the program in this process.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// tools runs tpm2-tools against a software TPM, in dir.
func tools(t *testing.T, tpm *swtpm.TPM, dir string, args ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI=cmd:"+pipeEnv+"="+tpm.Socket+" "+self)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// toolsEvidence is a quote as a person with tpm2-tools makes it, of a machine
// that booted what a real one booted.
func toolsEvidence(t *testing.T) (dir string) {
	t.Helper()
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("tpm2_quote"); err != nil {
		t.Skip("tpm2-tools are not installed: apt-get install -y tpm2-tools")
	}
	tpm, err := swtpm.Start(t.Context(), filepath.Join(t.TempDir(), "tpm"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tpm.Close() })
	if err := tpm.Boot(testdata.Ubuntu2404AmdSevSnpEventLog); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "eventlog"), testdata.Ubuntu2404AmdSevSnpEventLog, 0o600); err != nil {
		t.Fatal(err)
	}
	flush := func() {
		tools(t, tpm, dir, "tpm2_flushcontext", "-t")
		tools(t, tpm, dir, "tpm2_flushcontext", "-s")
	}
	tools(t, tpm, dir, "tpm2_createek", "-c", "ek.ctx", "-G", "rsa")
	flush()
	tools(t, tpm, dir, "tpm2_createak", "-C", "ek.ctx", "-c", "ak.ctx", "-G", "rsa", "-g", "sha256", "-s", "rsassa", "-u", "ak.pub")
	flush()
	tools(t, tpm, dir, "tpm2_quote", "-c", "ak.ctx", "-l", "sha256:0,1,2,3,4,5,6,7,8,9,14", "-q", "c0ffee", "-m", "quote", "-s", "signature", "-o", "pcrs", "-g", "sha256")
	return dir
}

func TestEvidenceOfTPM2Tools(t *testing.T) {
	dir := toolsEvidence(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	base := []string{
		"evidence", "verify", "--json", "--type", "tpm", "--quote", in("quote"), "--signature", in("signature"),
		"--ak", in("ak.pub"), "--pcrs", in("pcrs"), "--eventlog", in("eventlog"),
	}
	for _, c := range []struct {
		name  string
		args  []string
		code  int
		check string
	}{
		{"unbound", nil, codeDone, ""},
		{"nonce", []string{"--nonce", "c0ffee"}, codeDone, ""},
		{"other nonce", []string{"--nonce", "c0ffef"}, codeRefused, "report_data_mismatch"},
		{"required freshness", []string{"--require-freshness"}, codeRefused, "report_data_mismatch"},
		{"required chain", []string{"--require-chain"}, codeRefused, "ak_not_trusted"},
		{"roots without a certificate", []string{"--ak-roots", in("roots.pem")}, codeRefused, "ak_not_trusted"},
		{"required revocation", []string{"--require-revocation"}, codeRefused, "cert_revoked"},
		{"required residency", []string{"--require-residency"}, codeRefused, "recipient_not_tpm_bound"},
		{"required binding", []string{"--require-binding"}, codeRefused, "no_recipient"},
		{"runtime data that was not quoted", []string{"--runtime-data", in("eventlog")}, codeRefused, "runtime_data_malformed"},
		{"signature of something else", []string{"--signature", in("quote")}, codeRefused, "signature_invalid"},
		{"quote cut off", []string{"--quote", in("ak.pub")}, codeRefused, "evidence_malformed"},
		{"event log of another machine", []string{"--eventlog", in("other.log")}, codeRefused, "eventlog_replay_mismatch"},
		{"no such file", []string{"--quote", in("none")}, codeUsage, ""},
		{"PCR values that are none", []string{"--pcrs", in("eventlog")}, codeUsage, ""},
		{"AK as PEM", []string{"--ak", in("ak.pem")}, codeUsage, ""},
		{"two ideas of what was quoted", []string{"--nonce", "00", "--runtime-data", in("quote")}, codeUsage, ""},
		{"nonce that is not hex", []string{"--nonce", "zz"}, codeUsage, ""},
		{"time that is none", []string{"--at", "yesterday"}, codeUsage, ""},
		{"parts and a whole", []string{"--attestation", in("quote")}, codeUsage, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, in("other.log"), testdata.Ubuntu2104NoSecureBootEventLog)
			write(t, in("roots.pem"), selfSigned(t))
			write(t, in("ak.pem"), []byte("-----BEGIN PUBLIC KEY-----\n"))
			code, stdout, stderr := call(t, append(slices.Clone(base), c.args...)...)
			if code != c.code {
				t.Fatalf("exit %d, want %d\n%s%s", code, c.code, stdout, stderr)
			}
			if c.code == codeUsage {
				return
			}
			var v struct {
				Verified  *bool           `json:"verified"`
				Check     *string         `json:"check"`
				Freshness string          `json:"freshness"`
				Claims    json.RawMessage `json:"claims"`
			}
			if err := json.Unmarshal([]byte(stdout), &v); err != nil || v.Verified == nil || v.Check == nil {
				t.Fatalf("%v\n%s", err, stdout)
			}
			if *v.Verified != (c.check == "") || *v.Check != c.check || (len(v.Claims) > 0) != *v.Verified {
				t.Errorf("verified %v, check %q, want %q; claims %s", *v.Verified, *v.Check, c.check, v.Claims)
			}
			if want := map[bool]string{true: "checked", false: "not_checked"}[len(c.args) > 0]; *v.Verified && v.Freshness != want {
				t.Errorf("freshness %q, want %q", v.Freshness, want)
			}
		})
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAttestations verifies what Google's cloud signed.
func TestAttestations(t *testing.T) {
	dir := os.Getenv("OPENSKR_VECTORS")
	if dir == "" {
		t.Skip("OPENSKR_VECTORS is not set")
	}
	file := filepath.Join(dir, "tpm-01-gce-cos85-nonce9009", "attestation.pb")
	code, stdout, stderr := call(t, "evidence", "verify", "--type", "tpm", "--attestation", file, "--nonce", "9009")
	if code != codeDone || !strings.Contains(stdout, `"secureboot": true`) {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := call(t, "evidence", "verify", "--type", "tpm", "--attestation", file); code != codeDone || !strings.Contains(stdout, `"freshness": "not_checked"`) {
		t.Errorf("unbound: exit %d\n%s", code, stdout)
	}
	roots := t.TempDir()
	write(t, filepath.Join(roots, "other.pem"), selfSigned(t))
	if code, stdout, _ := call(t, "evidence", "verify", "--type", "tpm", "--attestation", file, "--ak-roots", roots); code != codeRefused {
		t.Errorf("with roots of another authority: exit %d\n%s", code, stdout)
	}
}

func TestPCRForms(t *testing.T) {
	serialized := func(banks, lists uint32, size byte, values int) []byte {
		b := make([]byte, toolsSelections+4+int(min(lists, 4))*toolsDigests)
		le := binary.LittleEndian
		le.PutUint32(b, banks)
		le.PutUint16(b[4:], 0x000b)
		b[6], b[7] = size, 0b11
		le.PutUint32(b[toolsSelections:], lists)
		le.PutUint32(b[toolsSelections+4:], uint32(values))
		for i := range min(values, 8) {
			le.PutUint16(b[toolsSelections+8+66*i:], 32)
		}
		return b
	}
	for _, c := range []struct {
		name string
		in   []byte
		ok   bool
	}{
		{"JSON", []byte(`{"sha256":{"0":"00ff"}}`), true},
		{"JSON, indented", []byte(" {\n\"sha256\":{}}"), true},
		{"repeated member", []byte(`{"sha256":{"0":"00","0":"ff"}}`), false},
		{"not hex", []byte(`{"sha256":{"0":"zz"}}`), false},
		{"serialized", serialized(1, 1, 3, 2), true},
		{"fewer values than selected", serialized(1, 1, 3, 1), false},
		{"more values than selected", serialized(1, 1, 3, 3), false},
		{"no bank", serialized(0, 1, 3, 2), false},
		{"too many banks", serialized(17, 1, 3, 2), false},
		{"one bank twice", serialized(2, 1, 3, 2), false},
		{"selection beyond its field", serialized(1, 1, 5, 2), false},
		{"lists that are not there", serialized(1, 1<<31, 3, 2), false},
		{"cut off", serialized(1, 1, 3, 2)[:600], false},
		{"empty", nil, false},
	} {
		got, err := readPCRs(c.in)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

func FuzzReadPCRs(f *testing.F) {
	f.Add([]byte(`{"sha256":{"0":"00ff"}}`))
	f.Add(make([]byte, toolsSelections+4+toolsDigests))
	f.Fuzz(func(t *testing.T, b []byte) {
		banks, err := readPCRs(b)
		if err != nil {
			return
		}
		n := 0
		for _, bank := range banks {
			n += len(bank)
		}
		if n > len(b) {
			t.Errorf("%d values of %d bytes", n, len(b))
		}
	})
}
