package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/token"
)

// with is the service's header with other members; nil takes one out.
func (s *service) with(change map[string]any) string {
	h := s.header()
	for name, v := range change {
		if v == nil {
			delete(h, name)
		} else {
			h[name] = v
		}
	}
	return string(marshal(h))
}

// TestHeaders are rows JW-01 to JW-09 and JW-14: every token is validly signed over
// what it says, unless the row is about the signature.
func TestHeaders(t *testing.T) {
	s := newService(t, token.KindMAA)
	payload := string(marshal(s.payload))
	attacker := newService(t, token.KindMAA)
	attacker.key = rsaKeys()[1]
	spki, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	unsigned := func(header string) string {
		return b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload)) + "."
	}
	mac := func(key []byte) string {
		in := strings.TrimSuffix(unsigned(s.with(map[string]any{"alg": "HS256"})), ".")
		m := hmac.New(sha256.New, key)
		m.Write([]byte(in))
		return in + "." + b64.EncodeToString(m.Sum(nil))
	}
	pss := func(alg string) string {
		in := strings.TrimSuffix(unsigned(s.with(map[string]any{"alg": alg})), ".")
		d := sha512.Sum512([]byte(in))
		sig, err := rsa.SignPSS(rand.Reader, s.key.(*rsa.PrivateKey), crypto.SHA512, d[:], nil)
		if err != nil {
			t.Fatal(err)
		}
		return in + "." + b64.EncodeToString(sig)
	}
	head := func(name string, v any) string { return s.sign(t, s.with(map[string]any{name: v}), payload) }
	for _, row := range []struct {
		name, token string
		check       attest.Check
	}{
		{"JW-01 none", unsigned(s.with(map[string]any{"alg": "none"})), attest.CheckMalformed},
		{"JW-01 nOnE", unsigned(s.with(map[string]any{"alg": "nOnE"})), attest.CheckMalformed},
		{"JW-01 none, signed", head("alg", "none"), attest.CheckMalformed},
		{"JW-01 no alg", head("alg", nil), attest.CheckMalformed},
		{"JW-01 empty signature", unsigned(s.with(nil)), attest.CheckSignature},
		{"JW-02 HS256, DER", mac(spki), attest.CheckMalformed},
		{"JW-02 HS256, PEM", mac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})), attest.CheckMalformed},
		{"JW-02 HS256, JWK", mac(s.jwks()), attest.CheckMalformed},
		{"JW-03 embedded jwk", attacker.sign(t, s.with(map[string]any{"jwk": attacker.jwk()}), payload), attest.CheckSignature},
		{"JW-03 embedded jwk, no kid", attacker.sign(t, s.with(map[string]any{"jwk": attacker.jwk(), "kid": nil}), payload), attest.CheckTokenIssuer},
		{"JW-04 jku", attacker.sign(t, s.with(map[string]any{"jku": "http://127.0.0.1:1/"}), payload), attest.CheckSignature},
		{"JW-05 x5u", attacker.sign(t, s.with(map[string]any{"x5u": "http://127.0.0.1:1/"}), payload), attest.CheckSignature},
		{"JW-05 x5c", attacker.sign(t, s.with(map[string]any{"x5c": []string{"MIIB"}}), payload), attest.CheckSignature},
		{"JW-06 path", head("kid", "../../dev/null"), attest.CheckTokenIssuer},
		{"JW-06 empty", head("kid", ""), attest.CheckTokenIssuer},
		{"JW-06 absent", head("kid", nil), attest.CheckTokenIssuer},
		{"JW-06 a number", head("kid", 1), attest.CheckMalformed},
		{"JW-06 64 KiB", head("kid", strings.Repeat("k", 64<<10)), attest.CheckMalformed},
		{"JW-08 crit", head("crit", []string{"x"}), attest.CheckMalformed},
		{"JW-08 crit empty", head("crit", []string{}), attest.CheckMalformed},
		{"JW-09 b64", head("b64", false), attest.CheckMalformed},
		{"unknown member", head("zip", "DEF"), attest.CheckMalformed},
		{"JW-12 typ of ours", head("typ", "at+jwt"), attest.CheckMalformed},
		{"JW-12 no typ", head("typ", nil), attest.CheckMalformed},
		{"JW-12 an EAR's typ", head("typ", "eat+jwt"), attest.CheckMalformed},
		{"JW-13 alg twice", s.sign(t, strings.Replace(s.with(nil), "{", `{"alg":"none",`, 1), payload), attest.CheckMalformed},
		{"JW-13 alg twice, escaped", s.sign(t, strings.Replace(s.with(nil), "{", `{"\u0061lg":"RS256",`, 1), payload), attest.CheckMalformed},
		{"JW-14 PS512", pss("PS512"), attest.CheckMalformed},
		{"JW-14 PS256 where RS256 is meant", head("alg", "PS256"), attest.CheckSignature},
		{"JW-14 ES256 with an RSA key", head("alg", "ES256"), attest.CheckSignature},
		{"JW-14 ES256K", head("alg", "ES256K"), attest.CheckMalformed},
	} {
		refuse(t, row.name, s.verifier(t), evidence(row.token), row.check)
	}
	if _, err := s.verifier(t).Verify(t.Context(), evidence(head("jku", "https://x/certs")), attest.Expect{At: now}); err != nil {
		t.Errorf("what names a key is ignored, and real tokens have it: %v", err)
	}
}

