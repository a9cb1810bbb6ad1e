package agent

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/release/receipt"
)

// secretBroker is a fake with secrets and two suffixes, and simulated hardware.
func secretBroker(t *testing.T) (*broker, func(change func(*Config)) *Agent) {
	t.Helper()
	b := agenttest.Start(t)
	b.Secrets = map[string][]string{"db": {"old", "p\u00e4ss\n\"word\""}, "empty": {""}}
	b.Trust.VaultSuffixes = []string{"vault.example:8443", "other.example"}
	hw := Hardware{Platform: attest.TypeSNP.Simulated()}
	hw.Simulator, _ = start(t, "snp", simulate.Options{})
	return b, func(change func(*Config)) *Agent {
		return newAgent(t, b, func(c *Config) {
			c.Hardware = hw
			if change != nil {
				change(c)
			}
		})
	}
}

func ref(t *testing.T, trust *receipt.Trust, s string) SecretRef {
	t.Helper()
	r, err := ParseSecretRef(trust, s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReadSecret(t *testing.T) {
	b, newAgent := secretBroker(t)
	a := newAgent(nil)
	for _, c := range []struct{ name, value, version, host string }{
		{"default/db", b.Secrets["db"][1], agenttest.SecretVersion(2), strings.TrimPrefix(b.Server.URL, "https://")},
		{"default/db/" + agenttest.SecretVersion(1), "old", agenttest.SecretVersion(1), strings.TrimPrefix(b.Server.URL, "https://")},
		{"team-a/db", b.Secrets["db"][1], agenttest.SecretVersion(2), "team-a.vault.example:8443"},
		{"https://team-a.other.example/secrets/db", b.Secrets["db"][1], agenttest.SecretVersion(2), "team-a.other.example"},
		{"default/empty", "", agenttest.SecretVersion(1), strings.TrimPrefix(b.Server.URL, "https://")},
	} {
		v, err := a.ReadSecret(t.Context(), ref(t, &b.Trust, c.name))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if string(v.Value.Bytes()) != c.value || v.Version != c.version || b.SecretHost != c.host {
			t.Errorf("%s: %q, version %s, from %s", c.name, v.Value.Bytes(), v.Version, b.SecretHost)
		}
		if err := v.Value.Close(); err != nil {
			t.Error(err)
		}
	}
	if b.Tokens != 3 || b.Reads != 5 {
		t.Errorf("%d tokens for 3 vaults, %d reads for 5 secrets", b.Tokens, b.Reads)
	}
}

// A token serves until shortly before its end; one that is taken no longer is replaced
// once.
func TestTokenIsHeld(t *testing.T) {
	b, newAgent := secretBroker(t)
	now := time.Now()
	a := newAgent(func(c *Config) { c.Now = func() time.Time { return now } })
	read := func() error {
		v, err := a.ReadSecret(t.Context(), ref(t, &b.Trust, "default/db"))
		if err == nil {
			err = v.Value.Close()
		}
		return err
	}
	tokens := func(when string, want int) {
		t.Helper()
		if err := read(); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if b.Tokens != want {
			t.Errorf("%s: %d tokens, want %d", when, b.Tokens, want)
		}
	}
	tokens("first", 1)
	tokens("again", 1)
	now = now.Add(tokenUse - time.Second)
	tokens("before its end", 1)
	now = now.Add(time.Second)
	tokens("at its end", 2)
	b.Material = []byte("another token, which the broker takes from now on")
	tokens("overtaken", 3)
	b.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/secrets/") {
			b.Reads++
			agenttest.Refuse(w, http.StatusUnauthorized, "unauthorized")
			return true
		}
		return false
	}
	b.Reads, b.Tokens = 0, 0
	if err := read(); ExitCode(err) != ExitRefused || b.Reads != 2 || b.Tokens != 1 {
		t.Errorf("%v after %d reads and %d new tokens", err, b.Reads, b.Tokens)
	}
	if len(a.tokens) != 0 {
		t.Error("a token that is not taken is held")
	}
}

// AG-14: readers at once never use a token that another has given back.
func TestReadSecretsAtOnce(t *testing.T) {
	b, newAgent := secretBroker(t)
	a := newAgent(nil)
	of := ref(t, &b.Trust, "default/db")
	got := make(chan error)
	const n = 8
	for range n {
		go func() {
			v, err := a.ReadSecret(t.Context(), of)
			if err == nil {
				err = v.Value.Close()
			}
			got <- err
		}()
	}
	for range n {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
}

// TestSecretLies: what answers is the secret that was asked for, or nothing; an error
// does not repeat it.
func TestSecretLies(t *testing.T) {
	b, newAgent := secretBroker(t)
	a := newAgent(nil)
	b.Secrets["db"] = []string{"canary"}
	id := "https://h/secrets/db/" + agenttest.SecretVersion(1)
	for name, c := range map[string]struct {
		ask, check string
		lie        map[string]any
	}{
		"another secret":  {"default/db", "id", map[string]any{"id": strings.Replace(id, "db", "dc", 1)}},
		"another version": {"default/db/" + agenttest.SecretVersion(1), "id", map[string]any{"id": "https://h/secrets/db/" + agenttest.SecretVersion(2)}},
		"no version":      {"default/db", "id", map[string]any{"id": "https://h/secrets/db"}},
		"a key":           {"default/db", "id", map[string]any{"id": strings.Replace(id, "secrets", "keys", 1)}},
		"no id":           {"default/db", "id", map[string]any{"id": ""}},
		"no value":        {"default/db", "value", map[string]any{"value": nil}},
		"a number":        {"default/db", "value", map[string]any{"value": 1}},
		"an object":       {"default/db", "value", map[string]any{"value": map[string]any{"canary": 1}}},
		"id is no text":   {"default/db", "body", map[string]any{"id": []string{"canary"}}},
	} {
		b.Secret = func(answer map[string]any) { maps.Copy(answer, c.lie) }
		v, err := a.ReadSecret(t.Context(), ref(t, &b.Trust, c.ask))
		var found *Invalid
		if !errors.As(err, &found) || found.Check != c.check || v != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want check %s", name, err, c.check)
		}
	}
	b.Secret = func(answer map[string]any) { answer["newMember"] = map[string]any{"a": 1} }
	if v, err := a.ReadSecret(t.Context(), ref(t, &b.Trust, "default/db")); err != nil || v.Value.Close() != nil {
		t.Errorf("a member that Key Vault has added: %v", err)
	}
	b.Secret = nil
	if _, err := a.ReadSecret(t.Context(), ref(t, &b.Trust, "default/absent")); ExitCode(err) != ExitRefused || !strings.Contains(err.Error(), "/secrets/absent: ") {
		t.Error(err)
	}
}

