package interop

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Azure's clients for JavaScript, each file of tests a process of its own.
func TestJavaScript(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("js/*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatal("no tests", err)
	}
	runClient(t, node(t), append([]string{"--test"}, files...)...)
}

// Azure's SDK for Python.
func TestPython(t *testing.T) {
	t.Parallel()
	runClient(t, filepath.Join(install(t, "python"), "bin/python"), "-B", "-m", "unittest", "discover", "--start-directory", "python")
}

// install makes sure that a pinned set of clients is there and says where. Not
// having it is a failure: what is not tried does not work.
func install(t *testing.T, clients string) string {
	t.Helper()
	var stderr bytes.Buffer
	c := exec.CommandContext(t.Context(), "./install.sh", clients)
	c.Stderr = &stderr
	c.Env = suite.outside
	out, err := c.Output()
	if err != nil {
		t.Fatalf("install.sh %s: %v\n%s", clients, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// node gives the program that runs the clients of js/, which finds them by a link beside
// the tests; several tests may put it there at once.
func node(t *testing.T) string {
	t.Helper()
	js := install(t, "js")
	made := filepath.Join("js", "."+rand.Text())
	if err := os.Symlink(filepath.Join(js, "node_modules"), made); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(made, "js/node_modules"); err != nil {
		t.Fatal(errors.Join(err, os.Remove(made)))
	}
	return filepath.Join(js, "bin/node")
}

// runClient runs the tests of another language and shows what they print when they fail.
func runClient(t *testing.T, name string, args ...string) {
	t.Helper()
	b := suite.broker
	s := sidecar(t)
	target, _, err := s.Attest(t.Context(), &s.Target.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := b.Assertion()
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := s.Bearer(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	who := suite.principals
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env = append(os.Environ(), identityEndpoint(t)...)
	c.Env = append(c.Env, "OPENSKR_VAULT="+b.Vault, "OPENSKR_LEGACY_VAULT="+b.Legacy, "OPENSKR_AUTHORITY="+b.Authority, "OPENSKR_TENANT="+b.Tenant,
		"OPENSKR_CLIENT_ID="+b.Admin.ID, "OPENSKR_CLIENT_SECRET="+b.Admin.Secret, "OPENSKR_NOTES="+suite.notes, "OPENSKR_TARGET="+target, "OPENSKR_ACCESS_TOKEN="+bearer,
		"OPENSKR_READER_ID="+who.Reader.ID, "OPENSKR_READER_SECRET="+who.Reader.Secret,
		"OPENSKR_CERTIFICATE_ID="+who.Certificate, "OPENSKR_CERTIFICATE="+who.CertificateFile,
		"OPENSKR_FEDERATED_ID="+who.Federated, "OPENSKR_ASSERTION="+assertion)
	out, err := c.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	if err != nil {
		t.Error(err)
	}
}