// TestSignatureShapes is row JW-20, and signatures of an algorithm that the key's own
// set does not name.
func TestSignatureShapes(t *testing.T) {
	s := newService(t, token.KindEAR)
	v := s.verifier(t)
	good := s.token(t)
	i := strings.LastIndexByte(good, '.') + 1
	sig, err := b64.DecodeString(good[i:])
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
	if err != nil {
		t.Fatal(err)
	}
	for name, sig := range map[string][]byte{
		"DER": der, "short": sig[:63], "zero": make([]byte, 64), "long": append([]byte{0}, sig...), "twice as long": make([]byte, 96),
	} {
		refuse(t, name, v, evidence(good[:i]+b64.EncodeToString(sig)), attest.CheckSignature)
	}
	s.alg = "ES384"
	refuse(t, "ES384 with a P-256 key", v, evidence(s.token(t)), attest.CheckSignature)
	s.alg = "ES256"
	refuse(t, "a key for ES384 only", s.verifier(t, func(c *token.Config) {
		j := s.jwk()
		j["alg"] = "ES384"
		c.Issuers[0].JWKS = marshal(map[string]any{"keys": []any{j}})
	}), evidence(s.token(t)), attest.CheckSignature)
	if s.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	s.alg = "ES384"
	accept(t, s.verifier(t), evidence(s.token(t)))
	refuse(t, "an issuer of ES256 only", s.verifier(t, func(c *token.Config) { c.Issuers[0].Algorithms = []string{"ES256"} }), evidence(s.token(t)), attest.CheckSignature)
}

// TestEARKeyWithoutID: with two keys in the set, a token that names none is refused.
func TestEARKeyWithoutID(t *testing.T) {
	s, other := newService(t, token.KindEAR), newService(t, token.KindEAR)
	other.kid = "other"
	both := func(c *token.Config) {
		c.Issuers[0].JWKS = marshal(map[string]any{"keys": []any{s.jwk(), other.jwk()}})
	}
	refuse(t, "no kid", s.verifier(t, both), evidence(s.token(t)), attest.CheckTokenIssuer)
	accept(t, s.verifier(t, both), evidence(s.sign(t, s.with(map[string]any{"kid": s.kid}), string(marshal(s.payload)))))
	refuse(t, "the other's kid", s.verifier(t, both), evidence(s.sign(t, s.with(map[string]any{"kid": "other"}), string(marshal(s.payload)))), attest.CheckSignature)
}

