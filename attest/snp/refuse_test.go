package snp_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/simulated"
)

// refusal is one thing that is wrong with a signed report or its certificate.
type refusal struct {
	name    string
	chip    simulated.Chip
	check   attest.Check // "": accepted
	unnamed bool         // refused before the chip was proven
}

func setBits(off int, bits uint64) func([]byte) {
	return func(r []byte) {
		binary.LittleEndian.PutUint64(r[off:], binary.LittleEndian.Uint64(r[off:])|bits)
	}
}

func put(off int, b ...byte) func([]byte) { return func(r []byte) { copy(r[off:], b) } }

func reportCases() []refusal {
	changed := func(f func([]byte)) simulated.Chip { return simulated.Chip{Report: f} }
	zeroChip := func(r []byte) { clear(r[0x1a0:0x1e0]) }
	return []refusal{
		{name: "debug", chip: changed(setBits(8, 1<<19)), check: attest.CheckDebug},
		{name: "policy without its reserved one", chip: changed(func(r []byte) { r[10] &^= 2 }), check: attest.CheckPlatformBits},
		{name: "unknown policy bit 26", chip: changed(setBits(8, 1<<26)), check: attest.CheckPlatformBits},
		{name: "unknown policy bit 63", chip: changed(setBits(8, 1<<63)), check: attest.CheckPlatformBits},
		{name: "all known policy bits", chip: changed(setBits(8, 0x3f70000))},
		{name: "VMPL 1", chip: changed(put(0x30, 1)), check: attest.CheckVMPL},
		{name: "VMPL 3", chip: changed(put(0x30, 3)), check: attest.CheckVMPL},
		{name: "asked for by the host", chip: changed(put(0x30, 0xff, 0xff, 0xff, 0xff)), check: attest.CheckVMPL},
		{name: "masked chip id", chip: changed(zeroChip), check: attest.CheckChipMismatch, unnamed: true},
		{name: "chip id of another", chip: changed(put(0x1a0, 1, 2, 3)), check: attest.CheckChipMismatch, unnamed: true},
		{name: "masked chip key", chip: changed(put(0x48, 2)), check: attest.CheckSignature, unnamed: true},
		{name: "author key", chip: changed(put(0x48, 1))},
		{name: "says VLEK signed it", chip: changed(put(0x48, 1<<2)), check: attest.CheckChainUntrusted, unnamed: true},
		{name: "nobody signed it", chip: changed(put(0x48, 7<<2)), check: attest.CheckMalformed, unnamed: true},
		{name: "reserved signing key", chip: changed(put(0x48, 3<<2)), check: attest.CheckMalformed, unnamed: true},
		{name: "reserved signer bit", chip: changed(put(0x48, 1<<5)), check: attest.CheckMalformed, unnamed: true},
		{name: "another algorithm", chip: changed(put(0x34, 2)), check: attest.CheckMalformed, unnamed: true},
		{name: "reserved byte 0x4c", chip: changed(put(0x4c, 1)), check: attest.CheckMalformed, unnamed: true},
		{name: "reserved byte 0x18b", chip: changed(put(0x18b, 1)), check: attest.CheckMalformed, unnamed: true},
		{name: "reserved byte 0x1eb", chip: changed(put(0x1eb, 1)), check: attest.CheckMalformed, unnamed: true},
		{name: "reserved byte 0x1ef", chip: changed(put(0x1ef, 1)), check: attest.CheckMalformed, unnamed: true},
		{name: "reserved byte 0x29f", chip: changed(put(0x29f, 1)), check: attest.CheckMalformed, unnamed: true},
		{name: "mitigation vector before version 5", chip: changed(put(0x1f8, 1)), check: attest.CheckMalformed, unnamed: true},
		{name: "mitigation vector in version 5", chip: simulated.Chip{Version: 5, Report: put(0x1f8, 1)}},
		{name: "CPU in version 2", chip: simulated.Chip{Version: 2, Report: put(0x188, 0x19)}, check: attest.CheckMalformed, unnamed: true},
		{name: "CPU of another product", chip: changed(put(0x188, 0x19, 0x11)), check: attest.CheckChipMismatch, unnamed: true},
		{name: "CPU of no known product", chip: changed(put(0x188, 0x1b, 0)), check: attest.CheckChipMismatch, unnamed: true},
		{name: "Bergamo has Genoa's keys", chip: simulated.Chip{Product: snp.Genoa, Report: put(0x188, 0x19, 0xa0)}},
		{name: "dense Turin", chip: simulated.Chip{Product: snp.Turin, Report: put(0x188, 0x1a, 0x11)}},
		{name: "Turin", chip: simulated.Chip{Product: snp.Turin}},
		{name: "Turin has no version 2", chip: simulated.Chip{Product: snp.Turin, Version: 2}, check: attest.CheckChipMismatch, unnamed: true},
		{name: "Turin chip id beyond its length", chip: simulated.Chip{Product: snp.Turin, Report: put(0x1a8, 1)}, check: attest.CheckChipMismatch, unnamed: true},
		{name: "reserved byte of the reported TCB", chip: changed(put(0x183, 1)), check: attest.CheckMalformed, unnamed: true},
		{name: "reserved byte of the launch TCB", chip: changed(put(0x1f3, 1)), check: attest.CheckTCBMismatch},
		{name: "committed above current", chip: changed(put(0x1e0, 5)), check: attest.CheckTCBMismatch},
		{name: "committed firmware above current", chip: changed(put(0x1ed, 99)), check: attest.CheckTCBMismatch},
		{name: "current firmware above committed", chip: changed(put(0x1e8, 1, 56))},
		{name: "reported above current", chip: changed(func(r []byte) { r[0x38], r[0x1e0] = 3, 3 }), check: attest.CheckTCBMismatch},
		{name: "current above committed and reported", chip: changed(put(0x38, 9))},
		{name: "VLEK", chip: simulated.Chip{VLEK: true}},
		{name: "VLEK with a chip id", chip: simulated.Chip{VLEK: true, Report: put(0x1a0, 1)}, check: attest.CheckChipMismatch, unnamed: true},
	}
}

