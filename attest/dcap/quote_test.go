package dcap_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

func TestIntelRoot(t *testing.T) {
	root, err := dcap.IntelRoot()
	if err != nil {
		t.Fatal(err)
	}
	want := "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
	if got := sha256.Sum256(root.Raw); hexOf(got[:]) != want || root.Subject.CommonName != "Intel SGX Root CA" {
		t.Errorf("%x %s", got, root.Subject)
	}
	if anchors := evaluator(t, dcap.Config{}).Anchors(); len(anchors) != 1 || !bytes.Equal(anchors[0], root.Raw) {
		t.Errorf("%d anchors", len(anchors))
	}
}

// Offsets in a quote of version 4 of a TD.
const (
	td4Signature = 48 + 584 + 4
	td4QE        = td4Signature + 128 + 6
)

// TestMalformed changes what the layout fixes (security EV-03, EV-04).
func TestMalformed(t *testing.T) {
	p := platform(t, 1, nil)
	v3 := sgxQuote(t, p)
	v4 := tdQuote(t, p)
	v5 := tdQuote(t, platform(t, 1, func(p *simulated.Platform) { p.TD.Version = 5 }))
	v5ex := tdQuote(t, platform(t, 1, func(p *simulated.Platform) { p.TD.Version, p.TD.Extended = 5, true }))
	set := func(raw []byte, at int, b ...byte) []byte {
		out := bytes.Clone(raw)
		copy(out[at:], b)
		return out
	}
	for name, raw := range map[string][]byte{
		"nothing": {}, "version 2": set(v3, 0, 2), "version 6": set(v4, 0, 6), "version 3 of a TD": set(v4, 0, 3), "version 4 of version 5": set(v5, 0, 4),
		"P-384 key": set(v4, 2, 3), "SGX body of TDX size": set(v4, 4, 0), "unknown TEE": set(v4, 4, 0x82), "another vendor": set(v4, 12, 0),
		"version 5, body of type 1": set(v5, 48, 1), "version 5, body of type 2": set(v5, 48, 2), "version 5, body of type 4": set(v5, 48, 4),
		"extended, body of type 3": set(v5ex, 48, 3), "extended, body of type 5": set(v5ex, 48, 5), "extended, 648 bytes": set(v5ex, 50, 0x88, 2),
		"version 5, 584 bytes": set(v5, 50, 0x48, 2), "version 5, 4 GB": set(v5, 50, 0xff, 0xff, 0xff, 0xff),
		"signature data too long": set(v4, td4Signature-4, 0xff, 0xff, 0xff, 0xff), "signature data too short": set(v4, td4Signature-4, 1, 0, 0, 0),
		"certification data of type 5": set(v4, td4QE-6, 5), "certification data too long": set(v4, td4QE-4, 0xff, 0xff, 0xff, 0x7f),
		"auth data too long": set(v4, td4QE+448, 0xff, 0xff), "no PCK chain": set(v4, td4QE+450+32, 1),
		"a byte behind": append(bytes.Clone(v4), 1), "NULs and a byte behind": append(append(bytes.Clone(v4), make([]byte, 99)...), 1),
		"more than a quote has": append(bytes.Clone(v4), make([]byte, dcap.MaxQuote)...),
	} {
		if q, err := dcap.ParseQuote(raw); err == nil {
			t.Errorf("%s: %+v", name, q)
		}
	}
	for _, raw := range [][]byte{v3, v4, v5, v5ex} {
		for n := range raw {
			if _, err := dcap.ParseQuote(raw[:n:n]); err == nil {
				t.Fatalf("version %d cut to %d of %d bytes", raw[0], n, len(raw))
			}
		}
		padded := append(bytes.Clone(raw), make([]byte, 3000)...)
		if _, err := dcap.ParseQuote(padded); err != nil {
			t.Errorf("version %d with zeros behind: %v", raw[0], err)
		}
		if got := dcap.TrimQuote(append(bytes.Clone(raw), "\nread me\n"...)); !bytes.Equal(got, raw) {
			t.Errorf("version %d trimmed to %d bytes of %d", raw[0], len(got), len(raw))
		}
		for _, tail := range []string{"x", "\xff", "\n\x00", "\n" + strings.Repeat("x", 256), string(raw)} {
			if got := dcap.TrimQuote(append(bytes.Clone(raw), tail...)); len(got) != len(raw)+len(tail) {
				t.Errorf("version %d: %.8q behind it was cut", raw[0], tail)
			}
		}
	}
	if junk := []byte("no quote"); !bytes.Equal(dcap.TrimQuote(junk), junk) {
		t.Error("junk was trimmed")
	}
}

