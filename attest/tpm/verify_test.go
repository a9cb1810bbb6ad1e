package tpm_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

func TestSoundEvidence(t *testing.T) {
	m := booted(t, testdata.Ubuntu2404AmdSevSnpEventLog, tpm2.TPMAlgSHA256)
	rd := m.RuntimeData(nonce)
	ev, err := m.Evidence(rd)
	if err != nil {
		t.Fatal(err)
	}
	res, err := verifier(t, m).Verify(t.Context(), ev, attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	want := attest.Facts{
		Chain: true, Signature: true, Bound: true, Recipient: true, Resident: true,
		Revocation: attest.Checked, Freshness: attest.Checked, ResetCount: 7,
	}
	if res.Facts != want {
		t.Errorf("facts %+v, want %+v", res.Facts, want)
	}
	if res.Authority != tpm.AuthorityAKCA || res.Identity != (attest.Identity{Kind: "tpm", ID: "machine-1"}) || res.Type != attest.TypeTPM {
		t.Errorf("result %+v", res)
	}
	doc, err := binding.Parse(rd)
	if err != nil || !bytes.Equal(res.Recipient, doc.Recipient()) {
		t.Errorf("recipient %s, %v", res.Recipient, err)
	}
	if got := res.Claims["boot"].(map[string]any)["cmdline"].(string) + "\x00"; got != testdata.Ubuntu2404AmdSevSnpCmdline {
		t.Errorf("command line %q", got)
	}
}

// TestOtherKeys verifies the shapes that are accepted beside the default one.
func TestOtherKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("RSA AK", func(t *testing.T) {
		m := machine(t)
		m.AKKey, m.AK = rsaKey, tpmtest.AKTemplate(&rsaKey.PublicKey)
		if _, err := verify(t, m); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("SHA-384 bank", func(t *testing.T) {
		m := booted(t, testdata.Ubuntu2404AmdSevSnpEventLog, tpm2.TPMAlgSHA384)
		res, err := verify(t, m)
		if err != nil {
			t.Fatal(err)
		}
		if res.Claims["secureboot"] != false || res.Claims["boot"] == nil {
			t.Errorf("claims %v", res.Claims)
		}
	})
	t.Run("hybrid recipient", func(t *testing.T) {
		m := machine(t)
		pub := append(make([]byte, 1184), m.RecipientKey.PublicKey().Bytes()...)
		jwk := fmt.Sprintf(`{"kty":"HPKE","kem":80,"kid":"r","pub":%q}`, base64.RawURLEncoding.EncodeToString(pub))
		ev, err := m.Evidence(tpmtest.RuntimeData(jwk, nonce))
		if err != nil {
			t.Fatal(err)
		}
		res, err := verifier(t, m).Verify(t.Context(), ev, attest.Expect{At: now})
		if err != nil || !res.Facts.Resident {
			t.Fatalf("%v, %v", res, err)
		}
	})
	t.Run("RSA recipient", func(t *testing.T) {
		m := machine(t)
		m.Recipient = rsaRecipient(&rsaKey.PublicKey)
		jwk := fmt.Sprintf(`{"kty":"RSA","kid":"r","key_ops":["encrypt"],"n":%q,"e":"AQAB"}`, base64.RawURLEncoding.EncodeToString(rsaKey.N.Bytes()))
		ev, err := m.Evidence(tpmtest.RuntimeData(jwk, nonce))
		if err != nil {
			t.Fatal(err)
		}
		res, err := verifier(t, m).Verify(t.Context(), ev, attest.Expect{At: now})
		if err != nil || !res.Facts.Resident {
			t.Fatalf("%v, %v", res, err)
		}
	})
	t.Run("recipient outside the TPM", func(t *testing.T) {
		m := machine(t)
		rd := m.RuntimeData(nonce)
		body, err := m.Body(rd)
		if err != nil {
			t.Fatal(err)
		}
		body.Recipient = nil
		ev, err := m.Pack(body, rd)
		if err != nil {
			t.Fatal(err)
		}
		res, err := verifier(t, m).Verify(t.Context(), ev, attest.Expect{At: now})
		if err != nil || res.Facts.Resident || !res.Facts.Recipient {
			t.Fatalf("covered but not resident: %+v, %v", res, err)
		}
	})
}

func rsaRecipient(pub *rsa.PublicKey) tpm2.TPMTPublic {
	p := tpmtest.AKTemplate(pub)
	p.ObjectAttributes = tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, NoDA: true, Decrypt: true}
	p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
		Scheme:    tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgOAEP, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgOAEP, &tpm2.TPMSEncSchemeOAEP{HashAlg: tpm2.TPMAlgSHA256})},
		Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull}, KeyBits: 2048,
	})
	return p
}