// TestTimesAndNames are rows JW-10, JW-11, JW-13, JW-16 and JW-21.
func TestTimesAndNames(t *testing.T) {
	at := now.Unix()
	for _, row := range []struct {
		name, kind, member string
		value              any
		check              attest.Check
	}{
		{"no exp", token.KindMAA, "exp", nil, attest.CheckTokenExpired},
		{"exp 10^12", token.KindMAA, "exp", 1_000_000_000_000, attest.CheckTokenExpired},
		{"exp past", token.KindMAA, "exp", at - 60, attest.CheckTokenExpired},
		{"exp within the skew", token.KindMAA, "exp", at - 59, ""},
		{"exp as text", token.KindMAA, "exp", "1900000000", attest.CheckMalformed},
		{"exp as float", token.KindMAA, "exp", json.RawMessage("1800003600.0"), attest.CheckMalformed},
		{"exp 1e400", token.KindMAA, "exp", json.RawMessage("1e400"), attest.CheckMalformed},
		{"exp negative", token.KindMAA, "exp", -1, attest.CheckTokenExpired},
		{"nbf ahead", token.KindMAA, "nbf", at + 61, attest.CheckTokenExpired},
		{"nbf within the skew", token.KindMAA, "nbf", at + 60, ""},
		{"nbf as text", token.KindMAA, "nbf", "1", attest.CheckMalformed},
		{"no iat", token.KindMAA, "iat", nil, attest.CheckTokenExpired},
		{"iat zero", token.KindMAA, "iat", 0, attest.CheckTokenExpired},
		{"iat negative", token.KindMAA, "iat", int64(-1 << 62), attest.CheckTokenExpired},
		{"iat ahead", token.KindMAA, "iat", at + 61, attest.CheckTokenExpired},
		{"iat ten minutes ago", token.KindMAA, "iat", at - 600, ""},
		{"iat a second more", token.KindMAA, "iat", at - 601, attest.CheckTokenExpired},
		{"EAR, exp past", token.KindEAR, "exp", at - 60, attest.CheckTokenExpired},
		{"EAR, no exp", token.KindEAR, "exp", nil, ""},

		{"no iss", token.KindMAA, "iss", nil, attest.CheckTokenIssuer},
		{"iss of another", token.KindMAA, "iss", "https://shared.wus.attest.azure.net", attest.CheckTokenIssuer},
		{"iss with a slash", token.KindMAA, "iss", "https://shared.eus.attest.azure.net/", attest.CheckTokenIssuer},
		{"iss with a suffix", token.KindMAA, "iss", "https://shared.eus.attest.azure.net.evil", attest.CheckTokenIssuer},
		{"iss with a user", token.KindMAA, "iss", "https://x@shared.eus.attest.azure.net", attest.CheckTokenIssuer},
		{"iss with a port", token.KindMAA, "iss", "https://shared.eus.attest.azure.net:443", attest.CheckTokenIssuer},
		{"iss in capitals", token.KindMAA, "iss", "https://SHARED.eus.attest.azure.net", attest.CheckTokenIssuer},
		{"iss in plain HTTP", token.KindMAA, "iss", "http://shared.eus.attest.azure.net", attest.CheckTokenIssuer},
		{"iss with NUL", token.KindMAA, "iss", "https://shared.eus.attest.azure.net\x00", attest.CheckTokenIssuer},
		{"iss as list", token.KindMAA, "iss", []string{"https://shared.eus.attest.azure.net"}, attest.CheckTokenIssuer},
		{"iss as developer", token.KindMAA, "ear.verifier-id", map[string]any{"developer": "https://shared.eus.attest.azure.net"}, ""},

		{"aud where none is expected", token.KindMAA, "aud", "somebody", attest.CheckReportData},
		{"no aud", token.KindGCS, "aud", nil, attest.CheckReportData},
		{"other aud", token.KindGCS, "aud", "https://sts.googleapis.com", attest.CheckReportData},
		{"aud in a list", token.KindGCS, "aud", []string{"urn:example:broker"}, ""},
		{"aud in a list with others", token.KindGCS, "aud", []string{"urn:example:broker", "urn:example:other"}, attest.CheckReportData},
		{"aud longer", token.KindGCS, "aud", "urn:example:broker/", attest.CheckReportData},
		{"aud in capitals", token.KindGCS, "aud", "URN:example:broker", attest.CheckReportData},
		{"aud a number", token.KindGCS, "aud", 1, attest.CheckMalformed},
		{"nested a hundred deep", token.KindMAA, "x", json.RawMessage(strings.Repeat("[", 100) + strings.Repeat("]", 100)), attest.CheckMalformed},
	} {
		s := newService(t, row.kind)
		if s.payload[row.member] = row.value; row.value == nil {
			delete(s.payload, row.member)
		}
		if row.check == "" {
			if _, err := s.verifier(t).Verify(t.Context(), evidence(s.token(t)), attest.Expect{At: now}); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
			continue
		}
		refuse(t, row.name, s.verifier(t), evidence(s.token(t)), row.check)
	}
	s := newService(t, token.KindMAA)
	s.payload["iat"], s.payload["exp"] = at, at
	refuse(t, "a token that never was good", s.verifier(t), evidence(s.token(t)), attest.CheckTokenExpired)
	s = newService(t, token.KindMAA)
	delete(s.payload, "iss")
	s.payload["ear.verifier-id"] = map[string]any{"developer": s.iss}
	refuse(t, "a developer in place of iss", s.verifier(t), evidence(s.token(t)), attest.CheckTokenIssuer)
}

