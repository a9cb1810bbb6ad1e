package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEffective: config check prints what a broker goes by where the file says nothing, and
// the digest that its records carry. Its output is a configuration that means the same.
func TestEffective(t *testing.T) {
	path := filepath.Join(t.TempDir(), configName)
	check := func(text string) (config, digest string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := call(t, "config", "check", path)
		if code != 0 {
			t.Fatalf("exit %d, %s", code, stderr)
		}
		config, digest, _ = strings.Cut(stdout, "# digest in records: ")
		return config, strings.TrimSpace(digest)
	}
	const file = "connections: 100\ntoken_issuers: [{kind: ita, issuer: 'https://a.b'}]\noidc_issuers: [{issuer: 'https://c.d', audiences: [e]}]\n"
	got, digest := check(file)
	for _, want := range []string{
		"listen: 127.0.0.1:8443\n", "release_signature: RS256\n", "nonce_ttl: 2m0s\n", "ak_life: 24h0m0s\n", "drain_timeout: 30s\n",
		"requests_per_second: 200\n", "throttle: 10\n", "connections: 100\n", "connections_per_source: 25\n", "snp_vmpls:\n    - 0\n",
		"amd_kds:\n    - https://kdsintf.amd.com\n", "intel_pcs:\n    - https://api.trustedservices.intel.com\n",
		"max_age: 10m0s\n", "max_life: 24h0m0s\n", "algorithms:\n        - RS256\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not printed: %q", want)
		}
	}
	c, err := parseConfig([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.Digest(); err != nil || d.String() != digest {
		t.Errorf("%s, %v; the records have %s", digest, err, d)
	}
	if again, _ := check(got); again != got {
		t.Errorf("what was printed means something else:\n%s\n%s", got, again)
	}
	if offline, _ := check("collateral_offline: true\n"); strings.Contains(offline, "kdsintf") {
		t.Error("a broker that asks nobody names whom it asks")
	}
}
