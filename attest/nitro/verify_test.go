package nitro_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/nitro"
	"github.com/openskr/openskr/attest/nitro/format"
	"github.com/openskr/openskr/attest/nitro/simulated"
)

func TestSound(t *testing.T) {
	p := platform(t, 1)
	cfg := p.Config()
	cfg.Denied = func(string) bool { return false }
	res, err := verifier(t, cfg).Verify(t.Context(), evidence(t, p), attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	want := attest.Facts{Chain: true, Signature: true, Bound: true, Recipient: true, Revocation: attest.Checked, Freshness: attest.Checked}
	if res.Facts != want || string(res.Recipient) != jwk || res.Type != "simulated-nitro" ||
		res.Identity != attest.Identify("simulated-nitro", []byte(p.ModuleID)) || res.Authority != p.Root.Subject.String() {
		t.Errorf("%+v", res)
	}
	claims := res.Claims["nitro"].(map[string]any)
	pcrs := claims["pcrs"].(map[string]any)
	if claims["module_id"] != p.ModuleID || claims["digest"] != "sha384" || claims["timestamp"] != now.UnixMilli() || claims["is_nitrotpm"] != false ||
		len(pcrs) != 16 || pcrs["0"] != hex.EncodeToString(p.PCRs[0]) || claims["nitrotpm_pcrs"] != nil {
		t.Errorf("claims %v", claims)
	}
	cfg.Denied = nil
	if res, err = verifier(t, cfg).Verify(t.Context(), evidence(t, p), attest.Expect{At: now}); err != nil || res.Facts.Revocation != attest.NotChecked {
		t.Errorf("without a deny list: %+v, %v", res, err)
	}
}

// TestNitroTPM: the same document with PCRs of other meaning has claims of other name.
func TestNitroTPM(t *testing.T) {
	p := platform(t, 1)
	p.NitroTPM = true
	res, err := verifier(t, p.Config()).Verify(t.Context(), evidence(t, p), attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	claims := res.Claims["nitro"].(map[string]any)
	if claims["is_nitrotpm"] != true || claims["pcrs"] != nil || len(claims["nitrotpm_pcrs"].(map[string]any)) != 16 {
		t.Errorf("claims %v", claims)
	}
}

func TestDenied(t *testing.T) {
	p := platform(t, 1)
	for _, name := range []string{"i-00000000000000000-enc0000000000000000", "i-00000000000000000"} {
		cfg := p.Config()
		cfg.Denied = func(id string) bool { return id == name }
		_, err := verifier(t, cfg).Verify(t.Context(), evidence(t, p), attest.Expect{At: now})
		wantCheck(t, err, attest.CheckPlatformDenied, true)
	}
}

// TestDraft is EV-19 of the payload, one change each, signed by the enclave's key.
func TestDraft(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p.Config())
	zero := make([]byte, 48)
	for name, tc := range map[string]struct {
		change func(*simulated.Draft)
		want   attest.Check
		id     bool
	}{
		"sound":                     {func(*simulated.Draft) {}, "", false},
		"no public_key":             {func(d *simulated.Draft) { d.PublicKey = nil }, "", false},
		"empty public_key":          {func(d *simulated.Draft) { d.PublicKey = []byte{} }, "", false},
		"another public_key":        {func(d *simulated.Draft) { d.PublicKey = hash([]byte("another")) }, attest.CheckReportData, false},
		"no nonce":                  {func(d *simulated.Draft) { d.Nonce = nil }, attest.CheckReportData, false},
		"empty nonce":               {func(d *simulated.Draft) { d.Nonce = []byte{} }, attest.CheckReportData, false},
		"another nonce":             {func(d *simulated.Draft) { d.Nonce = []byte("another") }, attest.CheckReportData, false},
		"no user_data":              {func(d *simulated.Draft) { d.UserData = nil }, attest.CheckReportData, false},
		"another user_data":         {func(d *simulated.Draft) { d.UserData = hash([]byte("another")) }, attest.CheckReportData, false},
		"user_data for the nonce":   {func(d *simulated.Draft) { d.UserData, d.Nonce = d.Nonce, d.UserData }, attest.CheckReportData, false},
		"debug":                     {func(d *simulated.Draft) { d.PCRs[0], d.PCRs[1], d.PCRs[2] = zero, zero, zero }, attest.CheckDebug, true},
		"image unmeasured":          {func(d *simulated.Draft) { d.PCRs[0] = zero }, attest.CheckDebug, true},
		"application unmeasured":    {func(d *simulated.Draft) { d.PCRs[2] = zero }, attest.CheckDebug, true},
		"no PCR 0":                  {func(d *simulated.Draft) { delete(d.PCRs, 0) }, attest.CheckMalformed, false},
		"no PCR 2":                  {func(d *simulated.Draft) { delete(d.PCRs, 2) }, attest.CheckMalformed, false},
		"no PCRs":                   {func(d *simulated.Draft) { d.PCRs = nil }, attest.CheckMalformed, false},
		"PCR 32":                    {func(d *simulated.Draft) { d.PCRs[32] = zero }, attest.CheckMalformed, false},
		"PCR of 47 bytes":           {func(d *simulated.Draft) { d.PCRs[5] = zero[:47] }, attest.CheckMalformed, false},
		"empty PCR":                 {func(d *simulated.Draft) { d.PCRs[5] = []byte{} }, attest.CheckMalformed, false},
		"PCR null":                  {func(d *simulated.Draft) { d.PCRs[5] = nil }, attest.CheckMalformed, false},
		"PCR 31":                    {func(d *simulated.Draft) { d.PCRs[31] = zero }, "", false},
		"no module id":              {func(d *simulated.Draft) { d.ModuleID = "" }, attest.CheckMalformed, false},
		"module id too long":        {func(d *simulated.Draft) { d.ModuleID = strings.Repeat("i", 129) }, attest.CheckMalformed, false},
		"digest SHA256":             {func(d *simulated.Draft) { d.Digest = "SHA256" }, attest.CheckMalformed, false},
		"digest in small letters":   {func(d *simulated.Draft) { d.Digest = "sha384" }, attest.CheckMalformed, false},
		"no timestamp":              {func(d *simulated.Draft) { d.Timestamp = 0 }, attest.CheckMalformed, false},
		"timestamp of 2^64-1":       {func(d *simulated.Draft) { d.Timestamp = 1<<64 - 1 }, attest.CheckMalformed, false},
		"made 10 min ago":           {func(d *simulated.Draft) { d.Timestamp -= 600_000 }, attest.CheckChainExpired, false},
		"made in 10 min":            {func(d *simulated.Draft) { d.Timestamp += 600_000 }, attest.CheckChainExpired, false},
		"made in 5 min and 1 ms":    {func(d *simulated.Draft) { d.Timestamp += 300_001 }, attest.CheckChainExpired, false},
		"made in 5 min":             {func(d *simulated.Draft) { d.Timestamp += 300_000 }, "", false},
		"made before the leaf":      {func(d *simulated.Draft) { d.Timestamp -= 4_000 }, attest.CheckChainExpired, false},
		"no certificate":            {func(d *simulated.Draft) { d.Leaf = nil }, attest.CheckMalformed, false},
		"no bundle":                 {func(d *simulated.Draft) { d.Bundle = nil }, attest.CheckMalformed, false},
		"bundle without the root":   {func(d *simulated.Draft) { d.Bundle = d.Bundle[1:] }, attest.CheckChainUntrusted, false},
		"another root":              {func(d *simulated.Draft) { d.Bundle[0] = platform(t, 2).Root.Raw }, attest.CheckChainUntrusted, false},
		"something behind the root": {func(d *simulated.Draft) { d.Bundle[0] = append(bytes.Clone(d.Bundle[0]), 0) }, attest.CheckChainUntrusted, false},
		"bundle of the root alone":  {func(d *simulated.Draft) { d.Bundle = d.Bundle[:1] }, attest.CheckChainUntrusted, false},
		"bundle backwards":          {func(d *simulated.Draft) { d.Bundle[0], d.Bundle[1] = d.Bundle[1], d.Bundle[0] }, attest.CheckChainUntrusted, false},
		"intermediate twice":        {func(d *simulated.Draft) { d.Bundle = append(d.Bundle, d.Bundle[1]) }, attest.CheckChainUntrusted, false},
		"root twice":                {func(d *simulated.Draft) { d.Bundle = append(d.Bundle, d.Bundle[0]) }, attest.CheckChainUntrusted, false},
		"leaf in the bundle":        {func(d *simulated.Draft) { d.Bundle = append(d.Bundle, d.Leaf) }, attest.CheckChainUntrusted, false},
		"bundle of nine":            {func(d *simulated.Draft) { d.Bundle = append(d.Bundle, make([][]byte, 7)...) }, attest.CheckMalformed, false},
		"certificate of 1025 bytes": {func(d *simulated.Draft) { d.Leaf = make([]byte, 1025) }, attest.CheckMalformed, false},
		"something behind the leaf": {func(d *simulated.Draft) { d.Leaf = append(bytes.Clone(d.Leaf), 0) }, attest.CheckChainUntrusted, false},
		"the leaf is the CA":        {func(d *simulated.Draft) { d.Leaf = d.Bundle[1] }, attest.CheckChainUntrusted, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := draft(t, p)
			d.PCRs = maps.Clone(d.PCRs)
			tc.change(d)
			doc, err := p.Seal(d.Payload())
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Verify(t.Context(), pack(t, doc), attest.Expect{At: now})
			if tc.want != "" {
				wantCheck(t, err, tc.want, tc.id)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestPayload is EV-19 of the payload's encoding: text put in place of other, then
// signed by the enclave's key.
func TestPayload(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p.Config())
	digest := format.AppendText(format.AppendText(nil, "digest"), "SHA384")
	nonce := format.AppendText(nil, "nonce")
	first := concat([]byte{0xa9}, format.AppendText(nil, "module_id"))
	for name, c := range map[string]struct {
		old, new []byte
		want     attest.Check
	}{
		"map without a length":    {[]byte{0xa9}, []byte{0xbf}, attest.CheckMalformed}, // and without its end
		"member twice":            {first, concat([]byte{0xaa}, digest, first[1:]), attest.CheckMalformed},
		"unknown member":          {nonce, format.AppendText(nil, "other"), attest.CheckMalformed},
		"member of another case":  {nonce, format.AppendText(nil, "Nonce"), attest.CheckMalformed},
		"name in bytes":           {nonce, format.AppendBytes(nil, []byte("nonce")), attest.CheckMalformed},
		"name in chunks":          {nonce, []byte("\x7f\x65nonce\xff"), attest.CheckMalformed},
		"digest in bytes":         {format.AppendText(nil, "SHA384"), format.AppendBytes(nil, []byte("SHA384")), attest.CheckMalformed},
		"digest with a long head": {format.AppendText(nil, "SHA384"), []byte("\x78\x06SHA384"), attest.CheckMalformed},
		"digest tagged":           {format.AppendText(nil, "SHA384"), []byte("\xc1\x66SHA384"), attest.CheckMalformed},
		"PCRs of both kinds":      {first, concat([]byte{0xaa}, format.AppendText(nil, "nitrotpm_pcrs"), []byte{0xa0}, first[1:]), attest.CheckMalformed},
		"unknown member, null":    {first, concat([]byte{0xaa}, format.AppendText(nil, "other"), []byte{0xf6}, first[1:]), attest.CheckMalformed},
		"one member less":         {first, concat([]byte{0xa8}, first[1:]), attest.CheckMalformed},
		"PCRs in an array":        {format.AppendMap(format.AppendText(nil, "pcrs"), 16), format.AppendArray(format.AppendText(nil, "pcrs"), 16), attest.CheckMalformed},
		"a deep PCR":              {format.AppendUint(format.AppendMap(format.AppendText(nil, "pcrs"), 16), 0), append(format.AppendText(nil, "pcrs"), bytes.Repeat([]byte{0x9f}, 10_000)...), attest.CheckMalformed},
		"nothing changed":         {nonce, nonce, ""},
	} {
		t.Run(name, func(t *testing.T) {
			payload := draft(t, p).Payload()
			changed := bytes.Replace(payload, c.old, c.new, 1)
			if c.want != "" && bytes.Equal(changed, payload) {
				t.Fatal("nothing replaced")
			}
			doc, err := p.Seal(changed)
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Verify(t.Context(), pack(t, doc), attest.Expect{At: now})
			if c.want != "" {
				wantCheck(t, err, c.want, false)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("without lengths, as an NSM streams it", func(t *testing.T) {
		payload := append(draft(t, p).Payload(), 0xff)
		payload[0] = 0xbf
		pcrs := format.AppendText(nil, "pcrs")
		payload = bytes.Replace(payload, format.AppendMap(bytes.Clone(pcrs), 16), append(pcrs, 0xbf), 1)
		last := format.AppendBytes(format.AppendUint(nil, 15), make([]byte, 48))
		payload = bytes.Replace(payload, last, append(bytes.Clone(last), 0xff), 1)
		doc, err := p.Seal(payload)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), pack(t, doc), attest.Expect{At: now}); err != nil {
			t.Fatal(err)
		}
	})
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestSign1 is EV-19 of what is around the payload, and EV-22.
func TestSign1(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p.Config())
	payload := draft(t, p).Payload()
	n := elliptic.P384().Params().N
	message := func(head, protected, unprotected, sig []byte) []byte {
		if sig == nil {
			var err error
			if sig, err = p.Sign(protected, payload); err != nil {
				t.Fatal(err)
			}
		}
		b := append(format.AppendBytes(head, protected), unprotected...)
		return format.AppendBytes(format.AppendBytes(b, payload), sig)
	}
	raw := func(r, s *big.Int) []byte {
		return append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...)
	}
	good, err := p.Sign([]byte("\xa1\x01\x38\x22"), payload)
	if err != nil {
		t.Fatal(err)
	}
	r, s := new(big.Int).SetBytes(good[:48]), new(big.Int).SetBytes(good[48:])
	one, zero := big.NewInt(1), new(big.Int)
	const es384 = "\xa1\x01\x38\x22"
	for name, c := range map[string]struct {
		head, protected, unprotected string
		sig                          []byte
		want                         attest.Check
	}{
		"without a tag":                  {"\x84", es384, "\xa0", nil, ""},
		"with the tag":                   {"\xd2\x84", es384, "\xa0", nil, ""},
		"the tag twice":                  {"\xd2\xd2\x84", es384, "\xa0", nil, attest.CheckMalformed},
		"the tag in two bytes":           {"\xd8\x12\x84", es384, "\xa0", nil, attest.CheckMalformed},
		"the tag of COSE_Sign":           {"\xd8\x62\x84", es384, "\xa0", nil, attest.CheckMalformed},
		"array without a length":         {"\x9f", es384, "\xa0", nil, attest.CheckMalformed},
		"array length in two bytes":      {"\x98\x04", es384, "\xa0", nil, attest.CheckMalformed},
		"array of five":                  {"\x85", es384, "\xa0", nil, attest.CheckMalformed},
		"ES256":                          {"\x84", "\xa1\x01\x26", "\xa0", nil, attest.CheckMalformed},
		"ES512":                          {"\x84", "\xa1\x01\x38\x23", "\xa0", nil, attest.CheckMalformed},
		"no algorithm":                   {"\x84", "\xa0", "\xa0", nil, attest.CheckMalformed},
		"no protected header":            {"\x84", "", "\xa0", nil, attest.CheckMalformed},
		"algorithm unprotected":          {"\x84", "\xa0", es384, nil, attest.CheckMalformed},
		"algorithm in both":              {"\x84", es384, es384, nil, attest.CheckMalformed},
		"algorithm twice":                {"\x84", "\xa2\x01\x38\x22\x01\x38\x22", "\xa0", nil, attest.CheckMalformed},
		"critical header":                {"\x84", "\xa2\x01\x38\x22\x02\x81\x04", "\xa0", nil, attest.CheckMalformed},
		"protected without a length":     {"\x84", "\xbf\x01\x38\x22\xff", "\xa0", nil, attest.CheckMalformed},
		"unprotected without a length":   {"\x84", es384, "\xbf\xff", nil, attest.CheckMalformed},
		"certificate unprotected":        {"\x84", es384, "\xa1\x18\x21\x41\x00", nil, attest.CheckMalformed},
		"unprotected null":               {"\x84", es384, "\xf6", nil, attest.CheckMalformed},
		"signature of 95 bytes":          {"\x84", es384, "\xa0", good[:95], attest.CheckSignature},
		"signature of 97 bytes":          {"\x84", es384, "\xa0", append(bytes.Clone(good), 0), attest.CheckMalformed},
		"no signature":                   {"\x84", es384, "\xa0", []byte{}, attest.CheckSignature},
		"r = s = 0":                      {"\x84", es384, "\xa0", raw(zero, zero), attest.CheckSignature},
		"r = 0":                          {"\x84", es384, "\xa0", raw(zero, s), attest.CheckSignature},
		"s = 0":                          {"\x84", es384, "\xa0", raw(r, zero), attest.CheckSignature},
		"r = n":                          {"\x84", es384, "\xa0", raw(n, s), attest.CheckSignature},
		"s = n":                          {"\x84", es384, "\xa0", raw(r, n), attest.CheckSignature},
		"r = s = 1":                      {"\x84", es384, "\xa0", raw(one, one), attest.CheckSignature},
		"the other signature (r, n - s)": {"\x84", es384, "\xa0", raw(r, new(big.Int).Sub(n, s)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			doc := message([]byte(c.head), []byte(c.protected), []byte(c.unprotected), c.sig)
			res, err := v.Verify(t.Context(), pack(t, doc), attest.Expect{At: now})
			if c.want != "" {
				wantCheck(t, err, c.want, false)
			} else if err != nil || res.Identity != attest.Identify("simulated-nitro", []byte(p.ModuleID)) {
				t.Fatalf("%+v, %v", res, err)
			}
		})
	}
	t.Run("something behind", func(t *testing.T) {
		doc := append(message([]byte("\x84"), []byte(es384), []byte("\xa0"), nil), 0)
		_, err := v.Verify(t.Context(), pack(t, doc), attest.Expect{At: now})
		wantCheck(t, err, attest.CheckMalformed, false)
	})
	t.Run("too large", func(t *testing.T) {
		_, err := v.Verify(t.Context(), pack(t, make([]byte, nitro.MaxDocument+1)), attest.Expect{At: now})
		wantCheck(t, err, attest.CheckMalformed, false)
	})
}

// TestOffline compares a raw value with the nonce, and nothing else; age is the life of
// the certificate.
func TestOffline(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p.Config())
	ev := evidence(t, p)
	ev.RuntimeData = nil
	verify := func(want attest.Expect) (*attest.Result, error) {
		want.At = now
		return v.Verify(t.Context(), ev, want)
	}
	res, err := verify(attest.Expect{SignedData: []byte("nonce of the broker")})
	if err != nil || res.Facts.Bound || res.Facts.Freshness != attest.Checked || res.Recipient != nil {
		t.Errorf("%+v, %v", res, err)
	}
	_, err = verify(attest.Expect{SignedData: hash(runtimeData(t))}) // that is in user_data
	wantCheck(t, err, attest.CheckReportData, false)
	res, err = verify(attest.Expect{Unbound: true})
	if err != nil || res.Facts.Bound || res.Facts.Freshness != attest.NotChecked {
		t.Errorf("%+v, %v", res, err)
	}
	_, err = verify(attest.Expect{})
	wantCheck(t, err, attest.CheckRuntimeData, false)

	// An hour later, while its certificate lives, a document is still worth looking at,
	// and no longer worth a key.
	later := now.Add(time.Hour)
	if _, err := v.Verify(t.Context(), ev, attest.Expect{At: later, SignedData: []byte("nonce of the broker")}); err != nil {
		t.Error(err)
	}
	_, err = v.Verify(t.Context(), evidence(t, p), attest.Expect{At: later})
	wantCheck(t, err, attest.CheckChainExpired, false)
}

func TestBody(t *testing.T) {
	p := platform(t, 1)
	ev := evidence(t, p)
	ev.Endorsements = []attest.Endorsement{{Type: attest.EndorsementCertificate, Data: p.Root.Raw}}
	_, err := verifier(t, p.Config()).Verify(t.Context(), ev, attest.Expect{At: now})
	wantCheck(t, err, attest.CheckMalformed, false)
	ev = evidence(t, p)
	ev.Type = attest.TypeNitro // but the body says simulated
	_, err = verifier(t, nitro.Config{Roots: []*x509.Certificate{p.Root}}).Verify(t.Context(), ev, attest.Expect{At: now})
	wantCheck(t, err, attest.CheckTypeNotAllowed, false)
}

func TestNew(t *testing.T) {
	p := platform(t, 1)
	leaf, err := p.Leaf(p.LeafTemplate(now))
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]nitro.Config{
		"another type":            {Type: attest.TypeSNP},
		"simulation under AWS":    {Type: attest.TypeNitro.Simulated()},
		"a leaf for a root":       {Roots: []*x509.Certificate{leaf}},
		"no certificate for root": {Roots: []*x509.Certificate{nil}},
	} {
		if _, err := nitro.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	anchors := verifier(t, nitro.Config{}).Anchors()
	if len(anchors) != 1 || hex.EncodeToString(hash(anchors[0])) != "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b" {
		t.Errorf("pinned root %x", anchors)
	}
}

// TestSameSeed: broker and agent each make the simulation's root, the same.
func TestSameSeed(t *testing.T) {
	a, b := platform(t, 1), platform(t, 1)
	if !bytes.Equal(a.Root.Raw, b.Root.Raw) || !bytes.Equal(a.Intermediate.Raw, b.Intermediate.Raw) {
		t.Error("two platforms of one seed differ")
	}
	if bytes.Equal(a.Root.Raw, platform(t, 2).Root.Raw) {
		t.Error("two seeds, one root")
	}
	res, err := verifier(t, a.Config()).Verify(t.Context(), evidence(t, b), attest.Expect{At: now})
	if err != nil || !res.Facts.Chain {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestReal verifies the vectors at their own time.
func TestReal(t *testing.T) {
	cfg := nitro.Config{Denied: func(string) bool { return false }}
	v := verifier(t, cfg)
	made := time.UnixMilli(1762795210812)
	res, err := v.Verify(t.Context(), real(t, "nitro-01b-fastcrypto"), attest.Expect{At: made, Unbound: true})
	if err != nil {
		t.Fatal(err)
	}
	claims := res.Claims["nitro"].(map[string]any)
	pcrs := claims["pcrs"].(map[string]any)
	if claims["module_id"] != "i-06fb0bf4e70d5129f-enc019a5376999041b1" || claims["timestamp"] != int64(1762795210812) || len(pcrs) != 17 ||
		!strings.HasPrefix(pcrs["0"].(string), "3aa0e6e6ed7d8301655fced7e6ddcc44") || claims["is_nitrotpm"] != false {
		t.Errorf("claims %v", claims)
	}
	if !strings.Contains(res.Authority, "CN=aws.nitro-enclaves") || !res.Facts.Chain || !res.Facts.Signature || res.Facts.Bound || res.Facts.Revocation != attest.Checked {
		t.Errorf("%+v", res)
	}
	for name, tc := range map[string]struct {
		vector string
		want   attest.Expect
		check  attest.Check
		id     bool
	}{
		"debug":           {"nitro-01a-fastcrypto", attest.Expect{At: time.UnixMilli(1731627989450), Unbound: true}, attest.CheckDebug, true},
		"debug, now":      {"nitro-01a-fastcrypto", attest.Expect{At: now, Unbound: true}, attest.CheckChainExpired, false},
		"now":             {"nitro-01b-fastcrypto", attest.Expect{At: now, Unbound: true}, attest.CheckChainExpired, false},
		"after the leaf":  {"nitro-01b-fastcrypto", attest.Expect{At: made.Add(4 * time.Hour), Unbound: true}, attest.CheckChainExpired, false},
		"before the leaf": {"nitro-01b-fastcrypto", attest.Expect{At: made.Add(-time.Minute), Unbound: true}, attest.CheckChainExpired, false},
		"no nonce in it":  {"nitro-01b-fastcrypto", attest.Expect{At: made, SignedData: []byte{0}}, attest.CheckReportData, false},
		"no runtime data": {"nitro-01b-fastcrypto", attest.Expect{At: made}, attest.CheckRuntimeData, false},
	} {
		_, err := v.Verify(t.Context(), real(t, tc.vector), tc.want)
		t.Run(name, func(t *testing.T) { wantCheck(t, err, tc.check, tc.id) })
	}
}
