package local

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
)

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

const withIdentity = `{"v":1,"callers":[{"name":"app","identity":{"environment":"%DIR%/e/app.env","group":"%GID%"},
	"vaults":["https://kv1.vault.example:8443","https://alone.other.example"]}]}`

// aGroup is one that this test may give a file to: another's, where it can.
func aGroup() int {
	if os.Geteuid() == 0 {
		return other
	}
	return os.Getgid()
}

// environment reads the file that a service gets.
func (s *served) environment(t *testing.T) map[string]string {
	t.Helper()
	path := filepath.Join(s.dir, "e", "app.env")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if m, st := mode(t, path); m != 0o640 || int(st.Gid) != aGroup() {
		t.Errorf("mode %#o, group %d", m, st.Gid)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		out[name] = value
	}
	if len(out) != 2 {
		t.Errorf("variables %v", out)
	}
	return out
}

func token(t *testing.T, env map[string]string, resource, secret string) (int, map[string]string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, env["IDENTITY_ENDPOINT"]+"?api-version=2019-08-01&resource="+url.QueryEscape(resource), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-IDENTITY-HEADER", secret)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]string
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return resp.StatusCode, out
}

func TestManagedIdentity(t *testing.T) {
	f := &fake{life: `{"iat":1790000000,"exp":1790000900,"jti":"x","more":{"a":[1]}}`}
	s := serve(t, f, strings.ReplaceAll(withIdentity, "%GID%", strconv.Itoa(aGroup())))
	env := s.environment(t)
	secret := env["IDENTITY_HEADER"]
	for resource, want := range map[string]struct {
		status int
		asked  string
	}{
		"https://vault.example:8443":     {http.StatusOK, "token https://kv1.vault.example:8443"},
		"https://kv1.vault.example:8443": {http.StatusOK, "token https://kv1.vault.example:8443"},
		"https://alone.other.example/":   {http.StatusOK, "token https://alone.other.example"},
		"https://vault.example":          {http.StatusBadRequest, ""},
		"https://example:8443":           {http.StatusBadRequest, ""},
		"https://169.254.169.254":        {http.StatusBadRequest, ""},
		"https://vault.azure.net":        {http.StatusBadRequest, ""},
	} {
		before := len(f.calls())
		status, body := token(t, env, resource, secret)
		if got := f.calls()[before:]; status != want.status || want.asked == "" && len(got) != 0 || want.asked != "" && !slices.Equal(got, []string{want.asked}) {
			t.Errorf("%s: %d %v, the agent was asked %q", resource, status, body, got)
		}
		if status == http.StatusOK && (!strings.HasPrefix(body["access_token"], "e30.") || body["client_id"] != DefaultClientID || body["resource"] != resource) {
			t.Errorf("%s: %v", resource, body)
		}
	}
	if status, body := token(t, env, "https://alone.other.example", secret[1:]); status != http.StatusUnauthorized {
		t.Errorf("another secret: %d %v", status, body)
	}
	f.err = &agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied"}
	if status, body := token(t, env, "https://kv1.vault.example:8443/", secret); status != http.StatusBadGateway || !strings.Contains(s.log.String(), "policy_denied") {
		t.Errorf("refused: %d %v, log %s", status, body, s.log.String())
	}
	if log := s.log.String(); strings.Contains(log, secret) || strings.Contains(log, ".sig") {
		t.Errorf("log: %s", log)
	}
}

// The file goes when nobody answers at what it says, and an old one is replaced.
func TestEnvironmentFile(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "app.env")
	if err := os.WriteFile(path, []byte("IDENTITY_HEADER=old\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig([]byte(strings.NewReplacer("%DIR%/e", dir, `,"group":"%GID%"`, "").Replace(withIdentity)))
	if err != nil {
		t.Fatal(err)
	}
	var log logged
	s, err := New(c, Options{Agent: &fake{}, Trust: testTrust(), Log: newLog(&log)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if m, _ := mode(t, path); err != nil || m != 0o600 || strings.Contains(string(b), "old") {
		t.Errorf("%s, %#o, %v", b, m, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is left behind: %v", err)
	}
}

func TestVaultOf(t *testing.T) {
	for _, c := range []struct{ vaults, resource, want string }{
		{"https://a.v", "https://a.v", "https://a.v"},
		{"https://a.v", "https://v", "https://a.v"},
		{"https://a.v:1", "https://v:1", "https://a.v:1"},
		{"https://a.v:1", "https://v", ""},
		{"https://a.v https://b.v", "https://v", ""},
		{"https://a.v https://b.v", "https://b.v", "https://b.v"},
		{"https://a.b.v", "https://v", ""},
		{"https://a.v", "http://v", ""},
		{"https://a.v", "", ""},
		{"https://a", "https://", ""},
	} {
		got, err := vaultOf(strings.Fields(c.vaults), c.resource)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s of %s: %q, %v", c.resource, c.vaults, got, err)
		}
	}
}

func TestLifetime(t *testing.T) {
	jwt := func(payload string) string {
		return "h." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".s"
	}
	if got, err := lifetime(jwt(`{"iat":100,"exp":1000,"sub":"m"}`)); err != nil || got != 15*time.Minute {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{
		"", "a.b", "a.!.c", jwt(`{}`), jwt(`{"iat":100,"exp":100}`), jwt(`{"iat":100,"exp":3701}`), jwt(`{"exp":100}`),
		jwt(`{"iat":-1,"exp":1}`), jwt(`{"iat":100,"exp":9223372036854775807}`), jwt(`null`), strings.TrimSuffix(jwt(`{"iat":100,"exp":1000}`), ".s"),
	} {
		if got, err := lifetime(bad); err == nil {
			t.Errorf("%s: %v", bad, got)
		}
	}
}
