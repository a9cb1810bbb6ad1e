package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

func TestConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "empty",
		"listen: 127.0.0.1:1\nlisten: x":        "already",
		"Listen: 127.0.0.1:1":                   "not found",
		"open_enrollment: true":                 "not found",
		"listen: nowhere":                       "HOST:PORT",
		"listen: 0.0.0.0:8443":                  "hosts",
		"listen: :8443":                         "hosts",
		"hosts: [https://broker.example:8443]":  "without https://",
		"hosts: [a/b]":                          "without https://",
		"vault_suffixes: [.vault.example]":      "without a dot in front",
		"vault_suffixes: ['']":                  "NAME or NAME:PORT",
		"nonce_ttl: 1h":                         "nonce_ttl",
		"nonce_ttl: 1s":                         "nonce_ttl",
		"ak_life: 48h":                          "ak_life",
		"drain_timeout: -1s":                    "drain_timeout",
		"requests_per_second: -1":               "requests_per_second",
		"requests_per_second: 4":                "want 5 or more",
		"snp_vmpls: [4]":                        "levels are 0 to 3",
		"tls_cert: a.pem":                       "go together",
		"log_level: loud":                       "log_level",
		"listen: 127.0.0.1:1\n---\nlisten: x:1": "more than one",
		"open_enrolment: maybe":                 "cannot unmarshal",
	} {
		if _, err := parseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestConfigURLs(t *testing.T) {
	for text, want := range map[string][]string{
		"listen: 127.0.0.1:8443":                         {"https://127.0.0.1:8443"},
		"listen: 0.0.0.0:8443\nhosts: [kv.example]":      {"https://kv.example:8443"},
		"listen: 0.0.0.0:443\nhosts: [kv.example, b:99]": {"https://kv.example", "https://b:99"},
	} {
		c, err := parseConfig([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.URLs(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestConfigSuffixes(t *testing.T) {
	for hosts, want := range map[string][]string{
		"localhost":                              {"localhost:1"},
		"localhost, vault.localhost:9, a.b.test": {"vault.localhost:1", "a.b.test:1", "localhost:1"},
		"127.0.0.1, b.test":                      {"b.test:1"},
	} {
		c, err := parseConfig([]byte("listen: 127.0.0.1:1\nhosts: [" + hosts + "]"))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Suffixes(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", hosts, got, want)
		}
	}
}

func TestListenFor(t *testing.T) {
	for hosts, want := range map[string]string{
		"":                                   "127.0.0.1:8443",
		"localhost:9000":                     "127.0.0.1:9000",
		"localhost,vault.localhost":          "127.0.0.1:8443",
		"[::1]:9000":                         "[::1]:9000",
		"127.0.0.2:9000":                     "127.0.0.2:9000",
		"notlocalhost":                       "0.0.0.0:8443",
		"127.0.0.1:9000,[::1]:9000":          "127.0.0.1:9000",
		"broker.example":                     "0.0.0.0:8443",
		"broker.example:443":                 "0.0.0.0:443",
		"localhost:9000,broker.example:9001": "0.0.0.0:9001",
		"192.0.2.1:8443,b.example:1":         "0.0.0.0:8443",
		"[2001:db8::1]:8443":                 "[::]:8443",
	} {
		if got := listenFor(strings.FieldsFunc(hosts, func(r rune) bool { return r == ',' })); got != want {
			t.Errorf("%q: %s, want %s", hosts, got, want)
		}
	}
}

func TestReached(t *testing.T) {
	for text, want := range map[string]bool{
		"listen: 127.0.0.1:8443":                          true,
		"listen: 0.0.0.0:8443\nhosts: [kv.example]":       true,
		"listen: 0.0.0.0:443\nhosts: [kv.example]":        true,
		"listen: 0.0.0.0:8443\nhosts: [a:1, kv.example]":  true,
		"listen: 0.0.0.0:8443\nhosts: ['kv.example:443']": false,
	} {
		c, err := parseConfig([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if c.reached() != want {
			t.Errorf("%q: reached %v", text, !want)
		}
	}
}

func TestNeedRestart(t *testing.T) {
	old := Config{KEK: "/a", Listen: "h:1", Hosts: []string{"h"}, NonceTTL: 1, RequestsPerSecond: 5, LogLevel: "info"}
	fresh := old
	fresh.LogLevel = "debug"
	if got := fresh.needRestart(&old); got != nil {
		t.Errorf("%v", got)
	}
	fresh = Config{KEK: "/b", Listen: "h:2", Hosts: []string{"i"}, NonceTTL: 2, RequestsPerSecond: 6}
	if got := strings.Join(fresh.needRestart(&old), " "); got != "hosts kek listen nonce_ttl requests_per_second" {
		t.Error(got)
	}
}

// An issuer whose keys come from a URL that the endorser was not made with waits for
// a restart; one that was taken away, or whose keys are in a file, does not.
func TestNeedRestartForIssuers(t *testing.T) {
	a, b := TokenIssuer{Issuer: "https://a.example"}, TokenIssuer{Issuer: "https://b.example", JWKS: "https://b.example/keys"}
	file, moved := TokenIssuer{Issuer: "https://c.example", JWKS: "/keys.json"}, b
	moved.JWKS += "/new"
	old := Config{TokenIssuers: []TokenIssuer{a, b}}
	for name, c := range map[string]struct {
		issuers []TokenIssuer
		restart bool
	}{
		"same": {[]TokenIssuer{b, a}, false}, "fewer": {[]TokenIssuer{a}, false}, "a file more": {[]TokenIssuer{a, b, file}, false},
		"another URL": {[]TokenIssuer{a, moved}, true}, "one more": {[]TokenIssuer{a, b, {Issuer: "https://d.example"}}, true},
	} {
		fresh := Config{TokenIssuers: c.issuers}
		if got := len(fresh.needRestart(&old)) > 0; got != c.restart {
			t.Errorf("%s: restart %v", name, got)
		}
		fresh.keep(&old)
		if len(fresh.TokenIssuers) != len(c.issuers) {
			t.Errorf("%s: issuers of before are believed", name)
		}
	}
}

// TestConfigCheckIsServe: what serve would refuse for its roots, issuers and mirrors,
// config check refuses.
func TestConfigCheckIsServe(t *testing.T) {
	ca, err := tpmtest.New(time.Now()) // its CA is on P-256
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root, path := filepath.Join(dir, "root.der"), filepath.Join(dir, "openskr.yaml")
	if err := os.WriteFile(root, ca.CA.Raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for member, code := range map[string]int{
		"nitro_roots: [" + root + "]":                                                   codeUsage, // not P-384
		"snp_roots: [" + root + "]":                                                     codeUsage,
		"amd_kds: ['http://kds.example']":                                               codeUsage,
		"intel_pcs: [pccs.example]":                                                     codeUsage,
		"intel_pcs: ['https://pccs.example:8081']":                                      0,
		"token_issuers: [{kind: jwt, issuer: 'https://a.b'}]":                           codeUsage,
		"token_issuers: [{kind: ita, issuer: 'https://a.b'}]":                           0,
		"token_issuers: [{kind: gcs, issuer: 'https://a.b'}]":                           codeUsage, // without audience
		"collateral_offline: true":                                                      0,
		"collateral_offline: true\ntoken_issuers: [{kind: ita, issuer: 'https://a.b'}]": codeUsage,
	} {
		if err := os.WriteFile(path, []byte(member+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _, stderr := call(t, "config", "check", path); got != code {
			t.Errorf("%s: exit %d, %s", member, got, stderr)
		}
	}
}

// An error of a file names the member that names the file.
func TestDigestNamesMember(t *testing.T) {
	for member, c := range map[string]Config{
		"ek_allow: ": {EKAllow: "/none"}, "ek_deny: ": {EKDeny: "/none"}, "references: ": {References: "/none"},
		"tls_cert: ": {TLSCert: "/none"}, "ek_roots: ": {EKRoots: []string{"/none"}},
	} {
		if _, err := c.Digest(); err == nil || !strings.HasPrefix(err.Error(), member) {
			t.Errorf("%s%v", member, err)
		}
	}
}

// TestManualNamesEveryMember keeps `openskr config check --help` whole.
func TestManualNamesEveryMember(t *testing.T) {
	manual, err := configManual()
	if err != nil {
		t.Fatal(err)
	}
	for i := range reflect.TypeFor[Config]().NumField() {
		name := reflect.TypeFor[Config]().Field(i).Tag.Get("yaml")
		if !strings.Contains(manual, "\n  "+name+"\n") {
			t.Errorf("%s has no manual", name)
		}
	}
}

func FuzzConfig(f *testing.F) {
	for _, s := range []string{"listen: 127.0.0.1:8443", "hosts: [a, b:1]\nkek: /k", "&a [*a]", "nonce_ttl: 2m", "ek_roots:\n  - x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseConfig(b)
		if err == nil && (c.Listen == "" || len(c.Hosts) == 0 || c.NonceTTL <= 0) {
			t.Errorf("accepted without what it needs: %+v", c)
		}
	})
}

// TestVMPLsReachTheVerifier: the setting does what it says.
func TestVMPLsReachTheVerifier(t *testing.T) {
	c, err := parseConfig([]byte("snp_vmpls: [0, 2]"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := trustOf(c)
	if err != nil || !reflect.DeepEqual(trust.VMPLs, []uint32{0, 2}) {
		t.Errorf("%v, %v", trust.VMPLs, err)
	}
}
