package interop

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/openskr/openskr/interop/compat"
	"github.com/openskr/openskr/interop/harness"
)

var update = flag.Bool("update", false, "write docs/azure-cli.md, cli/more.md and docs/compatibility.md again; read the diff before you commit it")

// The Azure CLI does what docs/azure-cli.md says, in the words of that page: its
// commands are run and its output is what they print.
func TestAzureCLI(t *testing.T) {
	t.Parallel()
	b, dir := suite.broker, t.TempDir()
	az := install(t, "cli")
	assertion, err := b.Assertion()
	if err != nil {
		t.Fatal(err)
	}
	who := suite.principals
	env := append(append(os.Environ(), identityEndpoint(t)...), "HOME="+dir, "AZURE_CONFIG_DIR="+filepath.Join(dir, "azure"), "PATH="+filepath.Join(az, "bin")+":"+os.Getenv("PATH"),
		"CLIENT_ID="+b.Admin.ID, "CLIENT_SECRET="+b.Admin.Secret,
		"WEB_ID="+who.Reader.ID, "READER_ID="+who.Reader.ID, "READER_SECRET="+who.Reader.Secret, "CERTIFICATE_ID="+who.Certificate, "CERTIFICATE="+who.CertificateFile,
		"FEDERATED_ID="+who.Federated, "ASSERTION="+assertion,
		"AZURE_CORE_COLLECT_TELEMETRY=false", "AZURE_CORE_SURVEY_MESSAGE=false", "AZURE_CORE_ONLY_SHOW_ERRORS=true")
	for _, page := range []string{"../docs/azure-cli.md", "cli/more.md"} {
		old, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		s := &harness.Session{
			Dir: dir, Env: env, Done: proven,
			Here:  strings.NewReplacer(":8443", ":"+b.Port).Replace,
			There: func(out string) string { return clean(strings.ReplaceAll(out, ":"+b.Port, ":8443")) },
		}
		fresh, err := s.Run(t.Context(), string(old))
		if err != nil {
			t.Errorf("%s: %v", page, err)
			continue
		}
		golden(t, page, string(old), fresh)
	}
}

// proven notes what a block of commands proved: "operation", or "operation: outcome".
func proven(comment string) error {
	name, outcome, ok := strings.Cut(comment, ": ")
	if !ok {
		outcome = string(compat.Works)
	}
	return compat.Append(suite.notes, compat.Note{Client: compat.CLI, Operation: name, Outcome: compat.Outcome(outcome)})
}

var (
	uuids  = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	hexIDs = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
)

// clean shortens what differs between two runs.
func clean(out string) string {
	out = uuids.ReplaceAllString(out, "00000000-0000-0000-0000-000000000000")
	out = hexIDs.ReplaceAllString(out, strings.Repeat("0", 32))
	return out
}

// golden compares a page with what it must be, or writes it.
func golden(t *testing.T, path, old, fresh string) {
	t.Helper()
	if old == fresh {
		return
	}
	if *update {
		if err := os.WriteFile(path, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	a, b := strings.Split(old, "\n"), strings.Split(fresh, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("%s:%d says\n\t%s\nand this run\n\t%s\nWrite it again with -update", path, i+1, a[i], b[i])
		}
	}
	t.Fatalf("%s has %d lines, this run %d", path, len(a), len(b))
}
