package tpm_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

func recertify(change func(*tpmtest.Machine, *tpm2.TPMSAttest)) func(*tpmtest.Machine, *format.Evidence) {
	return func(m *tpmtest.Machine, b *format.Evidence) {
		d := binding.Digest(m.RuntimeData(nonce))
		c := m.Certify(d[:], b.Recipient.Public)
		change(m, &c)
		b.Recipient.Certify, b.Recipient.Signature = sign(m, c)
	}
}

// TestBadRecipients is KB-20 and KB-21.
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
		{name: "certified by another signer", body: recertify(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.QualifiedSigner.Buffer[2] ^= 1 }), want: attest.CheckNotLinked},
		{name: "certified by what has no name", body: recertify(func(_ *tpmtest.Machine, a *tpm2.TPMSAttest) { a.QualifiedSigner.Buffer[0] ^= 1 }), want: attest.CheckMalformed},
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
