package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/wrap"
)

// passport is a client of the Key Vault door: it has its machine attested, and presents
// the token.
type passport struct {
	*teeRig
	t      *testing.T
	target *rsa.PrivateKey
	bearer string
}

func newPassport(t *testing.T, r *teeRig) *passport {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &passport{teeRig: r, t: t, target: k, bearer: r.adminToken(t)}
}

// adminToken logs the deployment's first principal in.
func (r *rig) adminToken(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(r.dir + ".admin.json")
	if err != nil {
		t.Fatal(err)
	}
	var c credential
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ClientID}, "client_secret": {c.ClientSecret}}
	resp, err := r.client.PostForm(r.url+"/"+r.trust.Deployment+"/oauth2/v2.0/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil || token.Access == "" {
		t.Fatal(resp.Status, err)
	}
	return token.Access
}

// attested gives the token for a machine whose runtime data holds the target key.
func (p *passport) attested(chip snpsim.Chip, purpose string) string {
	p.t.Helper()
	runtime := map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "kid": "target", "key_ops": []string{"encrypt"}, "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(p.target.N.Bytes()),
	}}}
	if purpose != "" {
		runtime["purpose"] = purpose
	}
	data, err := json.Marshal(runtime)
	if err != nil {
		p.t.Fatal(err)
	}
	token, answer := p.proven("", chip, "JSON", string(data))
	if token == "" {
		p.t.Fatal(answer)
	}
	return token
}

// release asks for a key and gives status and body.
func (p *passport) release(path, bearer string, body any) (int, []byte) {
	p.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url+path+"/release?api-version=7.4", bytes.NewReader(b))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, out
}

// opened verifies an answer as a careful client does, and gives the key and the record.
func (p *passport) opened(answer []byte) ([]byte, *receipt.Record) {
	p.t.Helper()
	var out struct{ Value string }
	if err := json.Unmarshal(answer, &out); err != nil {
		p.t.Fatalf("%v: %s", err, answer)
	}
	parts := strings.Split(out.Value, ".")
	if len(parts) != 3 {
		p.t.Fatalf("%s", answer)
	}
	raw := make([][]byte, 3)
	for i, part := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			p.t.Fatal(err)
		}
	}
	var head struct {
		X5C [][]byte `json:"x5c"`
	}
	var body struct {
		Response struct {
			Key struct {
				Key struct {
					HSM attest.Bytes `json:"key_hsm"`
				} `json:"key"`
			} `json:"key"`
		} `json:"response"`
		Receipt *receipt.Receipt `json:"receipt"`
	}
	var inner struct{ Ciphertext attest.Bytes }
	if err := json.Unmarshal(raw[0], &head); err != nil {
		p.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(head.X5C[0])
	if err != nil {
		p.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.trust.CA))
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: strings.TrimPrefix(p.url, "https://")}); err != nil {
		p.t.Fatal(err)
	}
	if err := leaf.CheckSignature(x509.SHA256WithRSA, []byte(parts[0]+"."+parts[1]), raw[2]); err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(raw[1], &body); err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(body.Response.Key.Key.HSM, &inner); err != nil {
		p.t.Fatal(err)
	}
	rec, err := body.Receipt.Verify(p.trust.Log.Origin, p.trust.Log.VKeys[0])
	if err != nil {
		p.t.Fatal(err)
	}
	key, err := wrap.OpenRSA(func(ct []byte) ([]byte, error) {
		return rsa.DecryptOAEP(sha256.New(), nil, p.target, ct, nil)
	}, p.target.Size(), inner.Ciphertext)
	if err != nil {
		p.t.Fatal(err)
	}
	return key, rec
}

// policyFor is in Azure's grammar.
func (p *passport) policyFor(claim string, value any) []byte {
	b, err := json.Marshal(map[string]any{"version": "1.0.0", "anyOf": []any{map[string]any{
		"authority": p.url + "/", "allOf": []any{map[string]any{"claim": claim, "equals": value}},
	}}})
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// TestKeyVaultRelease: a broker attests a machine and releases a key on its own token,
// once; a retry is a release of its own; what is wrong is refused and recorded.
func TestKeyVaultRelease(t *testing.T) {
	r := newTEERig(t)
	p := &passport{teeRig: r, t: t}
	yes := true
	create := func(ctx context.Context, b *broker, name string, policy []byte, contentType string) {
		k := keyvault.CreateKey{Kty: keyvault.KtyOct, Size: 256, Exportable: &yes}
		k.Policy = &release.ReleasePolicy{ContentType: contentType, Data: policy}
		if _, err := b.keys.Create(ctx, keyvault.DefaultVault, name, k); err != nil {
			t.Fatal(err)
		}
	}
	r.withBroker(func(ctx context.Context, b *broker) {
		create(ctx, b, "disk", p.policyFor("x-ms-attestation-type", "sevsnpvm"), release.ContentTypeJSON)
		create(ctx, b, "other", p.policyFor("x-ms-attestation-type", "tdxvm"), release.ContentTypeJSON)
		create(ctx, b, "native", []byte("package release\n\ndefault allow := false\n\nallow if input.request.door == \"native\"\n"), release.ContentTypeRego)
	})
	r.start(servedBroker{})
	p = newPassport(t, r)

	token := p.attested(snpsim.Chip{}, "")
	body := map[string]any{"target": token, "enc": "RSA_AES_KEY_WRAP_256", "nonce": "n1"}
	status, answer := p.release("/keys/disk", p.bearer, body)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	key, rec := p.opened(answer)
	if len(key) != 32 || rec.Decision != receipt.Allow || rec.Door != "keyvault" || rec.Caller.Kind != "principal" || rec.Object != "disk" ||
		!strings.HasPrefix(rec.Evidence.Machine, "simulated-snp-") || rec.Evidence.Type != "simulated-token" || rec.RetryOf != 0 {
		t.Errorf("%+v %+v", rec, rec.Evidence)
	}
	status, answer = p.release("/keys/DISK", p.bearer, body)
	if status != http.StatusOK {
		t.Fatalf("a retry: %d %s", status, answer)
	}
	if again, rec := p.opened(answer); !bytes.Equal(again, key) || rec.RetryOf == 0 {
		t.Errorf("a retry: %+v", rec)
	}

	body["nonce"] = "n2"
	for _, tt := range []struct {
		name, path, bearer string
		body               map[string]any
		status             int
		reason             release.Reason
	}{
		{"the token again", "/keys/disk", p.bearer, body, 403, release.ReasonTokenReplayed},
		{"another policy", "/keys/other", p.bearer, body, 403, release.ReasonPolicyDenied},
		{"a key of the native door", "/keys/native", p.bearer, body, 403, release.ReasonPolicyDenied},
		{"no such key", "/keys/none", p.bearer, body, 404, release.ReasonNotFound},
		{"an access token as target", "/keys/disk", p.bearer, map[string]any{"target": p.bearer}, 403, release.Reason(attest.CheckTokenIssuer)},
		{"the target as access token", "/keys/disk", token, body, 401, release.ReasonUnauthorized},
	} {
		if status, answer := p.release(tt.path, tt.bearer, tt.body); status != tt.status || !strings.Contains(string(answer), `"`+string(tt.reason)+`"`) {
			t.Errorf("%s: %d %s, want %s", tt.name, status, answer, tt.reason)
		}
	}
	if status, answer := p.release("/keys/disk", p.bearer, map[string]any{"target": p.attested(snpsim.Chip{}, "")}); status != http.StatusOK {
		t.Errorf("a fresh token, with Key Vault's default enc: %d %s", status, answer)
	}
}
