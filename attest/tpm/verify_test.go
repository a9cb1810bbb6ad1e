package tpm_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
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
		Revocation: attest.Checked, Freshness: attest.Checked, ResetCount: 7, RestartCount: 2,
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

// requote replaces the quote by a signed one with changes.
func requote(change func(*tpmtest.Machine, *tpm2.TPMSAttest)) func(*tpmtest.Machine, *format.Evidence) {
	return func(m *tpmtest.Machine, b *format.Evidence) {
		d := binding.Digest(m.RuntimeData(nonce))
		q := m.Quote(d[:])
		change(m, &q)
		b.Quote, b.Signature = sign(m, q)
	}
}

func recertify(change func(*tpmtest.Machine, *tpm2.TPMSAttest)) func(*tpmtest.Machine, *format.Evidence) {
	return func(m *tpmtest.Machine, b *format.Evidence) {
		d := binding.Digest(m.RuntimeData(nonce))
		c := m.Certify(d[:], b.Recipient.Public)
		change(m, &c)
		b.Recipient.Certify, b.Recipient.Signature = sign(m, c)
	}
}

func sign(m *tpmtest.Machine, a tpm2.TPMSAttest) (statement, signature attest.Bytes) {
	s, sig, err := m.Sign(a)
	if err != nil {
		panic(err)
	}
	return s, sig
}

func selection(hash tpm2.TPMAlgID, pcrs ...uint) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: hash, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)}}}
}

func selecting(sel tpm2.TPMLPCRSelection) func(*tpmtest.Machine, *tpm2.TPMSAttest) {
	return func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) {
		q, err := a.Attested.Quote()
		if err != nil {
			panic(err)
		}
		info := *q
		info.PCRSelect = sel
		a.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &info)
	}
}