func TestDuplicateMembers(t *testing.T) {
	s := newService(t, token.KindMAA)
	payload := string(marshal(s.payload))
	for name, p := range map[string]string{
		"iss":            strings.Replace(payload, "{", `{"iss":"https://evil.example",`, 1),
		"escaped":        strings.Replace(payload, "{", `{"\u0069ss":"https://evil.example",`, 1),
		"nested":         strings.Replace(payload, `"x-ms-policy":{`, `"x-ms-policy":{"a":1,"a":2,`, 1),
		"in the runtime": strings.Replace(payload, `"audience":"d1"`, `"audience":"d2","audience":"d1"`, 1),
		"null":           "null",
		"list":           "[]",
		"two documents":  payload + "{}",
		"not UTF-8":      strings.Replace(payload, "{", "{\"x\":\"\xff\",", 1),
	} {
		refuse(t, name, s.verifier(t), evidence(s.sign(t, s.with(nil), p)), attest.CheckMalformed)
	}
}

// TestForms are rows JW-15 to JW-17 and JW-22.
func TestForms(t *testing.T) {
	s := newService(t, token.KindMAA)
	v, good := s.verifier(t), s.token(t)
	p := strings.Split(good, ".")
	general := string(marshal(map[string]any{"payload": p[1], "signatures": []any{
		map[string]any{"protected": p[0], "signature": p[2]}, map[string]any{"protected": p[0], "signature": "AA"},
	}}))
	for name, tok := range map[string]string{
		"empty": "", "JWE": p[0] + ".a.b.c.d", "two parts": p[0] + "." + p[1], "four parts": good + ".",
		"JW-09 detached": p[0] + ".." + p[2], "padding": good + "=", "space": " " + good, "line break": p[0] + ".\n" + p[1] + "." + p[2],
		"JW-17 1 MiB": good + strings.Repeat("A", 1<<20), "JW-17 dots": strings.Repeat(".", 100_000),
		"JW-22 two signatures": general, "JW-22 flat": string(marshal(map[string]any{"payload": p[1], "protected": p[0], "signature": p[2]})),
		"JW-16 null members": `{"payload":null,"signatures":null}`, "NUL": good + "\x00",
	} {
		ev := evidence("")
		ev.Body = marshal(map[string]string{"type": "token", "token": tok})
		refuse(t, name, v, ev, attest.CheckMalformed)
	}
	for name, body := range map[string]string{
		"unknown member": `{"type":"token","token":"` + good + `","jwks":{}}`,
		"token twice":    `{"type":"token","token":"","token":"` + good + `"}`,
		"other case":     `{"type":"token","Token":"` + good + `"}`,
		"trailing":       `{"type":"token","token":"` + good + `"}{}`,
	} {
		ev := evidence("")
		ev.Body = []byte(body)
		refuse(t, name, v, ev, attest.CheckMalformed)
	}
	ev := evidence("")
	ev.Body = []byte(`{"type":"tpm","token":"` + good + `"}`)
	refuse(t, "another type", v, ev, attest.CheckTypeNotAllowed)
}

// TestTokenOfAnotherIssuer: keys of one issuer sign nothing for another.
func TestTokenOfAnotherIssuer(t *testing.T) {
	a, b := newService(t, token.KindMAA), newService(t, token.KindMAA)
	b.iss, b.key = "https://other.attest.azure.net", rsaKeys()[1]
	b.payload = maps.Clone(a.payload)
	b.payload["iss"] = b.iss
	v := a.verifier(t, func(c *token.Config) { c.Issuers = append(c.Issuers, b.issuer()) })
	accept(t, v, evidence(a.token(t)))
	accept(t, v, evidence(b.token(t)))
	b.payload["iss"] = a.iss
	refuse(t, "signed by b in the name of a", v, evidence(b.token(t)), attest.CheckSignature)
}
