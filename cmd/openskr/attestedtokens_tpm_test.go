package main

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/mlkem"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/wrap"
)

// tokenAttempt asks for a challenge and makes evidence of the rig's TPM for it; change
// may spoil what the hardware signs.
func (r *rig) tokenAttempt(ctx context.Context, challenge binding.ChallengeRequest, change func(*binding.RuntimeData)) (*attempt, error) {
	var c binding.Challenge
	if _, err := r.post(ctx, "/v1/challenge", challenge, &c); err != nil {
		return nil, err
	}
	pq, err := mlkem.GenerateKey768()
	if err != nil {
		return nil, err
	}
	a := &attempt{nonce: c.Nonce}
	if a.private, err = hpke.NewHybridPrivateKey(pq, ecdh.KeyExchanger(r.machine.RecipientKey)); err != nil {
		return nil, err
	}
	jwk := fmt.Sprintf(`{"kty":"HPKE","kem":80,"kid":"r","pub":%q}`, base64.RawURLEncoding.EncodeToString(a.private.PublicKey().Bytes()))
	rd := &binding.RuntimeData{
		Keys: []jsontext.Value{jsontext.Value(jwk)}, Nonce: c.Nonce, Audience: r.trust.Deployment, Purpose: binding.PurposeToken, Vault: r.url, Enc: wrap.EncHPKEMLKEM768P256,
	}
	if change != nil {
		change(rd)
	}
	if a.runtime, err = rd.Encode(); err != nil {
		return nil, err
	}
	return a, r.attested(a)
}

// attested makes the evidence of an attempt.
func (r *rig) attested(a *attempt) error {
	body, err := r.machine.Body(a.runtime)
	if err != nil {
		return err
	}
	ev, err := strict.Marshal(body)
	if err != nil {
		return err
	}
	return a.with(attest.Evidence{Body: ev, Endorsements: r.endorsed})
}

// sendTo makes the attempt at a path of the native door and gives the reason of a refusal.
func (r *rig) sendTo(t *testing.T, path string, a *attempt) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+path, bytes.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		a.status = 0
		return ""
	}
	defer resp.Body.Close()
	a.answer, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a.status = resp.StatusCode
	var e binding.ErrorBody
	if a.status != http.StatusOK && json.Unmarshal(a.answer, &e) != nil {
		t.Fatalf("%d %s", a.status, a.answer)
	}
	return e.Error.InnerError.Code
}

