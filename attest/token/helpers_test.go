package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/token"
)

var (
	now = time.Unix(1_800_000_000, 0)
	b64 = base64.RawURLEncoding
)

const runtimeData = `{"keys":[{"kty":"HPKE","kem":80,"kid":"r","pub":"AAEC"}],"nonce":"bm9uY2U","audience":"d1","purpose":"release","key":"https://vault.example/keys/disk","enc":"HPKE-80"}`

// rsaKeys are made once: RSA keys are slow to make.
var rsaKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var out [2]*rsa.PrivateKey
	for i := range out {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		out[i] = k
	}
	return out
})

// service is an attestation service with a key of its own.
type service struct {
	kind, iss, alg, kid, audience string
	key                           crypto.Signer
	payload                       map[string]any
}

func newService(t testing.TB, kind string) *service {
	t.Helper()
	s := &service{kind: kind, kid: "4hAd/XSb+k0=", payload: map[string]any{"iat": now.Unix() - 60, "nbf": now.Unix() - 60, "exp": now.Unix() + 3600}}
	switch kind {
	case token.KindMAA:
		s.iss, s.alg, s.key = "https://shared.eus.attest.azure.net", "RS256", rsaKeys()[0]
		s.merge(t, maaSNP)
		s.payload["x-ms-runtime"] = json.RawMessage(runtimeData)
	case token.KindGCS:
		s.iss, s.alg, s.key, s.audience = "https://confidentialcomputing.googleapis.com", "RS256", rsaKeys()[0], "urn:example:broker"
		s.merge(t, gcsTDX)
		s.payload["aud"] = s.audience
		s.payload["eat_nonce"] = []string{"another-nonce", digest()}
	case token.KindITA:
		s.iss, s.alg, s.key = "https://portal.trustauthority.intel.com", "PS384", rsaKeys()[0]
		s.merge(t, itaTDX)
		s.payload["attester_held_data"] = base64.StdEncoding.EncodeToString([]byte(runtimeData))
	case token.KindEAR:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.iss, s.alg, s.key = "https://confidentialcontainers.org", "ES256", k
		s.merge(t, trusteeTDX)
		s.payload["submods"].(map[string]any)["cpu0"].(map[string]any)["ear.veraison.annotated-evidence"].(map[string]any)["runtime_data_claims"] = json.RawMessage(runtimeData)
		return s
	}
	s.payload["iss"] = s.iss
	return s
}

func digest() string {
	d := sha256.Sum256([]byte(runtimeData))
	return b64.EncodeToString(d[:])
}

// merge adds the members of a JSON text.
func (s *service) merge(t testing.TB, text string) {
	t.Helper()
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	maps.Copy(s.payload, m)
}

// at gives the object below a path of names.
func (s *service) at(path ...string) map[string]any {
	m := s.payload
	for _, p := range path {
		m = m[p].(map[string]any)
	}
	return m
}

func (s *service) jwk() map[string]any {
	out := map[string]any{"kid": s.kid, "use": "sig"}
	switch pub := s.key.Public().(type) {
	case *rsa.PublicKey:
		out["kty"], out["n"], out["e"] = "RSA", b64.EncodeToString(pub.N.Bytes()), b64.EncodeToString(big.NewInt(int64(pub.E)).Bytes())
	case *ecdsa.PublicKey:
		b, err := pub.Bytes()
		if err != nil {
			panic(err)
		}
		n := len(b) / 2
		out["kty"], out["crv"], out["x"], out["y"] = "EC", pub.Params().Name, b64.EncodeToString(b[1:1+n]), b64.EncodeToString(b[1+n:])
	}
	return out
}

func (s *service) jwks() []byte { return marshal(map[string]any{"keys": []any{s.jwk()}}) }

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func (s *service) header() map[string]any {
	h := map[string]any{"alg": s.alg, "typ": "JWT", "kid": s.kid}
	if s.kind == token.KindEAR { // as Trustee: no kid, its own key inside
		delete(h, "kid")
		h["jwk"] = s.jwk()
	}
	return h
}

func (s *service) issuer() token.Issuer {
	return token.Issuer{Kind: s.kind, Issuer: s.iss, Audience: s.audience, JWKS: s.jwks()}
}

func (s *service) verifier(t testing.TB, change ...func(*token.Config)) *token.Verifier {
	t.Helper()
	cfg := token.Config{Issuers: []token.Issuer{s.issuer()}, Denied: func(string) bool { return false }}
	for _, c := range change {
		c(&cfg)
	}
	v, err := token.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// token signs the payload as it stands.
func (s *service) token(t testing.TB) string {
	t.Helper()
	return s.sign(t, string(marshal(s.header())), string(marshal(s.payload)))
}

// sign signs any header and payload, with the service's algorithm.
func (s *service) sign(t testing.TB, header, payload string) string {
	t.Helper()
	in := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	hash, opts := crypto.SHA256, crypto.SignerOpts(crypto.SHA256)
	if strings.HasSuffix(s.alg, "384") {
		hash, opts = crypto.SHA384, crypto.SHA384
	}
	if s.alg[0] == 'P' {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	h := hash.New()
	h.Write([]byte(in))
	if k, ok := s.key.(*ecdsa.PrivateKey); ok {
		r, v, err := ecdsa.Sign(rand.Reader, k, h.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		n := (k.Params().BitSize + 7) / 8
		return in + "." + b64.EncodeToString(append(r.FillBytes(make([]byte, n)), v.FillBytes(make([]byte, n))...))
	}
	sig, err := s.key.Sign(rand.Reader, h.Sum(nil), opts)
	if err != nil {
		t.Fatal(err)
	}
	return in + "." + b64.EncodeToString(sig)
}

func evidence(tok string) attest.Evidence {
	return attest.Evidence{
		Type: attest.TypeToken, RuntimeData: []byte(runtimeData),
		Body: fmt.Appendf(nil, `{"type":"token","token":%q}`, tok),
	}
}

func accept(t *testing.T, v attest.Verifier, ev attest.Evidence) *attest.Result {
	t.Helper()
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// refuse fails unless the evidence is refused by this check.
func refuse(t *testing.T, name string, v attest.Verifier, ev attest.Evidence, want attest.Check) *attest.Rejection {
	t.Helper()
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: now})
	var r *attest.Rejection
	if err == nil || !errors.As(err, &r) {
		t.Errorf("%s: %+v, %v", name, res, err)
		return &attest.Rejection{}
	}
	if r.Check != want {
		t.Errorf("%s: %v, want %s", name, err, want)
	}
	return r
}

func kinds() []string { return []string{token.KindMAA, token.KindGCS, token.KindITA, token.KindEAR} }
