package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-sev-guest/verify/testdata"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/openskr/openskr/attest"
)

// certificateTableOf is a certificate table of a SEV-SNP host (GHCB 56421, table 9).
func certificateTableOf(guids []string, entries ...[]byte) []byte {
	var header, data []byte
	for i, e := range entries {
		guid, _ := hex.DecodeString(guids[i])
		header = binary.LittleEndian.AppendUint32(append(header, guid...), uint32(24*(len(entries)+1)+len(data)))
		header = binary.LittleEndian.AppendUint32(header, uint32(len(e)))
		data = append(data, e...)
	}
	return append(append(header, make([]byte, 24)...), data...)
}

// TestEndorsementForms gives the certificate of a real chip in every form that
// --endorsement takes: the report is then refused for nothing but its debug bit.
func TestEndorsementForms(t *testing.T) {
	const vcek, ask = "63da758de6644564adc5f4b93be8accd", "4ab7b379bbac4fe4a02f05aef327c782"
	der := testdata.VcekBytes
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	dir := t.TempDir()
	report := filepath.Join(dir, "report")
	write(t, report, testdata.AttestationBytes)
	for name, file := range map[string][]byte{
		"DER": der, "PEM": text, "CRLF": []byte(strings.ReplaceAll(string(text), "\n", "\r\n")), "NUL behind": append(text[:len(text):len(text)], 0),
		"text in front":       append([]byte("subject=CN = SEV-VCEK\n"), text...),
		"issuers in front":    append(trust.AskArkMilanVcekBytes[:len(trust.AskArkMilanVcekBytes):len(trust.AskArkMilanVcekBytes)], text...),
		"table of DER":        certificateTableOf([]string{vcek}, der),
		"table of PEM":        certificateTableOf([]string{vcek}, text),
		"table of PEM, first": certificateTableOf([]string{vcek, ask}, text, trust.AskArkMilanVcekBytes),
		"table of PEM, last":  certificateTableOf([]string{ask, vcek}, trust.AskArkMilanVcekBytes, text),
	} {
		path := filepath.Join(dir, "endorsement")
		write(t, path, file)
		code, stdout, _ := call(t, "evidence", "verify", "--type", "snp", "--report", report, "--endorsement", path)
		var got verification
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != codeRefused || got.Check != attest.CheckDebug {
			t.Errorf("%s: exit %d, check %q, %v", name, code, got.Check, err)
		}
	}
}

// TestEvidenceAsText: bytes that were printed are unreadable, and the message says why.
func TestEvidenceAsText(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		write(t, path, []byte(content))
		return path
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: testdata.VcekBytes}))
	wrapped, err := json.Marshal(map[string]string{"vcekCert": text})
	if err != nil {
		t.Fatal(err)
	}
	raw := file("raw", string(testdata.AttestationBytes))
	printed := file("hex", hex.EncodeToString(testdata.AttestationBytes))
	lines := file("base64", base64.StdEncoding.EncodeToString(testdata.AttestationBytes)+"\r\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--type", "snp", "--report", printed}, "is text"},
		{[]string{"--type", "snp", "--report", lines}, "is text"},
		{[]string{"--type", "tdx", "--quote", printed}, "is text"},
		{[]string{"--type", "sgx", "--quote", lines}, "is text"},
		{[]string{"--type", "nitro", "--document", lines}, "is text"},
		{[]string{"--type", "azure-cvm", "--hcl", printed}, "is text"},
		{[]string{"--type", "snp", "--report", raw, "--endorsement", file("json", string(wrapped))}, "neither a certificate"},
		{[]string{"--type", "snp", "--report", raw, "--endorsement", file("indented", "  "+strings.ReplaceAll(text, "\n", "\n  "))}, "neither a certificate"},
	} {
		if code, _, stderr := call(t, append([]string{"evidence", "verify"}, c.args...)...); code != codeUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit %d, %s", c.args, code, stderr)
		}
	}
	// A host's buffer around a report is not text, and not JSON.
	buffer := file("buffer", string(append(testdata.AttestationBytes[:1184:1184], make([]byte, 4000-1184)...)))
	if code, stdout, _ := call(t, "evidence", "verify", "--type", "snp", "--report", buffer); code != codeRefused || !strings.Contains(stdout, "report of 4000 bytes, want 1184") {
		t.Errorf("exit %d, %s", code, stdout)
	}
}