func TestBadQuotes(t *testing.T) {
	for _, c := range []bad{
		{name: "magic", body: requote(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.Magic ^= 1 }), want: attest.CheckMalformed},
		{name: "certify instead of quote", body: func(_ *tpmtest.Machine, b *format.Evidence) {
			b.Quote, b.Signature = b.Recipient.Certify, b.Recipient.Signature
		}, want: attest.CheckMalformed},
		{name: "type time", body: retype(tpm2.TPMSTAttestTime), want: attest.CheckMalformed},
		{name: "type NV", body: retype(tpm2.TPMSTAttestNV), want: attest.CheckMalformed},
		{name: "type session audit", body: retype(tpm2.TPMSTAttestSessionAudit), want: attest.CheckMalformed},
		{name: "trailing byte, signed", body: func(m *tpmtest.Machine, b *format.Evidence) {
			b.Quote = append(b.Quote, 0)
			b.Signature, _ = m.SignRaw(b.Quote)
		}, want: attest.CheckMalformed},
		{name: "safe byte 2, signed", body: func(m *tpmtest.Machine, b *format.Evidence) {
			b.Quote[6+2+34+2+32+16] = 2
			b.Signature, _ = m.SignRaw(b.Quote)
		}, want: attest.CheckMalformed},
		{name: "extra data of another nonce", body: requote(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.ExtraData.Buffer[0] ^= 1 }), want: attest.CheckReportData},
		{name: "extra data empty", body: requote(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.ExtraData.Buffer = nil }), want: attest.CheckReportData},
		{name: "extra data is the nonce alone", body: requote(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.ExtraData.Buffer = nonce }), want: attest.CheckReportData},
		{name: "signed by another key", body: func(m *tpmtest.Machine, b *format.Evidence) {
			m.AKKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			b.Signature, _ = m.SignRaw(b.Quote)
		}, want: attest.CheckSignature},
		{name: "empty selection", body: requote(selecting(tpm2.TPMLPCRSelection{})), want: attest.CheckPCRSelection, proven: true},
		{name: "selection of no PCR", body: requote(selecting(selection(tpm2.TPMAlgSHA256))), want: attest.CheckPCRSelection, proven: true},
		{name: "selection without PCR 7", body: requote(selecting(selection(tpm2.TPMAlgSHA256, 0, 1, 2, 3, 4, 5, 6))), want: attest.CheckPCRSelection, proven: true},
		{name: "PCR 16 given as PCR 0", machine: only(0), body: requote(selecting(selection(tpm2.TPMAlgSHA256, 16))), want: attest.CheckPCRSelection, proven: true},
		{name: "two banks quoted", body: requote(selecting(tpm2.TPMLPCRSelection{PCRSelections: append(
			selection(tpm2.TPMAlgSHA256, 0).PCRSelections, selection(tpm2.TPMAlgSHA384, 0).PCRSelections...)})), want: attest.CheckPCRSelection, proven: true},
		{name: "SHA-1 quoted, SHA-256 given", body: requote(selecting(selection(tpm2.TPMAlgSHA1, 0, 1, 2, 3, 4, 5, 6, 7))), want: attest.CheckPCRSelection, proven: true},
		{name: "SHA-1 bank given", body: pcrs(func(p map[string]map[string]attest.Bytes) {
			p["sha1"] = map[string]attest.Bytes{"0": make([]byte, 20)}
			delete(p, "sha256")
		}), want: attest.CheckPCRBank, proven: true},
		{name: "two banks given", body: pcrs(func(p map[string]map[string]attest.Bytes) {
			p["sha384"] = map[string]attest.Bytes{"0": make([]byte, 48)}
		}), want: attest.CheckPCRBank, proven: true},
		{name: "no bank given", body: func(_ *tpmtest.Machine, b *format.Evidence) { b.PCRs = nil }, want: attest.CheckPCRBank, proven: true},
		{name: "no PCR given", body: pcrs(func(p map[string]map[string]attest.Bytes) { clear(p["sha256"]) }), want: attest.CheckPCRSelection, proven: true},
		{name: "PCR value changed", body: pcrs(func(p map[string]map[string]attest.Bytes) { p["sha256"]["7"][0] ^= 1 }), want: attest.CheckPCRDigest, proven: true},
		{name: "PCR left out", body: pcrs(func(p map[string]map[string]attest.Bytes) { delete(p["sha256"], "23") }), want: attest.CheckPCRSelection, proven: true},
		{name: "PCR index spelt 07", body: pcrs(func(p map[string]map[string]attest.Bytes) {
			p["sha256"]["07"] = p["sha256"]["7"]
			delete(p["sha256"], "7")
		}), want: attest.CheckMalformed, proven: true},
		{name: "PCR 24", body: pcrs(func(p map[string]map[string]attest.Bytes) { p["sha256"]["24"] = make([]byte, 32) }), want: attest.CheckMalformed, proven: true},
		{name: "PCR values with a shifted boundary", body: pcrs(func(p map[string]map[string]attest.Bytes) {
			p["sha256"]["0"], p["sha256"]["1"] = make([]byte, 31), make([]byte, 33)
		}), want: attest.CheckMalformed, proven: true},
	} {
		t.Run(c.name, c.run)
	}
}

func retype(typ tpm2.TPMST) func(*tpmtest.Machine, *format.Evidence) {
	return func(m *tpmtest.Machine, b *format.Evidence) {
		binary.BigEndian.PutUint16(b.Quote[4:], uint16(typ))
		b.Signature, _ = m.SignRaw(b.Quote)
	}
}

func pcrs(change func(map[string]map[string]attest.Bytes)) func(*tpmtest.Machine, *format.Evidence) {
	return func(_ *tpmtest.Machine, b *format.Evidence) {
		change(b.PCRs)
	}
}

// only leaves one PCR.
func only(keep int) func(*tpmtest.Machine) {
	return func(m *tpmtest.Machine) {
		maps.DeleteFunc(m.PCRs, func(i int, _ []byte) bool { return i != keep })
	}
}

