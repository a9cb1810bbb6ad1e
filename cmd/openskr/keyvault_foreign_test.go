package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// service is an attestation service of somebody else.
type service struct {
	*confused
	iss string
	key *rsa.PrivateKey
}

func (s *service) segment(v any) string {
	s.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// token signs claims of a sound SNP guest, with changes; nil takes one out.
func (s *service) token(changes map[string]any) string {
	s.t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": s.iss, "iat": now - 30, "nbf": now - 30, "exp": now + 8*3600, "jti": fmt.Sprint(now, rand.Text()), "x-ms-ver": "1.0",
		"x-ms-attestation-type": "sevsnpvm", "x-ms-compliance-status": "azure-compliant-cvm", "x-ms-sevsnpvm-is-debuggable": false,
		"x-ms-sevsnpvm-migration-allowed": false, "x-ms-sevsnpvm-vmpl": 0, "x-ms-runtime": json.RawMessage(s.keys("", encrypts)),
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	in := s.segment(map[string]any{"alg": "RS256", "jku": "https://evil.example/certs", "kid": "k1", "typ": "JWT"}) + "." + s.segment(claims)
	sum := sha256.Sum256([]byte(in))
	sig, err := s.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		s.t.Fatal(err)
	}
	return in + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// TestKeyVaultForeign: a policy names whose tokens it wants; a token of a trusted
// service releases what is under its name, and nothing that looks like it does.
func TestKeyVaultForeign(t *testing.T) {
	r := newTEERig(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	write(t, file, fmt.Appendf(nil, `{"keys":[{"kty":"RSA","kid":"k1","e":"AQAB","n":"%s"}]}`, base64.RawURLEncoding.EncodeToString(key.N.Bytes())))
	r.configure(t, "token_issuers: []", "token_issuers: [{kind: maa, issuer: https://shared.example, jwks: "+file+"}]")
	p := &passport{teeRig: r, t: t}
	r.withBroker(func(ctx context.Context, b *broker) {
		yes := true
		for name, authority := range map[string]string{"theirs": "https://shared.example/", "ours": p.url, "alike": "https://shared.example.evil"} {
			policy := fmt.Appendf(nil, `{"version":"1.0.0","anyOf":[{"authority":%q,"allOf":[
				{"claim":"x-ms-sevsnpvm-is-debuggable","equals":"false"},{"claim":"x-ms-sevsnpvm-vmpl","equals":"0"}]}]}`, authority)
			k := keyvault.CreateKey{Kty: keyvault.KtyOct, Size: 256, Exportable: &yes}
			k.Policy = &release.ReleasePolicy{ContentType: release.ContentTypeJSON, Data: policy}
			if _, err := b.keys.Create(ctx, keyvault.DefaultVault, name, k); err != nil {
				t.Fatal(err)
			}
		}
	})
	r.start(servedBroker{})
	defer func() { _ = r.stop(syscall.SIGTERM) }()
	s := &service{&confused{newPassport(t, r), t}, "https://shared.example", key}
	s.releases(t)
	s.refuses(t)
}

func (s *service) releases(t *testing.T) {
	body := map[string]any{"target": s.token(nil), "enc": "RSA_AES_KEY_WRAP_256"}
	status, answer := s.json("", "POST", "/keys/theirs/release", s.bearer, body)
	if status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	if _, rec := s.opened([]byte(answer)); rec.Evidence.Authority != s.iss || rec.Evidence.Type != "token" {
		t.Errorf("%+v", rec.Evidence)
	}
	for enc, want := range map[string]int{"": 200, "CKM_RSA_AES_KEY_WRAP": 200, "RSA_AES_KEY_WRAP_384": 200, "RSA1_5": 400, "rsa_aes_key_wrap_256": 400} {
		if status, answer := s.json("", "POST", "/keys/theirs/release", s.bearer, map[string]any{"target": s.token(nil), "enc": enc}); status != want {
			t.Errorf("%s: %d %s", enc, status, answer)
		}
	}
	s.refused("theirs, where ours are wanted", "", "/keys/ours", s.bearer, map[string]any{"target": s.token(nil)}, release.ReasonPolicyDenied)
	s.refused("theirs, where a look-alike's are", "", "/keys/alike", s.bearer, map[string]any{"target": s.token(nil)}, release.ReasonPolicyDenied)
	s.refused("ours, where theirs are wanted", "", "/keys/theirs", s.bearer, map[string]any{"target": s.fresh()}, release.ReasonPolicyDenied)
}

func (s *service) refuses(t *testing.T) {
	now := time.Now().Unix()
	issuer := release.Reason(attest.CheckTokenIssuer)
	expired := release.Reason(attest.CheckTokenExpired)
	for name, tt := range map[string]struct {
		changes map[string]any
		want    release.Reason
	}{
		"slash":               {map[string]any{"iss": s.iss + "/"}, issuer},
		"port":                {map[string]any{"iss": s.iss + ":443"}, issuer},
		"path":                {map[string]any{"iss": s.iss + "/x"}, issuer},
		"user":                {map[string]any{"iss": "https://shared.example@evil.example"}, issuer},
		"longer":              {map[string]any{"iss": s.iss + ".evil"}, issuer},
		"capitals":            {map[string]any{"iss": strings.ToUpper(s.iss)}, issuer},
		"two":                 {map[string]any{"iss": []string{s.iss}}, issuer},
		"ours":                {map[string]any{"iss": s.url}, issuer},
		"old":                 {map[string]any{"iat": now - 700}, expired},
		"ahead":               {map[string]any{"iat": now + 100, "nbf": now + 100}, expired},
		"ended":               {map[string]any{"exp": now - 61}, expired},
		"endless":             {map[string]any{"exp": now + 400*86400}, expired},
		"no end":              {map[string]any{"exp": nil}, expired},
		"end in text":         {map[string]any{"exp": fmt.Sprint(now + 100)}, release.Reason(attest.CheckMalformed)},
		"end far out":         {map[string]any{"exp": json.RawMessage("1e300")}, release.Reason(attest.CheckMalformed)},
		"for somebody":        {map[string]any{"aud": "https://shared.example"}, release.Reason(attest.CheckReportData)},
		"debug":               {map[string]any{"x-ms-sevsnpvm-is-debuggable": true}, release.Reason(attest.CheckDebug)},
		"debug in text":       {map[string]any{"x-ms-sevsnpvm-is-debuggable": "false"}, release.Reason(attest.CheckMalformed)},
		"silent on debug":     {map[string]any{"x-ms-sevsnpvm-is-debuggable": nil}, release.Reason(attest.CheckDebug)},
		"migration":           {map[string]any{"x-ms-sevsnpvm-migration-allowed": true}, release.Reason(attest.CheckMigration)},
		"silent on migration": {map[string]any{"x-ms-sevsnpvm-migration-allowed": nil}, release.Reason(attest.CheckMigration)},
		"level 1":             {map[string]any{"x-ms-sevsnpvm-vmpl": 1}, release.Reason(attest.CheckVMPL)},
		"level in text":       {map[string]any{"x-ms-sevsnpvm-vmpl": "0"}, release.Reason(attest.CheckMalformed)},
		"another type":        {map[string]any{"x-ms-attestation-type": "SevSnpVm"}, release.Reason(attest.CheckTypeNotAllowed)},
		"a simulation":        {map[string]any{"x-openskr": map[string]any{"deployment": s.trust.Deployment}}, issuer},
	} {
		s.refused(name, "", "/keys/theirs", s.bearer, map[string]any{"target": s.token(tt.changes)}, tt.want)
	}
	// What a token is called is its issuer's to say: two of one name are one.
	first, second := s.token(map[string]any{"jti": "same"}), s.token(map[string]any{"jti": "same", "exp": now + 60})
	if status, answer := s.json("", "POST", "/keys/theirs/release", s.bearer, map[string]any{"target": first}); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	s.refused("a name again", "", "/keys/theirs", s.bearer, map[string]any{"target": second}, release.ReasonTokenReplayed)
	unnamed := map[string]any{"target": s.token(map[string]any{"jti": nil})}
	if status, answer := s.json("", "POST", "/keys/theirs/release", s.bearer, unnamed); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	unnamed["nonce"] = "again"
	s.refused("no name, again", "", "/keys/theirs", s.bearer, unnamed, release.ReasonTokenReplayed)
}