// bad is evidence that differs from sound evidence in one thing.
type bad struct {
	name    string
	machine func(*tpmtest.Machine)                   // before anything is signed
	body    func(*tpmtest.Machine, *format.Evidence) // after
	ev      func(*attest.Evidence)
	want    attest.Check
	proven  bool // the rejection must carry the machine's identity
}

func (c bad) run(t *testing.T) {
	m := machine(t)
	if c.machine != nil {
		c.machine(m)
	}
	rd := m.RuntimeData(nonce)
	body, err := m.Body(rd)
	if err != nil {
		t.Fatal(err)
	}
	if c.body != nil {
		c.body(m, body)
	}
	ev, err := m.Pack(body, rd)
	if err != nil {
		t.Fatal(err)
	}
	if c.ev != nil {
		c.ev(&ev)
	}
	_, err = verifier(t, m).Verify(t.Context(), ev, attest.Expect{At: now})
	r := wantCheck(t, err, c.want)
	if c.proven != (r.Identity != nil) {
		t.Errorf("identity %v, want proven=%v", r.Identity, c.proven)
	}
}

func TestBadEnvelope(t *testing.T) {
	for _, c := range []bad{
		{name: "type of the body", body: func(_ *tpmtest.Machine, b *format.Evidence) { b.Type = "TPM" }, want: attest.CheckTypeNotAllowed},
		{name: "type of the envelope", ev: func(e *attest.Evidence) { e.Type = "simulated-tpm" }, want: attest.CheckTypeNotAllowed},
		{name: "body empty", ev: func(e *attest.Evidence) { e.Body = nil }, want: attest.CheckMalformed},
		{name: "body not JSON", ev: func(e *attest.Evidence) { e.Body = []byte("\x00") }, want: attest.CheckMalformed},
		{name: "member unknown", ev: func(e *attest.Evidence) { e.Body = append([]byte(`{"x":1,`), e.Body[1:]...) }, want: attest.CheckMalformed},
		{name: "member twice", ev: func(e *attest.Evidence) { e.Body = append([]byte(`{"type":"tpm",`), e.Body[1:]...) }, want: attest.CheckMalformed},
		{name: "member in other case", ev: func(e *attest.Evidence) { e.Body = bytes.Replace(e.Body, []byte(`"ak"`), []byte(`"AK"`), 1) }, want: attest.CheckMalformed},
		{name: "trailing byte", ev: func(e *attest.Evidence) { e.Body = append(e.Body, 'x') }, want: attest.CheckMalformed},
		{name: "1 MiB of white space", ev: func(e *attest.Evidence) { e.Body = append(e.Body, bytes.Repeat([]byte(" "), 1<<20)...) }, want: attest.CheckMalformed},
		{name: "event log too large", body: func(_ *tpmtest.Machine, b *format.Evidence) { b.EventLog = make([]byte, tpm.MaxEventLog+1) }, want: attest.CheckEventLog},
		{name: "runtime data too large", ev: func(e *attest.Evidence) { e.RuntimeData = make([]byte, binding.MaxSize+1) }, want: attest.CheckRuntimeData},
		{name: "quote too large", body: func(_ *tpmtest.Machine, b *format.Evidence) { b.Quote = append(b.Quote, make([]byte, 2000)...) }, want: attest.CheckMalformed},
		{name: "AK too large", body: func(_ *tpmtest.Machine, b *format.Evidence) { b.AK = append(b.AK, make([]byte, 2000)...) }, want: attest.CheckAKNotTrusted},
		{name: "no endorsement", ev: func(e *attest.Evidence) { e.Endorsements = nil }, want: attest.CheckAKNotTrusted},
		{name: "endorsement of another type", ev: func(e *attest.Evidence) { e.Endorsements[0].Type = "x" }, want: attest.CheckMalformed},
		{name: "two endorsements", ev: func(e *attest.Evidence) { e.Endorsements = append(e.Endorsements, e.Endorsements[0]) }, want: attest.CheckMalformed},
		{name: "endorsement empty", ev: func(e *attest.Evidence) { e.Endorsements[0].Data = nil }, want: attest.CheckMalformed},
		{name: "certificate cut", ev: func(e *attest.Evidence) {
			e.Endorsements[0].Data = e.Endorsements[0].Data[:len(e.Endorsements[0].Data)-1]
		}, want: attest.CheckChainUntrusted},
		{name: "certificate expired", machine: func(m *tpmtest.Machine) { m.To = now.Add(-time.Second) }, want: attest.CheckChainExpired},
		{name: "certificate not yet valid", machine: func(m *tpmtest.Machine) { m.From = now.Add(time.Second) }, want: attest.CheckChainExpired},
	} {
		t.Run(c.name, c.run)
	}
}

