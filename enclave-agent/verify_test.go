package agent

import (
	"errors"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/release/receipt"
)

type broker = agenttest.Broker

// lies are what a broker, or whoever stands between, could answer; each is found
// by the check named. Without that check this test fails.
func lies(t *testing.T) map[string]struct {
	check string
	tell  func(b *broker)
} {
	typ := receipt.ResponseType
	type lie = struct {
		check string
		tell  func(b *broker)
	}
	header := func(js string) func(*broker) { return func(b *broker) { b.Header = js } }
	record := func(f func(*receipt.Record)) func(*broker) { return func(b *broker) { b.Record = f } }
	response := func(f func(*receipt.Response)) func(*broker) { return func(b *broker) { b.Response = f } }
	rcpt := func(f func(*receipt.Receipt)) func(*broker) { return func(b *broker) { b.Receipt = f } }
	jws := func(f func(string) string) func(*broker) { return func(b *broker) { b.JWS = f } }
	return map[string]lie{
		"other audience": {"audience", func(b *broker) { b.Challenge = func(c *binding.Challenge) { c.Audience = "other" } }},

		"alg none":         {"header", header(`{"alg":"none","typ":"` + typ + `"}`)},
		"alg HS256":        {"header", header(`{"alg":"HS256","typ":"` + typ + `"}`)},
		"alg re-cased":     {"header", header(`{"alg":"es256","typ":"` + typ + `"}`)},
		"alg member cased": {"header", header(`{"Alg":"ES256","typ":"` + typ + `"}`)},
		"no alg":           {"header", header(`{"typ":"` + typ + `"}`)},
		"other typ":        {"header", header(`{"alg":"ES256","typ":"JWT"}`)},
		"no typ":           {"header", header(`{"alg":"ES256"}`)},
		"crit":             {"header", header(`{"alg":"ES256","typ":"` + typ + `","crit":["b64"]}`)},
		"jwk":              {"header", header(`{"alg":"ES256","typ":"` + typ + `","jwk":{}}`)},
		"jku":              {"header", header(`{"alg":"ES256","typ":"` + typ + `","jku":"https://h"}`)},
		"x5c":              {"header", header(`{"alg":"ES256","typ":"` + typ + `","x5c":[]}`)},
		"duplicate alg":    {"header", header(`{"alg":"ES256","alg":"ES256","typ":"` + typ + `"}`)},
		"unsigned":         {"jws", jws(func(s string) string { return s[:strings.LastIndexByte(s, '.')+1] })},
		"two parts":        {"jws", jws(func(s string) string { return s[:strings.LastIndexByte(s, '.')] })},
		"four parts":       {"jws", jws(func(s string) string { return s + ".AA" })},
		"padding":          {"jws", jws(func(s string) string { return s + "=" })},
		"signature cut":    {"signature", jws(func(s string) string { return s[:len(s)-2] })},
		"signature bent":   {"signature", jws(func(s string) string { return s[:len(s)-8] + "AAAA" + s[len(s)-4:] })},
		"other key":        {"signature", func(b *broker) { b.SignWith = agenttest.NewKey(t) }},

		"other request": {"request", response(func(r *receipt.Response) { r.Request[0] ^= 1 })},
		"no receipt":    {"receipt", response(func(r *receipt.Response) { r.Receipt = nil })},
		"other log key": {"receipt", func(b *broker) { b.LogWith, _ = agenttest.NewLogKey(t) }},
		"leaf stripped": {"receipt", rcpt(func(r *receipt.Receipt) { r.Leaf = nil })},
		"leaf bent":     {"receipt", rcpt(func(r *receipt.Receipt) { r.Leaf[30] ^= 1 })},
		"other index":   {"receipt", rcpt(func(r *receipt.Receipt) { r.Index = 0 })},
		"path bent":     {"receipt", rcpt(func(r *receipt.Receipt) { r.Path[0][0] ^= 1 })},
		"path stripped": {"receipt", rcpt(func(r *receipt.Receipt) { r.Path = nil })},
		"no checkpoint": {"receipt", rcpt(func(r *receipt.Receipt) { r.Checkpoint = "" })},

		"a change":            {"kind", record(func(r *receipt.Record) { r.Kind = receipt.KindChange })},
		"a denial":            {"decision", record(func(r *receipt.Record) { r.Decision = receipt.Deny })},
		"a reason":            {"decision", record(func(r *receipt.Record) { r.Reason = "policy_denied" })},
		"other deployment":    {"deployment", record(func(r *receipt.Record) { r.Deployment = "other" })},
		"other door":          {"door", record(func(r *receipt.Record) { r.Door = "keyvault" })},
		"record of another":   {"record_request", record(func(r *receipt.Record) { r.Request[0] ^= 1 })},
		"other nonce":         {"nonce", record(func(r *receipt.Record) { r.Nonce[0] ^= 1 })},
		"no nonce":            {"nonce", record(func(r *receipt.Record) { r.Nonce = receipt.Digest{} })},
		"other recipient":     {"recipient", record(func(r *receipt.Record) { r.Recipient[0] ^= 1 })},
		"other object":        {"object", record(func(r *receipt.Record) { r.Object = "other" })},
		"record version":      {"record_version", record(func(r *receipt.Record) { r.Version = strings.Repeat("f", 32) })},
		"other purpose":       {"purpose", record(func(r *receipt.Record) { r.Detail = map[string]string{"purpose": ToFormat} })},
		"record enc":          {"record_enc", record(func(r *receipt.Record) { r.Enc = "hpke-p256" })},
		"no policy":           {"policy", record(func(r *receipt.Record) { r.Policy = receipt.Digest{} })},
		"other name":          {"name", response(func(r *receipt.Response) { r.KID = "https://vault.example/keys/other/" + agenttest.Version })},
		"other host":          {"host", response(func(r *receipt.Response) { r.KID = "https://evil.example/keys/disk/" + agenttest.Version })},
		"kid no URL":          {"kid", response(func(r *receipt.Response) { r.KID = "disk" })},
		"kid without version": {"version", response(func(r *receipt.Response) { r.KID = agenttest.KeyURL })},
		"kid other version":   {"version", response(func(r *receipt.Response) { r.KID = agenttest.KeyURL + "/" + strings.Repeat("f", 32) })},
		"other policy":        {"policy", response(func(r *receipt.Response) { r.Policy[0] ^= 1 })},
		"other time":          {"time", response(func(r *receipt.Response) { r.Time++ })},
		"other enc":           {"enc", response(func(r *receipt.Response) { r.Enc = "hpke-p256" })},
		"ciphertext bent":     {"ciphertext", response(func(r *receipt.Response) { r.Ciphertext[len(r.Ciphertext)-1] ^= 1 })},
		"ciphertext cut":      {"ciphertext", response(func(r *receipt.Response) { r.Ciphertext = r.Ciphertext[:10] })},
		"no ciphertext":       {"ciphertext", response(func(r *receipt.Response) { r.Ciphertext = nil })},
		"wrapped for other request": {"ciphertext", func(b *broker) {
			b.Wrapped = func(_, aad []byte) ([]byte, []byte) { return receipt.WrapInfo([]byte("other")), aad }
		}},
		"wrapped for other record": {"ciphertext", func(b *broker) {
			b.Wrapped = func(info, _ []byte) ([]byte, []byte) { return info, make([]byte, 32) }
		}},
	}
}