// TestForged changes what a signature covers, or the signature.
func TestForged(t *testing.T) {
	p := platform(t, 1, nil)
	e := evaluator(t, dcap.Config{Roots: p.Roots(), Endorser: p})
	raw := tdQuote(t, p)
	for name, c := range map[string]struct {
		at, n int
		check attest.Check
	}{
		"header":              {30, 1, attest.CheckSignature},
		"body":                {48 + 136, 1, attest.CheckSignature},
		"signature":           {td4Signature, 1, attest.CheckSignature},
		"attestation key":     {td4Signature + 64, 1, attest.CheckSignature},
		"QE report":           {td4QE, 1, attest.CheckSignature},
		"QE signature":        {td4QE + 384, 1, attest.CheckSignature},
		"QE auth data":        {td4QE + 450, 1, attest.CheckSignature},
		"empty signature":     {td4Signature, 64, attest.CheckSignature}, // r = s = 0
		"empty key":           {td4Signature + 64, 64, attest.CheckSignature},
		"empty QE signature":  {td4QE + 384, 64, attest.CheckSignature},
		"signatures and keys": {td4Signature, 128, attest.CheckSignature},
	} {
		b := bytes.Clone(raw)
		if c.n == 1 {
			b[c.at] ^= 1
		} else {
			clear(b[c.at : c.at+c.n])
		}
		if _, rej := evaluate(t, e, b, at()); rej == nil || rej.Check != c.check {
			t.Errorf("%s: %v", name, rej)
		}
	}
	// The same once the genuine one is in the cache.
	if _, rej := evaluate(t, e, raw, at()); rej != nil {
		t.Fatal(rej)
	}
	b := bytes.Clone(raw)
	b[48+136] ^= 1
	if _, rej := evaluate(t, e, b, at()); rej == nil || rej.Check != attest.CheckSignature {
		t.Error(rej)
	}
}

// chainOf gives the certificates of a quote.
func chainOf(t *testing.T, raw []byte) (blocks [][]byte) {
	t.Helper()
	for rest := raw[bytes.Index(raw, []byte("-----BEGIN")):]; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return blocks
		}
		blocks = append(blocks, pem.EncodeToMemory(b))
	}
}

// rechain puts another chain into a quote of version 4: nothing signs it.
func rechain(raw, chain []byte) []byte {
	at := bytes.Index(raw, []byte("-----BEGIN"))
	out := append(bytes.Clone(raw[:at]), chain...)
	le := binary.LittleEndian
	le.PutUint32(out[at-4:], uint32(len(chain)))
	le.PutUint32(out[td4QE-4:], uint32(len(out)-td4QE))
	le.PutUint32(out[td4Signature-4:], uint32(len(out)-td4Signature))
	return out
}

// TestChain sends the chain in other forms, and other chains (security CC-16 to CC-19).
func TestChain(t *testing.T) {
	p := platform(t, 1, nil)
	raw := tdQuote(t, p)
	blocks := chainOf(t, raw)
	other := chainOf(t, tdQuote(t, platform(t, 2, nil)))
	pck, ca, root := blocks[0], blocks[1], blocks[2]
	short, issuer := forge(t)
	for name, c := range map[string]struct {
		chain [][]byte
		check attest.Check // "" when it is as good
	}{
		"as it is":            {blocks, ""},
		"NUL behind":          {[][]byte{pck, ca, root, {0}}, ""},
		"CRLF":                {[][]byte{bytes.ReplaceAll(slices.Concat(blocks...), []byte("\n"), []byte("\r\n"))}, ""},
		"another order":       {[][]byte{pck, root, ca}, attest.CheckChainUntrusted},
		"reversed":            {[][]byte{root, ca, pck}, attest.CheckChainUntrusted},
		"no root":             {[][]byte{pck, ca}, attest.CheckChainUntrusted},
		"no CA":               {[][]byte{pck, root}, attest.CheckChainUntrusted},
		"PCK twice":           {[][]byte{pck, pck, root}, attest.CheckChainUntrusted},
		"a fourth":            {[][]byte{pck, ca, root, root}, attest.CheckChainUntrusted},
		"a hundred":           {slices.Repeat([][]byte{pck, ca}, 50), attest.CheckMalformed},
		"text in front":       {[][]byte{[]byte("x\n"), pck, ca, root}, attest.CheckChainUntrusted},
		"text between":        {[][]byte{pck, []byte("x\n"), ca, root}, attest.CheckChainUntrusted},
		"text behind":         {[][]byte{pck, ca, root, []byte("x\n")}, attest.CheckChainUntrusted},
		"nothing":             {nil, attest.CheckChainUntrusted},
		"CA of another":       {[][]byte{pck, other[1], root}, attest.CheckChainUntrusted},
		"root of another":     {[][]byte{pck, ca, other[2]}, attest.CheckChainUntrusted},
		"all of another":      {other, attest.CheckChainUntrusted},
		"names only":          {[][]byte{short, issuer, root}, attest.CheckChainUntrusted},
		"PCK of another here": {[][]byte{other[0], ca, root}, attest.CheckChainUntrusted},
	} {
		b := rechain(raw, slices.Concat(c.chain...))
		_, rej := evaluate(t, evaluator(t, dcap.Config{Roots: p.Roots(), Endorser: p}), b, at())
		switch {
		case c.check == "" && rej != nil:
			t.Errorf("%s: %v", name, rej)
		case c.check != "" && (rej == nil || rej.Check != c.check):
			t.Errorf("%s: %v", name, rej)
		}
	}
}

// forge makes a PCK certificate and its CA with Intel's names and own keys.
func forge(t *testing.T) (pck, ca []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name, by string, isCA bool) []byte {
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: simulated.From, NotAfter: simulated.To,
			BasicConstraintsValid: true, IsCA: isCA, KeyUsage: x509.KeyUsageCertSign,
		}
		parent := &x509.Certificate{Subject: pkix.Name{CommonName: by}}
		der, err := x509.CreateCertificate(nil, tmpl, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return issue("Intel SGX PCK Certificate", "Intel SGX PCK Platform CA", false), issue("Intel SGX PCK Platform CA", "Intel SGX Root CA", true)
}