// TestBadSignatures replaces the signature structure by ones that a careless
// parser follows (EV-16).
func TestBadSignatures(t *testing.T) {
	ecc := func(scheme, hash uint16, r, s []byte) []byte {
		b := binary.BigEndian.AppendUint16(nil, scheme)
		b = binary.BigEndian.AppendUint16(b, hash)
		b = binary.BigEndian.AppendUint16(b, uint16(len(r)))
		b = append(b, r...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		return append(b, s...)
	}
	n := elliptic.P256().Params().N.Bytes()
	one := []byte{1}
	for name, sig := range map[string][]byte{
		"empty":               {},
		"scheme only":         {0, 0x18},
		"null scheme":         {0, 0x10},
		"null scheme, padded": {0, 0x10, 0, 0x0b},
		"SHA-1":               ecc(0x18, 0x0004, one, one),
		"SHA-384":             ecc(0x18, 0x000c, one, one),
		"ECDAA":               ecc(0x1a, 0x000b, one, one),
		"RSASSA on ECC":       {0, 0x14, 0, 0x0b, 0, 1, 1},
		"r = 0":               ecc(0x18, 0x000b, []byte{0}, one),
		"s = 0":               ecc(0x18, 0x000b, one, nil),
		"r = s = 0":           ecc(0x18, 0x000b, nil, nil),
		"r = n":               ecc(0x18, 0x000b, n, one),
		"s = n":               ecc(0x18, 0x000b, one, n),
		"r too long":          ecc(0x18, 0x000b, make([]byte, 33), one),
		"r of 64 kB":          {0, 0x18, 0, 0x0b, 0xff, 0xff},
	} {
		t.Run(name, bad{body: func(_ *tpmtest.Machine, b *format.Evidence) { b.Signature = sig }, want: attest.CheckSignature}.run)
	}
	t.Run("trailing byte", bad{
		body: func(_ *tpmtest.Machine, b *format.Evidence) { b.Signature = append(b.Signature, 0) },
		want: attest.CheckSignature,
	}.run)
}

func TestBadRecipients(t *testing.T) {
	attrs := func(change func(*tpm2.TPMAObject)) func(*tpmtest.Machine) {
		return func(m *tpmtest.Machine) { change(&m.Recipient.ObjectAttributes) }
	}
	unbound := attest.CheckRecipientUnbound
	for _, c := range []bad{
		{name: "not fixedTPM", machine: attrs(func(a *tpm2.TPMAObject) { a.FixedTPM = false }), want: unbound},
		{name: "not fixedParent", machine: attrs(func(a *tpm2.TPMAObject) { a.FixedParent = false }), want: unbound},
		{name: "imported", machine: attrs(func(a *tpm2.TPMAObject) { a.SensitiveDataOrigin = false }), want: unbound},
		{name: "restricted", machine: attrs(func(a *tpm2.TPMAObject) { a.Restricted = true }), want: unbound},
		{name: "signs", machine: attrs(func(a *tpm2.TPMAObject) { a.SignEncrypt = true }), want: unbound},
		{name: "does not decrypt", machine: attrs(func(a *tpm2.TPMAObject) { a.Decrypt = false }), want: unbound},
		{name: "usable without its policy", machine: attrs(func(a *tpm2.TPMAObject) { a.UserWithAuth = true }), want: unbound},
		{name: "may be duplicated", machine: attrs(func(a *tpm2.TPMAObject) { a.EncryptedDuplication = true }), want: unbound},
		{name: "no policy", body: swapPublic(func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer = nil }), want: unbound},
		{name: "policy over other values", body: swapPublic(func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer[0] ^= 1 }), want: unbound},
		{name: "policy over another selection", body: otherPolicy(func(m *tpmtest.Machine) { delete(m.PCRs, 23) }), want: unbound},
		{name: "policy over another value of PCR 4", body: otherPolicy(func(m *tpmtest.Machine) { m.PCRs[4] = bytes.Repeat([]byte{1}, 32) }), want: unbound},
		{name: "another name certified", body: recertify(func(m *tpmtest.Machine, a *tpm2.TPMSAttest) {
			*a = m.Certify(a.ExtraData.Buffer, []byte("another public area"))
		}), want: unbound},
		{name: "public area of another key", body: func(m *tpmtest.Machine, b *format.Evidence) {
			other := machine(t)
			b.Recipient.Public, _ = other.RecipientPublic()
			recertify(func(*tpmtest.Machine, *tpm2.TPMSAttest) {})(m, b)
		}, want: unbound},
		{name: "certified for another nonce", body: recertify(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.ExtraData.Buffer[0] ^= 1 }), want: attest.CheckNotLinked},
		{name: "certified in another boot", body: recertify(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.ClockInfo.ResetCount++ }), want: attest.CheckNotLinked},
		{name: "certified by other firmware", body: recertify(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.FirmwareVersion++ }), want: attest.CheckNotLinked},
		{name: "certified by another signer", body: recertify(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.QualifiedSigner.Buffer[0] ^= 1 }), want: attest.CheckNotLinked},
		{name: "certify not from a TPM", body: recertify(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.Magic = 0 }), want: attest.CheckMalformed},
		{name: "quote as certify", body: func(_ *tpmtest.Machine, b *format.Evidence) {
			b.Recipient.Certify, b.Recipient.Signature = b.Quote, b.Signature
		}, want: attest.CheckMalformed},
		{name: "certify signed by another key", body: func(m *tpmtest.Machine, b *format.Evidence) {
			m.AKKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			b.Recipient.Signature, _ = m.SignRaw(b.Recipient.Certify)
		}, want: attest.CheckSignature},
		{name: "public area with a trailing byte", body: func(_ *tpmtest.Machine, b *format.Evidence) { b.Recipient.Public = append(b.Recipient.Public, 0) }, want: unbound},
	} {
		c.proven = true
		t.Run(c.name, c.run)
	}
}