// TCB components of a report, each one above and one below what the certificate has.
func tcbCases() []refusal {
	var out []refusal
	for product, offsets := range map[string][]int{snp.Milan: {0, 1, 6, 7}, snp.Genoa: {0, 1, 6, 7}, snp.Turin: {0, 1, 2, 3, 7}} {
		var tcb [8]byte
		for _, off := range offsets {
			tcb[off] = 5
		}
		for _, off := range offsets {
			for _, by := range []byte{1, 255} {
				out = append(out, refusal{
					name: fmt.Sprintf("%s, TCB byte %d, %d more", product, off, int8(by)), check: attest.CheckTCBMismatch, unnamed: true,
					chip: simulated.Chip{Product: product, TCB: &tcb, Report: func(r []byte) { r[0x180+off] += by }},
				})
			}
		}
	}
	return out
}

// TestRefuses is EV-05, CC-03, CC-04, TP-01, TP-04 and TP-13.
func TestRefuses(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p)
	for _, version := range []uint32{0, 1, 4, 6, 7, 1<<32 - 1} {
		_, err := v.Verify(t.Context(), evidence(t, p, simulated.Chip{Report: func(r []byte) { binary.LittleEndian.PutUint32(r, version) }}), attest.Expect{At: now})
		if checkOf(err) != attest.CheckMalformed {
			t.Errorf("version %d: %v", version, err)
		}
	}
	for _, c := range append(append(reportCases(), tcbCases()...), certificateCases()...) {
		res, err := v.Verify(t.Context(), evidence(t, p, c.chip), attest.Expect{At: now})
		if checkOf(err) != c.check || err == nil != (c.check == "") {
			t.Errorf("%s: %v, want check %q", c.name, err, c.check)
		}
		var r *attest.Rejection
		if errors.As(err, &r) && (r.Identity == nil) != c.unnamed {
			t.Errorf("%s: identity %v in %v", c.name, r.Identity, err)
		}
		if err == nil && (!res.Facts.Bound || res.Facts.Revocation != attest.Checked || string(res.Recipient) != `{"kty":"EC"}`) {
			t.Errorf("%s: %+v", c.name, res)
		}
	}
}

