package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/ageplugin"
)

const ageKey = "https://vault.example/keys/files/0123456789abcdef0123456789abcdef"

// shownKey is what openskr key show --json prints, without what does not matter here.
func shownKey(t *testing.T) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"key":{"kid":%q,"kty":"EC","crv":"P-256","x":%q,"y":%q},"attributes":{}}`, ageKey, b64(p[1:33]), b64(p[33:]))
}

func TestAgeRecipient(t *testing.T) {
	shown := shownKey(t)
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, []byte(shown), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{path, "-"} {
		var out, stderr bytes.Buffer
		if code := run(t.Context(), []string{"age", "recipient", "--public-key", from}, strings.NewReader(shown), &out, &stderr); code != 0 {
			t.Fatalf("%s: exit %d: %s", from, code, &stderr)
		}
		if r, err := ageplugin.ParseRecipient(strings.TrimSpace(out.String())); err != nil || r.Key() != ageKey {
			t.Errorf("%s: %s: %v", from, &out, err)
		}
	}
}

func TestAgeIdentity(t *testing.T) {
	var out, stderr bytes.Buffer
	args := []string{"age", "identity", "--key", ageKey, "--platform", "snp", "--recipient", "p256", "--pcrs", "0,7", "--state", "here"}
	if code := run(t.Context(), args, nil, &out, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, &stderr)
	}
	comment, line, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
	got, err := ageplugin.ParseIdentity(line)
	if err != nil || !strings.HasPrefix(comment, "# ") {
		t.Fatalf("%s: %v", &out, err)
	}
	here, err := filepath.Abs("here")
	if err != nil {
		t.Fatal(err)
	}
	if want := (ageplugin.Settings{V: 1, Key: ageKey, Platform: "snp", Recipient: "p256", PCRs: "0,7", State: here}); *got != want {
		t.Errorf("%+v, want %+v", *got, want)
	}
}

func TestAgeUsage(t *testing.T) {
	for _, args := range [][]string{
		{"age", "recipient"},
		{"age", "recipient", "--public-key", "x", "--key", ageKey},
		{"age", "recipient", "--public-key", filepath.Join(t.TempDir(), "absent")},
		{"age", "recipient", "--public-key", "-"},
		{"age", "recipient", "--key", ageKey, "--config", filepath.Join(t.TempDir(), "absent")},
		{"age", "identity"},
		{"age", "identity", "--key", "files"},
		{"age", "recipient", "x"},
	} {
		var out, stderr bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader("{}"), &out, &stderr); code != agent.ExitUsage || out.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%q: exit %d, %q, %q", args, code, &out, &stderr)
		}
	}
}

// age starts the program by another name.
func TestAgePluginByName(t *testing.T) {
	args := os.Args
	defer func() { os.Args = args }()
	os.Args = []string{"/usr/bin/" + ageplugin.Program, "version"}
	if code := program(); code != agent.ExitUsage {
		t.Errorf("exit %d: the program does not know itself by the name %s", code, ageplugin.Program)
	}
	os.Args = []string{"/usr/bin/openskr-workload", "version"}
	if code := program(); code != 0 {
		t.Errorf("exit %d under its own name", code)
	}
}
