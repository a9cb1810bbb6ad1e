package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// with asks the Key Vault door with a bearer token.
func (r *rig) with(t *testing.T, token, method, path, body string) (status int, reason string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path+"?api-version=7.4", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e binding.ErrorBody
	if resp.StatusCode != http.StatusOK && json.Unmarshal(b, &e) != nil {
		t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, b)
	}
	return resp.StatusCode, e.Error.InnerError.Code
}

// reads wants that the token reads key metadata, or why not.
func (r *rig) reads(t *testing.T, when, token, path string, want release.Reason) {
	t.Helper()
	status, reason := r.with(t, token, http.MethodGet, path, "")
	if want == "" && status != http.StatusOK || want != "" && (status != int(want.Class()) || reason != string(want)) {
		t.Errorf("%s: %d %s, want %q", when, status, reason, want)
	}
}

// attestedToken asks for one as openskr-agent does.
func (r *teeRig) attestedToken(t *testing.T, h agent.Hardware) (string, *receipt.Record, error) {
	t.Helper()
	a, err := agent.New(t.Context(), agent.Config{Trust: &r.trust, Hardware: h, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	got, err := a.Token(t.Context(), r.url)
	if err != nil {
		return "", nil, err
	}
	defer got.Material.Close()
	return string(got.Material.Bytes()), got.Record, nil
}

func (r *teeRig) attestedRole(t *testing.T, name, role, scope string, policy []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.rego")
	write(t, file, policy)
	r.operator(t, "attested-role", "add", name, "--replace", "--role", role, "--scope", scope, "--policy", file)
}

// TestAttestedToken: simulated machines without any stored credential read what an
// attested role lets them, until something it rests on changes.
func TestAttestedToken(t *testing.T) {
	r := newTEERig(t)
	denied := r.denyList(t)
	for _, k := range teeKinds() {
		if k.kind != "snp" && (k.kind != "azure" || r.tpm == nil) {
			continue
		}
		t.Run(k.kind, func(t *testing.T) {
			r.reloadable(t, denied)
			h := r.machine(t, k, simulate.Options{})
			claims := r.claims(t, h)
			measured := claim(t, claims, k.measured)
			var path string
			r.withBroker(func(ctx context.Context, b *broker) {
				path = strings.TrimPrefix(r.keyFor(ctx, t, b, k, measured), r.url)
			})
			r.start(servedBroker{})
			defer func() { _ = r.stop(syscall.SIGTERM) }()
			policy := fmt.Appendf(nil, "package release\n\nallow if {\n\tinput.evidence.type == %q\n\tinput.claims.%s == %q\n}\n", k.typ, k.measured, measured)
			id := k.id
			if id != "" {
				id = claim(t, claims, id)
			}
			(&attestedRun{r, k, h, path, policy, denied, id}).all(t)
		})
	}
	t.Run("audit", func(t *testing.T) {
		r.start(servedBroker{})
		defer func() { _ = r.stop(syscall.SIGTERM) }()
		r.audited(t)
	})
}

// reloadable empties the deny list.
func (r *teeRig) reloadable(t *testing.T, path string) {
	t.Helper()
	write(t, path, []byte("# none\n"))
}

type attestedRun struct {
	*teeRig
	teeKind
	machine agent.Hardware
	path    string // of a key
	policy  []byte
	denied  string // path of the deny list
	id      string // for it
}

func (c *attestedRun) all(t *testing.T) {
	var refused *agent.Refused
	if _, _, err := c.attestedToken(t, c.machine); !errors.As(err, &refused) || refused.Reason != string(release.ReasonPolicyDenied) {
		t.Fatalf("without an attested role: %v", err)
	}
	c.attestedRole(t, "readers", "Key Vault Reader", "/vaults/default/keys", c.policy)
	token, rec, err := c.attestedToken(t, c.machine)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Kind != receipt.KindToken || rec.Vault != "default" || rec.Caller.Kind != "machine" || !strings.HasPrefix(rec.Detail["attested_roles"], "readers@") {
		t.Errorf("record %+v", rec)
	}
	if d := c.decision(t, claimsOf(t, token)["jti"].(string)); d.Record == nil || d.Record.Kind != receipt.KindToken || d.Record.Decision != receipt.Allow {
		t.Errorf("the token's jti finds %+v", d)
	}
	c.reads(t, "at first", token, c.path, "")
	for method, path := range map[string]string{http.MethodPost: "/keys/mine/create", http.MethodPatch: c.path} {
		if status, reason := c.with(t, token, method, path, `{"kty":"oct"}`); status != http.StatusForbidden {
			t.Errorf("%s %s: %d %s", method, path, status, reason)
		}
	}
	other := c.teeRig.machine(t, c.teeKind, simulate.Options{Measurement: []byte(strings.Repeat("\x5a", 48))})
	if _, _, err := c.attestedToken(t, other); !errors.As(err, &refused) || refused.Reason != string(release.ReasonPolicyDenied) {
		t.Errorf("another machine: %v", err)
	}
	c.machine = c.teeRig.machine(t, c.teeKind, simulate.Options{}) // Azure's vTPM knows one machine, the last
	c.overtaken(t, token, rec.Caller.ID)
}

// overtaken ends tokens one way after the other, each at the next request.
func (c *attestedRun) overtaken(t *testing.T, token, machine string) {
	var refused *agent.Refused
	again := func() string {
		t.Helper()
		token, _, err := c.attestedToken(t, c.machine)
		if err != nil {
			t.Fatal(err)
		}
		c.reads(t, "a new one", token, c.path, "")
		return token
	}
	c.operator(t, "machine", "deny", machine)
	c.reads(t, "machine denied", token, c.path, release.ReasonUnauthorized)
	if _, _, err := c.attestedToken(t, c.machine); !errors.As(err, &refused) || refused.Reason != string(release.ReasonMachineDenied) {
		t.Errorf("a denied machine: %v", err)
	}
	c.operator(t, "machine", "approve", machine)
	c.reads(t, "machine approved again", token, c.path, release.ReasonUnauthorized)
	token = again()

	c.attestedRole(t, "readers", "Key Vault Reader", "/vaults/default", c.policy)
	c.reads(t, "role changed", token, c.path, release.ReasonUnauthorized)
	token = again()
	c.operator(t, "attested-role", "remove", "readers")
	c.reads(t, "role removed", token, c.path, release.ReasonUnauthorized)
	c.attestedRole(t, "readers", "Key Vault Reader", "/", c.policy)
	c.reads(t, "role there again", token, c.path, release.ReasonUnauthorized)
	token = again()

	if c.id == "" {
		c.id = machine
	}
	c.reload(t, c.denied, c.id+" # seen at an auction\n")
	c.reads(t, "hardware denied", token, c.path, release.ReasonUnauthorized)
	if _, _, err := c.attestedToken(t, c.machine); !errors.As(err, &refused) || refused.Reason != string(attest.CheckPlatformDenied) {
		t.Errorf("denied hardware: %v", err)
	}
	c.operator(t, "attested-role", "remove", "readers")
}

// claimsOf reads a token's claims, which is all that is done with them here.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
