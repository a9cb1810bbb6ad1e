package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// TestKeyVaultKill9 kills a broker at each step of a release on a token. What was not
// recorded has spent nothing; what was recorded and not delivered is delivered to the
// client that retries, as a record of its own, and to nobody with another request.
func TestKeyVaultKill9(t *testing.T) {
	r := newTEERig(t)
	p := &passport{teeRig: r, t: t}
	r.withBroker(func(ctx context.Context, b *broker) {
		yes := true
		k := keyvault.CreateKey{Kty: keyvault.KtyOct, Size: 256, Exportable: &yes}
		k.Policy = &release.ReleasePolicy{ContentType: release.ContentTypeJSON, Data: p.policyFor("x-ms-attestation-type", "sevsnpvm")}
		if _, err := b.keys.Create(ctx, keyvault.DefaultVault, "disk", k); err != nil {
			t.Fatal(err)
		}
	})
	for step, recorded := range map[string]bool{"found": false, "verified": false, "evaluated": false, "appended": true, "opened": true, "wrapped": true} {
		r.start(servedBroker{Step: step})
		c := &confused{newPassport(t, r), t}
		body := map[string]any{"target": c.fresh(), "enc": "RSA_AES_KEY_WRAP_256"}
		if err := c.killed("/keys/disk/release", body); err == nil {
			t.Fatalf("%s: answered", step)
		}
		_ = r.child.Wait()
		r.client.CloseIdleConnections()

		r.start(servedBroker{})
		other := map[string]any{"target": body["target"], "nonce": "n"}
		if recorded {
			c.refused(step+": another request", "", "/keys/disk", c.bearer, other, release.ReasonTokenReplayed)
		}
		status, answer := c.json("", http.MethodPost, "/keys/disk/release", c.bearer, body)
		if status != http.StatusOK {
			t.Fatalf("%s: the same request: %d %s", step, status, answer)
		}
		if _, rec := c.opened([]byte(answer)); (rec.RetryOf != 0) != recorded {
			t.Errorf("%s: retry of %d", step, rec.RetryOf)
		}
		c.refused(step+": another request, later", "", "/keys/disk", c.bearer, other, release.ReasonTokenReplayed)
		if err := r.stop(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
}

// killed sends a request that the broker does not survive.
func (c *confused) killed(path string, body any) error {
	c.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+path+"?api-version=7.4", strings.NewReader(string(b)))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.bearer)
	resp, err := c.client.Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	return err
}