func TestExpectationsThatContradict(t *testing.T) {
	m := machine(t)
	ev, err := m.Evidence(m.RuntimeData(nonce))
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(t, m)
	for name, want := range map[string]attest.Expect{
		"no time":                   {},
		"unbound with runtime data": {At: now, Unbound: true},
	} {
		_, err := v.Verify(t.Context(), ev, want)
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		wantCheck(t, err, attest.CheckInternal)
	}
}

// TestCachesHoldNoVerdict shows that what is cached does not outlive its
// certificate and does not skip the deny list.
func TestCachesHoldNoVerdict(t *testing.T) {
	m := machine(t)
	ev, err := m.Evidence(m.RuntimeData(nonce))
	if err != nil {
		t.Fatal(err)
	}
	denied := false
	v, err := tpm.New(tpm.Config{AKRoots: caOf(m), Denied: func(*x509.Certificate) bool { return denied }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := v.Verify(t.Context(), ev, attest.Expect{At: now}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: m.To.Add(time.Second)})
	wantCheck(t, err, attest.CheckChainExpired)
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: m.From.Add(-time.Second)})
	wantCheck(t, err, attest.CheckChainExpired)
	denied = true
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: now})
	wantCheck(t, err, attest.CheckCertRevoked)
}

// TestDeniedMachineIsKnown: a revoked machine that asks is named, so that its
// attempt is a record, and nobody is named by evidence that is not its own.
func TestDeniedMachineIsKnown(t *testing.T) {
	m := machine(t)
	v, err := tpm.New(tpm.Config{AKRoots: caOf(m), Denied: deny(true)})
	if err != nil {
		t.Fatal(err)
	}
	ev, err := m.Evidence(m.RuntimeData(nonce))
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: now})
	if r := wantCheck(t, err, attest.CheckCertRevoked); r.Identity == nil || r.Identity.ID != m.ID {
		t.Errorf("identity %v", r.Identity)
	}
	ev.RuntimeData = append(ev.RuntimeData, ' ')
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: now})
	if r := wantCheck(t, err, attest.CheckReportData); r.Identity != nil {
		t.Errorf("identity %v", r.Identity)
	}
}