// TestAttestedTokenTPM: an enrolled TPM gets a token, and every confusion of nonce,
// purpose, vault and recipient is refused.
func TestAttestedTokenTPM(t *testing.T) {
	r := &teeRig{rig: newRig(t, nil)}
	r.start(servedBroker{})
	defer func() { _ = r.stop(syscall.SIGTERM) }()
	r.attestedRole(t, "readers", "Key Vault Reader", "/vaults/default", r.policy())
	vault := binding.ChallengeRequest{Purpose: binding.PurposeToken, Vault: r.url}
	key := binding.ChallengeRequest{Purpose: binding.PurposeRelease, Key: r.key}
	made := func(c binding.ChallengeRequest, change func(*binding.RuntimeData)) *attempt {
		t.Helper()
		a, err := r.tokenAttempt(t.Context(), c, change)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	good := made(vault, nil)
	if reason := r.sendTo(t, "/v1/token", good); good.status != http.StatusOK {
		t.Fatalf("%d %s", good.status, reason)
	}
	resp, token, err := good.open(&r.trust)
	if err != nil || resp.KID != r.url {
		t.Fatalf("%+v, %v", resp, err)
	}
	path := strings.TrimPrefix(r.key, r.url)
	r.reads(t, "token", string(token), path, "")
	claims := claimsOf(t, string(token))
	if life := claims["exp"].(float64) - claims["iat"].(float64); life != release.AttestedTokenLife.Seconds() {
		t.Errorf("it lives %v s", life)
	}

	swapped := made(vault, nil) // the recipient of another request under this evidence
	theirs := made(vault, nil)
	swapped.body = bytes.Replace(swapped.body, []byte(base64.RawURLEncoding.EncodeToString(swapped.runtime)), []byte(base64.RawURLEncoding.EncodeToString(theirs.runtime)), 1)
	asRelease := func(d *binding.RuntimeData) { d.Purpose, d.Vault, d.Key = binding.PurposeRelease, "", r.key }
	for name, c := range map[string]struct {
		path   string
		a      *attempt
		reason release.Reason
	}{
		"nonce again":                    {"/v1/token", good, release.ReasonNonceReplayed},
		"recipient swapped":              {"/v1/token", swapped, release.Reason(attest.CheckReportData)},
		"a token's evidence for a key":   {"/v1/release", made(vault, nil), release.ReasonPurpose},
		"a key's evidence for a token":   {"/v1/token", made(key, asRelease), release.ReasonPurpose},
		"a key's challenge for a token":  {"/v1/token", made(key, nil), release.ReasonNonceScope},
		"a token's challenge for a key":  {"/v1/release", made(vault, asRelease), release.ReasonNonceScope},
		"purpose release for a vault":    {"/v1/token", made(vault, func(d *binding.RuntimeData) { d.Purpose = binding.PurposeRelease }), release.ReasonPurpose},
		"purpose unknown":                {"/v1/token", made(vault, func(d *binding.RuntimeData) { d.Purpose = "session" }), release.ReasonPurpose},
		"another vault than challenged":  {"/v1/token", made(vault, func(d *binding.RuntimeData) { d.Vault = "https://evil.example" }), release.ReasonBadRequest},
		"another deployment as audience": {"/v1/token", made(vault, func(d *binding.RuntimeData) { d.Audience = "other" }), release.ReasonAudience},
	} {
		if reason := r.sendTo(t, c.path, c.a); reason != string(c.reason) || c.a.status != int(c.reason.Class()) {
			t.Errorf("%s: %d %s, want %s", name, c.a.status, reason, c.reason)
		}
	}
}

// TestAttestedTokenReadsSecrets: a workload without a stored credential reads the one
// secret that is its own; each reading is a record that names the machine.
func TestAttestedTokenReadsSecrets(t *testing.T) {
	r := &teeRig{rig: newRig(t, func(ctx context.Context, b *broker) {
		for _, name := range []string{"db", "other"} {
			if _, err := b.keys.SetSecret(ctx, keyvault.DefaultVault, name, []byte("value of "+name), keyvault.SecretSettings{}); err != nil {
				t.Fatal(err)
			}
		}
	})}
	r.start(servedBroker{})
	defer func() { _ = r.stop(syscall.SIGTERM) }()
	r.attestedRole(t, "db", "Key Vault Secrets User", "/vaults/default/secrets/db", r.policy())
	a, err := r.tokenAttempt(t.Context(), binding.ChallengeRequest{Purpose: binding.PurposeToken, Vault: r.url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if reason := r.sendTo(t, "/v1/token", a); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, reason)
	}
	_, token, err := a.open(&r.trust)
	if err != nil {
		t.Fatal(err)
	}
	r.reads(t, "its own", string(token), "/secrets/db", "")
	for method, path := range map[string]string{http.MethodGet: "/secrets/other", http.MethodPut: "/secrets/db", http.MethodPatch: "/secrets/db", http.MethodDelete: "/secrets/db"} {
		body := ""
		if method == http.MethodPut || method == http.MethodPatch {
			body = `{"value":"mine"}`
		}
		if status, reason := r.with(t, string(token), method, path, body); status != http.StatusForbidden {
			t.Errorf("%s %s: %d %s", method, path, status, reason)
		}
	}
	out := r.operator(t, "log", "tail", "--lines", "20", "--json")
	if want := `"caller":{"kind":"machine","id":"` + r.rig.machine.ID + `","roles":["Key Vault Secrets User"]}`; strings.Count(out, `"operation":"secrets/get"`) < 1 || !strings.Contains(out, want) {
		t.Errorf("no record with %s:\n%s", want, out)
	}
	r.operator(t, "machine", "deny", r.rig.machine.ID)
	r.reads(t, "machine denied", string(token), "/secrets/db", release.ReasonUnauthorized)
}

// TestAttestedTokenKilled: a broker that dies on the way to a token has recorded it, or
// has not made it.
func TestAttestedTokenKilled(t *testing.T) {
	r := &teeRig{rig: newRig(t, nil)}
	r.start(servedBroker{})
	r.attestedRole(t, "readers", "Key Vault Reader", "/vaults/default", r.policy())
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	recorded := 0
	for _, c := range []struct {
		step   string
		before bool // the record
	}{{"evaluated", true}, {"appended", false}, {"opened", false}, {"wrapped", false}} {
		r.start(servedBroker{Step: c.step})
		a, err := r.tokenAttempt(t.Context(), binding.ChallengeRequest{Purpose: binding.PurposeToken, Vault: r.url}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.sendTo(t, "/v1/token", a); a.status != 0 {
			t.Fatalf("%s: answered %d", c.step, a.status)
		}
		_ = r.child.Wait()
		r.client.CloseIdleConnections()
		if !c.before {
			recorded++
		}
		leaves, _ := r.stored(t)
		found := 0
		for _, leaf := range leaves {
			if bytes.Contains(leaf, []byte(`"kind":"token","decision":"allow"`)) {
				found++
			}
		}
		if found != recorded {
			t.Errorf("%s: %d tokens recorded, want %d", c.step, found, recorded)
		}
	}
}