// AG-05: a redirect of a secret is not followed, the token goes nowhere.
func TestSecretRedirect(t *testing.T) {
	b, newAgent := secretBroker(t)
	asked := false
	other := run(t, httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true })))
	b.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/secrets/") {
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	_, err := newAgent(nil).ReadSecret(t.Context(), ref(t, &b.Trust, "default/db"))
	var found *Invalid
	if !errors.As(err, &found) || found.Check != "redirect" || asked {
		t.Errorf("%v, followed: %v", err, asked)
	}
}

// AG-04: a vault that agent.json does not name is refused before anything is sent.
func TestParseSecretRef(t *testing.T) {
	trust := &receipt.Trust{URLs: []string{"https://broker.example:8443/", "https://[::1]:9"}, VaultSuffixes: []string{"vault.example:8443", "v2.example"}}
	v := agenttest.Version
	for s, want := range map[string]string{
		"default/db":                             "https://broker.example:8443/secrets/db",
		"default/db/" + v:                        "https://broker.example:8443/secrets/db/" + v,
		"team-a/Db-1":                            "https://team-a.vault.example:8443/secrets/Db-1",
		"broker.example:8443/db":                 "https://broker.example:8443/secrets/db",
		"[::1]:9/db":                             "https://[::1]:9/secrets/db",
		"team-a.v2.example/db":                   "https://team-a.v2.example/secrets/db",
		"https://broker.example:8443/secrets/db": "https://broker.example:8443/secrets/db",
		"https://ab1.v2.example/secrets/db/" + v: "https://ab1.v2.example/secrets/db/" + v,

		"":                                    "",
		"db":                                  "",
		"default/":                            "",
		"/db":                                 "",
		"default/db/":                         "",
		"default/db/latest":                   "",
		"default/d b":                         "",
		"default/../db":                       "",
		"default/db?x=1":                      "",
		"Team-a/db":                           "",
		"-team/db":                            "",
		"evil.example/db":                     "",
		"broker.example/db":                   "", // another port
		"broker.example:8443.evil.example/db": "",
		"a.b.vault.example:8443/db":           "",
		"evilvault.example:8443/db":           "",
		"x@ab1.v2.example/db":                 "",
		"https://evil.example/secrets/db":     "",
		"https://u@ab1.v2.example/secrets/db": "",
		"http://ab1.v2.example/secrets/db":    "",
		"https://ab1.v2.example/keys/db":      "",
		"https://ab1.v2.example/x/secrets/db": "",
		"https://ab1.v2.example/secrets/db?a": "",
		"https://ab1.v2.example/secrets/db#a": "",
		"https:///secrets/db":                 "",
		"https://default/secrets/db":          "",
		"https://AB1.v2.example/secrets/db":   "",
		"https://169.254.169.254/secrets/db":  "",
	} {
		r, err := ParseSecretRef(trust, s)
		if want == "" && !errors.Is(err, ErrConfig) || want != "" && (err != nil || r.String() != want) {
			t.Errorf("%q: %s, %v; want %q", s, r, err, want)
		}
	}
	trust.VaultSuffixes = nil
	if _, err := ParseSecretRef(trust, "team-a/db"); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "vault_suffixes") {
		t.Errorf("no suffixes: %v", err)
	}
}

func FuzzParseSecret(f *testing.F) {
	r := SecretRef{name: "db"}
	f.Add([]byte(`{"value":"x","id":"https://h/secrets/db/` + agenttest.Version + `","attributes":{"enabled":true}}`))
	f.Add([]byte(`{"value":"\ud800","id":"https://h/secrets/db/` + agenttest.Version + `"}`))
	f.Add([]byte(`{"value":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseSecret(b, r)
		if err != nil {
			return
		}
		if !isVersion(v.Version) || len(v.Value.Bytes()) > len(b) {
			t.Errorf("%s: %d bytes", v.Version, len(v.Value.Bytes()))
		}
		if err := v.Value.Close(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzParseSecretRef(f *testing.F) {
	trust := &receipt.Trust{URLs: []string{"https://b.example"}, VaultSuffixes: []string{"v.example"}}
	for _, s := range []string{"default/db", "team-a/db/" + agenttest.Version, "https://b.example/secrets/db", "x.v.example/db", "@/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseSecretRef(trust, s)
		if err != nil {
			return
		}
		host, ok := strings.CutPrefix(r.vault, "https://")
		if !ok || host != "b.example" && !strings.HasSuffix(host, ".v.example") || strings.ContainsAny(host, "/@?#\\ ") {
			t.Errorf("%q: %s", s, r)
		}
	})
}
