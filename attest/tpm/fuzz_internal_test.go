package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"testing"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"
	"github.com/openskr/openskr/attest/eventlog"
)

// FuzzParseAttested reads a TPMS_ATTEST as go-tpm does, or refuses it.
func FuzzParseAttested(f *testing.F) {
	for _, info := range []tpm2.TPMUAttest{
		tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{
			PCRSelect: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(0, 7, 23)}}},
			PCRDigest: tpm2.TPM2BDigest{Buffer: make([]byte, 32)},
		}),
		tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{Name: tpm2.TPM2BName{Buffer: make([]byte, 34)}}),
	} {
		typ := tpm2.TPMSTAttestQuote
		if _, err := info.Certify(); err == nil {
			typ = tpm2.TPMSTAttestCertify
		}
		f.Add(tpm2.Marshal(tpm2.TPMSAttest{
			Magic: tpm2.TPMGeneratedValue, Type: typ, ExtraData: tpm2.TPM2BData{Buffer: make([]byte, 32)},
			ClockInfo: tpm2.TPMSClockInfo{ResetCount: 3}, Attested: info,
		}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, typ := range []uint16{typeQuote, typeCertify} {
			a, err := parseAttested(b, typ)
			if err != nil {
				continue
			}
			other, err := tpm2.Unmarshal[tpm2.TPMSAttest](b)
			if err != nil {
				t.Fatalf("go-tpm refuses what was accepted: %v", err)
			}
			if !bytes.Equal(other.ExtraData.Buffer, a.extraData) || other.ClockInfo.ResetCount != a.clock.resetCount || other.FirmwareVersion != a.firmware {
				t.Fatalf("read differently: %+v, %+v", a, other)
			}
			if q, err := other.Attested.Quote(); err == nil && (!bytes.Equal(q.PCRDigest.Buffer, a.digest) || !bytes.Equal(tpm2.Marshal(q.PCRSelect), a.selection)) {
				t.Fatalf("quote read differently: %+v, %+v", a, q)
			}
		}
	})
}

// FuzzParseAK accepts a public area only if go-tpm reads the same one.
func FuzzParseAK(f *testing.F) {
	ecc := tpm2.ECCSRKTemplate
	ecc.ObjectAttributes = tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, Restricted: true, SignEncrypt: true}
	ecc.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull}, CurveID: tpm2.TPMECCNistP256, KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull},
		Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})},
	})
	ecc.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: unhex(generatorX)}, Y: tpm2.TPM2BECCParameter{Buffer: unhex(generatorY)}})
	f.Add(tpm2.Marshal(ecc))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		ak, err := ParseAK(b)
		if err != nil {
			return
		}
		area, err := tpm2.Unmarshal[tpm2.TPMTPublic](b)
		if err != nil {
			t.Fatalf("go-tpm refuses what was accepted: %v", err)
		}
		if !bytes.Equal(tpm2.Marshal(area), b) {
			t.Fatal("not the one encoding of this public area")
		}
		pub, err := tpm2.Pub(*area)
		if err != nil || !pub.(interface{ Equal(crypto.PublicKey) bool }).Equal(ak.Public) {
			t.Fatalf("key read differently: %v, %v", pub, err)
		}
		if err := ak.verify([]byte("message"), b); err == nil {
			t.Fatal("a public area is not a signature")
		}
	})
}

// The generator of P-256: a point that is on the curve.
const (
	generatorX = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
	generatorY = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// FuzzSignature checks the signature structure against a fixed key.
func FuzzSignature(f *testing.F) {
	f.Add([]byte{0, 0x18, 0, 0x0b, 0, 1, 1, 0, 1, 1})
	f.Add([]byte{0, 0x14, 0, 0x0b, 0, 1, 1})
	f.Add([]byte{0, 0x10})
	x, y := unhex(generatorX), unhex(generatorY)
	p, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	if err != nil {
		f.Fatal(err)
	}
	ak := &AK{Public: p, scheme: algECDSA, hash: algSHA256}
	message := []byte("no seed signs this")
	f.Fuzz(func(t *testing.T, b []byte) {
		// Whoever finds one has the private key 1: it is the curve's generator.
		if ak.verify(message, b) == nil && len(b) < 10 {
			t.Fatal("accepted")
		}
	})
}

// FuzzEventLog parses, replays and judges a log; what is read must be bounded by
// its size.
func FuzzEventLog(f *testing.F) {
	f.Add(testdata.Ubuntu1804AmdSevEventLog)
	f.Add(testdata.GlinuxAlexEventLog)
	f.Add(testdata.HostGMESEventLog)
	f.Add(testdata.Debian10EventLog)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, alg := range []uint16{algSHA256, algSHA384} {
			l, err := parseEventLog(b, alg)
			if err != nil {
				continue
			}
			total := 0
			for _, e := range l {
				total += len(e.Data) + len(e.Digest)
			}
			if total > len(b) || len(l) > eventlog.MaxEvents {
				t.Fatalf("%d bytes of events from %d", total, len(b))
			}
			size := 32
			if alg == algSHA384 {
				size = 48
			}
			if _, err := l.replay(alg, size); err != nil {
				continue
			}
			sep, unknown, rej := l.judgeFirmware(alg)
			if rej != nil {
				continue
			}
			claims := map[string]any{}
			if _, rej := l.firmwareClaims(claims, alg, sep, unknown, 1<<24-1); rej == nil && len(claims) > 7 {
				t.Fatalf("claims %v", claims)
			}
		}
	})
}

// FuzzSignatureLists never gives an entry that is not in the input (EV-12).
func FuzzSignatureLists(f *testing.F) {
	for _, raw := range [][]byte{testdata.Ubuntu1804AmdSevEventLog, testdata.ArchLinuxWorkstationEventLog} {
		l, err := parseEventLog(raw, algSHA256)
		if err != nil {
			f.Fatal(err)
		}
		for _, e := range l {
			if v, err := parseVariable(e.Data); err == nil && v.guid == guidSecurity {
				f.Add(v.data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSignatureLists(b)
		if err != nil {
			return
		}
		total := 17 * s.other
		for _, e := range append(s.certs, s.hashes...) {
			total += guidSize + len(e)
		}
		if total > len(b) {
			t.Fatalf("%d bytes of entries from %d", total, len(b))
		}
	})
}

// FuzzVariable reads UEFI_VARIABLE_DATA and the texts beside it.
func FuzzVariable(f *testing.F) {
	l, err := parseEventLog(testdata.Cos121AmdSevEventLog, algSHA256)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range l {
		f.Add(e.Data)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := parseVariable(b); err == nil && len(v.data) > len(b)-32 {
			t.Fatalf("%d bytes of data from %d", len(v.data), len(b))
		}
		e := []*eventlog.Event{{Type: evIPL, Data: b}}
		for _, typ := range []uint32{evIPL, evEventTag} {
			e[0].Type = typ
			if _, ok := systemdOptions(e, algSHA256); ok {
				t.Fatal("an event without a digest covers nothing")
			}
		}
		if text, ok := terminatedUTF16(b); ok && len(text) > 4*len(b) {
			t.Fatal("text longer than its input")
		}
	})
}

// FuzzSAN parses a subject alternative name.
func FuzzSAN(f *testing.F) {
	f.Add(unhex("301ca41a301831163014060567810502010c0b69643a3030303031303134"))
	f.Add(unhex("3000"))
	f.Fuzz(func(_ *testing.T, b []byte) { _ = parseSAN(b) })
}