// swapPublic changes the recipient's public area and certifies the result.
func swapPublic(change func(*tpm2.TPMTPublic)) func(*tpmtest.Machine, *format.Evidence) {
	return func(m *tpmtest.Machine, b *format.Evidence) {
		p, err := tpm2.Unmarshal[tpm2.TPMTPublic](b.Recipient.Public)
		if err != nil {
			panic(err)
		}
		change(p)
		b.Recipient.Public = tpm2.Marshal(p)
		recertify(func(*tpmtest.Machine, *tpm2.TPMSAttest) {})(m, b)
	}
}

// otherPolicy certifies a recipient whose policy fits other PCRs.
func otherPolicy(change func(*tpmtest.Machine)) func(*tpmtest.Machine, *format.Evidence) {
	return func(m *tpmtest.Machine, b *format.Evidence) {
		other := *m
		other.PCRs = maps.Clone(m.PCRs)
		change(&other)
		b.Recipient.Public, _ = other.RecipientPublic()
		recertify(func(*tpmtest.Machine, *tpm2.TPMSAttest) {})(m, b)
	}
}

// TestRuntimeDataDecides swaps what the quote does not cover, or covers only in
// part (KB-01, FR-10, FR-11).
func TestRuntimeDataDecides(t *testing.T) {
	m := machine(t)
	other, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	swapped := fmt.Sprintf(`{"kty":"HPKE","kem":16,"kid":"r","pub":%q}`, base64.RawURLEncoding.EncodeToString(other.PublicKey().Bytes()))
	sound := m.RuntimeData(nonce)
	for name, tc := range map[string]struct {
		signed, sent []byte
		want         attest.Check
	}{
		"recipient swapped after signing": {sound, tpmtest.RuntimeData(swapped, nonce), attest.CheckReportData},
		"nonce swapped after signing":     {sound, m.RuntimeData(bytes.Repeat([]byte{8}, 52)), attest.CheckReportData},
		"re-encoded":                      {sound, append([]byte(" "), sound...), attest.CheckReportData},
		"none sent":                       {sound, nil, attest.CheckRuntimeData},
		"nonce alone signed":              {nonce, sound, attest.CheckReportData},
		"not a document":                  {nonce, nonce, attest.CheckRuntimeData},
		"no key":                          {[]byte(`{"keys":[],"nonce":"AA","audience":"a","purpose":"release","key":"k","enc":"e"}`), nil, attest.CheckNoRecipient},
		"two keys":                        {[]byte(`{"keys":[{},{}],"nonce":"AA","audience":"a","purpose":"release","key":"k","enc":"e"}`), nil, attest.CheckAmbiguous},
		"software key with a proof for another": {
			tpmtest.RuntimeData(swapped, nonce), nil, attest.CheckRecipientUnbound,
		},
		"member twice": {bytes.Replace(sound, []byte(`"kid"`), []byte(`"kid":"r","kid"`), 1), nil, attest.CheckRuntimeData},
		"KEM without a P-256 half": {
			tpmtest.RuntimeData(`{"kty":"HPKE","kem":32,"kid":"r","pub":"AA"}`, nonce), nil, attest.CheckRecipientUnbound,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ev, err := m.Evidence(tc.signed)
			if err != nil {
				t.Fatal(err)
			}
			if tc.sent != nil || name == "none sent" {
				ev.RuntimeData = tc.sent
			}
			_, err = verifier(t, m).Verify(t.Context(), ev, attest.Expect{At: now})
			wantCheck(t, err, tc.want)
		})
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
