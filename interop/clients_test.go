package interop

import (
	"bytes"
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
	js := install(t, "js")
	link(t, filepath.Join(js, "node_modules"), "js/node_modules")
	files, err := filepath.Glob("js/*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatal("no tests", err)
	}
	runClient(t, filepath.Join(js, "bin/node"), append([]string{"--test"}, files...)...)
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

// link points a path in the tree at the cache.
func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
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
