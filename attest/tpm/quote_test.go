package tpm_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

// requote replaces the quote by a signed one with changes.
func requote(change func(*tpmtest.Machine, *tpm2.TPMSAttest)) func(*tpmtest.Machine, *format.Evidence) {
	return func(m *tpmtest.Machine, b *format.Evidence) {
		d := binding.Digest(m.RuntimeData(nonce))
		q := m.Quote(d[:])
		change(m, &q)
		b.Quote, b.Signature = sign(m, q)
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

// TestBadQuotes is EV-07, EV-08, EV-15 and EV-27.
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
		{name: "no PCR quoted and none given", machine: only(-1), want: attest.CheckPCRSelection, proven: true},
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
	t.Run("r with leading zeros", bad{body: func(_ *tpmtest.Machine, b *format.Evidence) {
		n := int(b.Signature[5])
		r, s := b.Signature[6:6+n], b.Signature[8+n:]
		b.Signature = ecc(0x18, 0x000b, append(make([]byte, 33-n), r...), s)
	}, want: attest.CheckSignature}.run)
	t.Run("trailing byte", bad{
		body: func(_ *tpmtest.Machine, b *format.Evidence) { b.Signature = append(b.Signature, 0) },
		want: attest.CheckSignature,
	}.run)
}