// certificateCases are leaves that the right issuer signed and that are wrong.
func certificateCases() []refusal {
	leaf := func(f func(*x509.Certificate)) simulated.Chip { return simulated.Chip{Certificate: f} }
	ext := func(id []int, v any, params string) func(*x509.Certificate) {
		der, err := asn1.MarshalWithParams(v, params)
		if err != nil {
			panic(err)
		}
		return func(c *x509.Certificate) { replace(c, id, der) }
	}
	drop := func(id ...int) func(*x509.Certificate) { return func(c *x509.Certificate) { replace(c, id, nil) } }
	untrusted := func(name string, f func(*x509.Certificate)) refusal {
		return refusal{name: name, chip: leaf(f), check: attest.CheckChainUntrusted, unnamed: true}
	}
	return []refusal{
		{name: "leaf not yet valid", chip: leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), check: attest.CheckChainExpired, unnamed: true},
		{name: "leaf expired", chip: leaf(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), check: attest.CheckChainExpired, unnamed: true},
		{name: "TCB of the certificate", chip: leaf(ext([]int{3, 8}, 1, "")), check: attest.CheckTCBMismatch, unnamed: true},
		{name: "product of the certificate", chip: leaf(ext([]int{2}, "Genoa", "ia5")), check: attest.CheckChainUntrusted, unnamed: true},
		{name: "product with its stepping", chip: leaf(ext([]int{2}, "Milan-B0", "ia5"))},
		{name: "serial number zero, as AMD's", chip: leaf(func(c *x509.Certificate) { c.SerialNumber = new(big.Int) })},
		untrusted("another subject", func(c *x509.Certificate) { c.Subject.CommonName = "SEV-Milan" }),
		untrusted("VLEK for a VCEK report", func(c *x509.Certificate) { c.Subject.CommonName = "SEV-VLEK" }),
		untrusted("structure version 2", ext([]int{1}, 2, "")),
		untrusted("no structure version", drop(1)),
		untrusted("no product", drop(2)),
		untrusted("product as another string", ext([]int{2}, "Milan", "utf8")),
		untrusted("product with a line break", ext([]int{2}, "Milan-\n", "ia5")),
		untrusted("no boot loader level", drop(3, 1)),
		untrusted("no TEE level", drop(3, 2)),
		untrusted("no SNP level", drop(3, 3)),
		untrusted("no microcode level", drop(3, 8)),
		untrusted("level above a byte", ext([]int{3, 8}, 256+219, "")),
		untrusted("negative level", ext([]int{3, 8}, -37, "")),
		untrusted("reserved level", ext([]int{3, 4}, 1, "")),
		untrusted("FMC of Milan", ext([]int{3, 9}, 0, "")),
		untrusted("no HWID", drop(4)),
		untrusted("short HWID", func(c *x509.Certificate) { replace(c, []int{4}, make([]byte, 63)) }),
		untrusted("HWID of zeros", func(c *x509.Certificate) { replace(c, []int{4}, make([]byte, 64)) }),
		untrusted("CSP in a VCEK", ext([]int{5}, "CN=x", "ia5")),
		untrusted("unknown AMD extension", ext([]int{6}, 1, "")),
		untrusted("critical extension", func(c *x509.Certificate) { c.ExtraExtensions[0].Critical = true }),
		{name: "FMC missing in Turin", chip: simulated.Chip{Product: snp.Turin, Certificate: drop(3, 9)}, check: attest.CheckChainUntrusted, unnamed: true},
		{name: "VLEK without a cloud", chip: simulated.Chip{VLEK: true, Certificate: drop(5)}, check: attest.CheckChainUntrusted, unnamed: true},
		{name: "VLEK with an empty cloud", chip: simulated.Chip{VLEK: true, Certificate: ext([]int{5}, "", "ia5")}, check: attest.CheckChainUntrusted, unnamed: true},
	}
}

// replace sets, adds or (nil) drops an extension below AMD's arc.
func replace(c *x509.Certificate, id []int, value []byte) {
	oid := append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, id...)
	var out []pkix.Extension
	for _, e := range c.ExtraExtensions {
		if !e.Id.Equal(oid) {
			out = append(out, e)
		}
	}
	if value != nil {
		out = append(out, pkix.Extension{Id: oid, Value: value})
	}
	c.ExtraExtensions = out
}

func TestFacts(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p, func(c *snp.Config) { c.VMPLs = []uint32{2} })
	res, err := v.Verify(t.Context(), evidence(t, p, simulated.Chip{Report: func(r []byte) { setBits(8, 1<<18)(r); r[0x30] = 2 }}), attest.Expect{At: now.Add(90 * time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Facts.Migratable || res.Facts.Debug || res.Facts.CollateralAge != 90*time.Minute || res.Authority != `CN=ARK-Milan,O=OpenSKR simulation\, not AMD` {
		t.Errorf("%+v", res)
	}
	if _, err := v.Verify(t.Context(), evidence(t, p, simulated.Chip{}), attest.Expect{At: now}); checkOf(err) != attest.CheckVMPL {
		t.Errorf("level 0 where 2 is asked for: %v", err)
	}
}

// TestNoLevelsConfigured: a configuration file gives an empty list, which means level 0
// alone as an absent one does.
func TestNoLevelsConfigured(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p, func(c *snp.Config) { c.VMPLs = []uint32{} })
	for level, check := range map[byte]attest.Check{0: "", 1: attest.CheckVMPL} {
		ev := evidence(t, p, simulated.Chip{Report: func(r []byte) { r[0x30] = level }})
		if _, err := v.Verify(t.Context(), ev, attest.Expect{At: now}); checkOf(err) != check {
			t.Errorf("level %d: %v", level, err)
		}
	}
}

// milanInName makes a certificate call its product Milan.
func milanInName(c *x509.Certificate) {
	replace(c, []int{2}, append([]byte{22, 5}, "Milan"...))
}