// AG-07: each lie is found by its own check, and no key comes out.
func TestLiesAreFound(t *testing.T) {
	b := agenttest.Start(t)
	header := b.Header
	a := newAgent(t, b, nil)
	for name, l := range lies(t) {
		b.Challenge, b.Record, b.Receipt, b.Wrapped, b.Response, b.JWS = nil, nil, nil, nil, nil, nil
		b.Header, b.SignWith, b.LogWith = header, nil, nil
		l.tell(b)
		r, err := a.Key(t.Context(), agenttest.KeyURL+"/"+agenttest.Version)
		var found *Invalid
		if !errors.As(err, &found) || found.Check != l.check {
			t.Errorf("%s: %v, want check %s", name, err, l.check)
		}
		if r != nil {
			t.Errorf("%s: a key came out", name)
			r.Material.Close()
		}
		if ExitCode(err) != ExitInvalid {
			t.Errorf("%s: exit code %d", name, ExitCode(err))
		}
	}
}

// TestDiskKey: the purpose is in what the hardware signs, and in the record or nothing of
// the answer is believed.
func TestDiskKey(t *testing.T) {
	b := agenttest.Start(t)
	said := ""
	b.Verify = func(req *binding.ReleaseRequest) error {
		rd, err := binding.Parse(req.RuntimeData)
		said = rd.Purpose
		return err
	}
	a := newAgent(t, b, nil)
	for _, purpose := range []string{ToUnlock, ToFormat} {
		b.Record = nil
		r, err := a.DiskKey(t.Context(), agenttest.KeyURL, purpose)
		if err != nil || said != purpose {
			t.Fatalf("%s: said %q: %v", purpose, said, err)
		}
		r.Material.Close()
		b.Record = func(r *receipt.Record) { r.Detail = nil }
		var found *Invalid
		if _, err := a.DiskKey(t.Context(), agenttest.KeyURL, purpose); !errors.As(err, &found) || found.Check != "purpose" {
			t.Errorf("%s: %v", purpose, err)
		}
	}
}

// FR-20, KB-18: an answer that was right once, for another question.
func TestOldAnswer(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, nil)
	var old string
	b.JWS = func(s string) string { old = s; return s }
	r, err := a.Key(t.Context(), agenttest.KeyURL)
	if err != nil {
		t.Fatal(err)
	}
	r.Material.Close()
	b.JWS = func(string) string { return old }
	var found *Invalid
	if _, err := a.Key(t.Context(), agenttest.KeyURL); !errors.As(err, &found) || found.Check != "request" {
		t.Errorf("replayed answer: %v", err)
	}
}

// Overlap at a rotation: any pinned key is good.
func TestRotation(t *testing.T) {
	b := agenttest.Start(t)
	_, vkey := agenttest.NewLogKey(t)
	b.Trust.Log.VKeys = append([]string{vkey}, b.Trust.Log.VKeys...)
	b.Trust.ResponseKeys = append([][]byte{agenttest.SPKI(t, agenttest.NewKey(t))}, b.Trust.ResponseKeys...)
	r, err := newAgent(t, b, nil).Key(t.Context(), agenttest.KeyURL)
	if err != nil {
		t.Fatal(err)
	}
	r.Material.Close()
}

func FuzzOpenJWS(f *testing.F) {
	k := agenttest.NewKey(f)
	keys, err := responseKeys(&receipt.Trust{ResponseKeys: [][]byte{agenttest.SPKI(f, k)}})
	if err != nil {
		f.Fatal(err)
	}
	good, err := agenttest.Sign(k, `{"alg":"ES256","typ":"`+receipt.ResponseType+`"}`, []byte("payload"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := openJWS(s, keys)
		var found *Invalid
		if err == nil && string(p) != "payload" {
			t.Fatal("a payload that nobody signed")
		}
		if err != nil && !errors.As(err, &found) {
			t.Fatalf("error without a check: %v", err)
		}
	})
}
