package azurecvm_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

func TestVerify(t *testing.T) {
	for name, kind := range map[string]uint32{"snp": format.HCLSNP, "tdx": format.HCLTDX} {
		t.Run(name, func(t *testing.T) {
			m := newVM(t, 0, kind)
			m.client = &format.Client{OSDistro: "Ubuntu", Payload: map[string]string{"k": "v"}}
			res, err := verifier(t, both()).Verify(t.Context(), m.evidence(t, m.body(t)), attest.Expect{At: now})
			if err != nil {
				t.Fatal(err)
			}
			want := attest.Facts{
				Chain: true, Signature: true, Bound: true, Recipient: true, Resident: true,
				Revocation: attest.Checked, Freshness: attest.Checked, ResetCount: 7,
			}
			if res.Type != attest.TypeAzureCVM || res.Authority != name || res.Facts != want || res.Identity.Kind != "azure-cvm" || res.Recipient == nil {
				t.Errorf("result %+v", res)
			}
			tee := res.Claims["x-ms-isolation-tee"].(map[string]any)
			for at, c := range map[string][2]any{
				"type":         {res.Claims["x-ms-attestation-type"], "azurevm"},
				"tee type":     {tee["x-ms-attestation-type"], name},
				"flat":         {tee["flat"], "y"},
				"native":       {res.Claims[name], map[string]any{"detail": "x"}},
				"native twice": {tee[name], nil},
				"vmid":         {res.Claims["x-ms-azurevm-vmid"], "26F8BC30-774E-4290-8E7A-535F3B672AEE"},
				"azure": {res.Claims["azure"], map[string]any{
					"hcl_version": int64(1), "vmid": "26F8BC30-774E-4290-8E7A-535F3B672AEE", "secure_boot": true, "user_data": "ab00",
				}},
				"unverified": {res.Claims["unverified"], map[string]any{"os_distro": "Ubuntu", "payload": map[string]any{"k": "v"}}},
				"config": {tee["x-ms-runtime"].(map[string]any)["vm-configuration"], map[string]any{
					"secure-boot": true, "vmUniqueId": "26f8bc30-774e-4290-8e7a-535f3b672aee",
				}},
				"pcrs": {len(res.Claims["x-ms-azurevm-attested-pcrs"].([]any)), 24},
			} {
				if !reflect.DeepEqual(c[0], c[1]) {
					t.Errorf("%s: %v, want %v", at, c[0], c[1])
				}
			}
		})
	}
}

// The client's values stand nowhere but under unverified, whatever they are.
func TestClientValuesAreApart(t *testing.T) {
	m := newVM(t, 0, format.HCLSNP)
	claims := func(c *format.Client) attest.Claims {
		m.client = c
		res, err := verifier(t, both()).Verify(t.Context(), m.evidence(t, m.body(t)), attest.Expect{At: now})
		if err != nil {
			t.Fatal(err)
		}
		return res.Claims
	}
	without := claims(nil)
	with := claims(&format.Client{OSType: "secureboot", OSDistro: "a", OSVersion: "b", OSBuild: "c", Payload: map[string]string{"secureboot": "true", "azure": "x"}})
	if _, ok := without["unverified"]; ok || with["unverified"] == nil {
		t.Fatal("unverified without client values, or none with them")
	}
	delete(with, "unverified")
	if !reflect.DeepEqual(with, without) {
		t.Errorf("client values changed claims: %v, without %v", with, without)
	}
}

// TestRefused changes sound evidence in one place each.
// It is KB-10, KB-11 and EV-25.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		kind   uint32
		change func(*testing.T, *vm)
		body   func(*testing.T, *vm, *format.Evidence)
		want   attest.Check
	}{
		"runtime JSON changed after the report": {format.HCLSNP, func(_ *testing.T, m *vm) {
			m.hcl.Runtime = []byte(strings.Replace(m.json, `"secure-boot":true`, `"secure-boot":false`, 1))
		}, nil, attest.CheckReportData},
		"AK of another machine in the JSON": {format.HCLSNP, func(t *testing.T, m *vm) {
			m.hcl.Runtime = []byte(newVM(t, 1, format.HCLSNP).json)
		}, nil, attest.CheckReportData},
		"something behind the hash in the report data": {format.HCLSNP, func(_ *testing.T, m *vm) { m.hcl.Report[0x70] = 1 }, nil, attest.CheckReportData},
		"hash type 2 for a SHA-256":                    {format.HCLSNP, func(_ *testing.T, m *vm) { m.hcl.Hash = format.HCLSHA384 }, nil, attest.CheckReportData},
		"report of VMPL 1":                             {format.HCLSNP, func(_ *testing.T, m *vm) { m.hcl.Report[0x30] = 1 }, nil, attest.CheckVMPL},
		"report of VMPL 256":                           {format.HCLSNP, func(_ *testing.T, m *vm) { m.hcl.Report[0x31] = 1 }, nil, attest.CheckVMPL},
		"quote of another machine": {format.HCLSNP, nil, func(t *testing.T, _ *vm, b *format.Evidence) {
			b.TPM = newVM(t, 1, format.HCLSNP).body(t).TPM
		}, attest.CheckSignature},
		"report of another machine": {format.HCLSNP, nil, func(t *testing.T, _ *vm, b *format.Evidence) {
			b.HCL = newVM(t, 1, format.HCLSNP).body(t).HCL
		}, attest.CheckSignature},
		"AK sent is another": {format.HCLSNP, nil, func(t *testing.T, _ *vm, b *format.Evidence) {
			b.TPM.AK = newVM(t, 1, format.HCLSNP).AKPublic()
		}, attest.CheckNotLinked},
		"AK sent is not restricted": {format.HCLSNP, nil, func(_ *testing.T, m *vm, b *format.Evidence) {
			m.AK.ObjectAttributes.Restricted = false
			b.TPM.AK = m.AKPublic()
		}, attest.CheckAKNotTrusted},
		"certify by another machine": {format.HCLSNP, nil, func(t *testing.T, _ *vm, b *format.Evidence) {
			b.TPM.Recipient = newVM(t, 1, format.HCLSNP).body(t).TPM.Recipient
		}, attest.CheckRecipientUnbound},
		"one PCR changed": {format.HCLSNP, nil, func(_ *testing.T, _ *vm, b *format.Evidence) {
			b.TPM.PCRs["sha256"]["7"] = bytes.Repeat([]byte{1}, 32)
		}, attest.CheckPCRDigest},
		"one PCR left out": {format.HCLSNP, nil, func(_ *testing.T, _ *vm, b *format.Evidence) {
			delete(b.TPM.PCRs["sha256"], "7")
		}, attest.CheckPCRSelection},
		"TD quote beside an SNP report": {format.HCLSNP, nil, func(_ *testing.T, _ *vm, b *format.Evidence) { b.TDQuote = []byte{1} }, attest.CheckNotLinked},
		"TDREPORT without a quote":      {format.HCLTDX, func(_ *testing.T, m *vm) { m.quote = nil }, nil, attest.CheckNotLinked},
		"SNP report under the type TDX": {format.HCLSNP, func(_ *testing.T, m *vm) {
			m.hcl.Kind = format.HCLTDX
			m.hcl.Report[0] = 3
		}, nil, attest.CheckMalformed},
		"TDREPORT under the type SNP": {format.HCLTDX, func(_ *testing.T, m *vm) { m.hcl.Kind, m.quote = format.HCLSNP, nil }, nil, attest.CheckVMPL},
		"TD quote of another machine": {format.HCLTDX, func(t *testing.T, m *vm) {
			m.quote = tdQuote(4, newVM(t, 0, format.HCLTDX).hcl.Report) // same JSON, so same report data
		}, nil, attest.CheckNotLinked},
		"TD quote of other report data": {format.HCLTDX, func(_ *testing.T, m *vm) {
			other := bytes.Clone(m.hcl.Report)
			other[128] ^= 1
			m.quote = tdQuote(4, other)
		}, nil, attest.CheckNotLinked},
		"TD quote cut":      {format.HCLTDX, func(_ *testing.T, m *vm) { m.quote = m.quote[:600] }, nil, attest.CheckMalformed},
		"TD quote too long": {format.HCLTDX, func(_ *testing.T, m *vm) { m.quote = make([]byte, 17<<10) }, nil, attest.CheckMalformed},
		"client too long": {format.HCLSNP, func(_ *testing.T, m *vm) {
			m.client = &format.Client{Payload: map[string]string{"k": strings.Repeat("x", 17<<10)}}
		}, nil, attest.CheckMalformed},
		"calls itself something else":      {format.HCLSNP, nil, func(_ *testing.T, _ *vm, b *format.Evidence) { b.Type = "tpm" }, attest.CheckTypeNotAllowed},
		"TPM part calls itself otherwise":  {format.HCLSNP, nil, func(_ *testing.T, _ *vm, b *format.Evidence) { b.TPM.Type = "gce" }, attest.CheckTypeNotAllowed},
		"runtime JSON with two HCLAkPub":   {format.HCLSNP, keyTwice, nil, attest.CheckMalformed},
		"runtime JSON with a member twice": {format.HCLSNP, memberTwice, nil, attest.CheckMalformed},
		"AK for encrypt":                   {format.HCLSNP, func(_ *testing.T, m *vm) { m.rewrite(`["sign"]`, `["encrypt"]`) }, nil, attest.CheckAKNotTrusted},
		"AK for sign and encrypt":          {format.HCLSNP, func(_ *testing.T, m *vm) { m.rewrite(`["sign"]`, `["sign","encrypt"]`) }, nil, attest.CheckAKNotTrusted},
		"no AK":                            {format.HCLSNP, func(_ *testing.T, m *vm) { m.rewrite(`HCLAkPub`, `HCLEkPub`) }, nil, attest.CheckAKNotTrusted},
		"AK with e = 3":                    {format.HCLSNP, func(_ *testing.T, m *vm) { m.rewrite(`AQAB`, `Aw`) }, nil, attest.CheckAKNotTrusted},
		"AK of type oct":                   {format.HCLSNP, func(_ *testing.T, m *vm) { m.rewrite(`"RSA"`, `"oct"`) }, nil, attest.CheckAKNotTrusted},
	} {
		t.Run(name, func(t *testing.T) {
			m := newVM(t, 0, c.kind)
			if c.change != nil {
				c.change(t, m)
			}
			b := m.body(t)
			if c.body != nil {
				c.body(t, m, b)
			}
			_, err := verifier(t, both()).Verify(t.Context(), m.evidence(t, b), attest.Expect{At: now})
			wantCheck(t, err, c.want)
		})
	}
}

// rewrite changes the JSON before the processor signs.
func (v *vm) rewrite(from, to string) {
	v.json = strings.Replace(v.json, from, to, 1)
	v.report()
}

func keyTwice(_ *testing.T, m *vm) {
	key, _, _ := strings.Cut(strings.TrimPrefix(m.json, `{"keys":[`), `]`)
	m.rewrite(`],"vm-`, `,`+key+`]}],"vm-`)
}

func memberTwice(_ *testing.T, m *vm) {
	m.rewrite(`"secure-boot":true`, `"secure-boot":true,"secure-boot":false`)
}

// A short AK is refused although its quote verifies.
func TestShortAK(t *testing.T) {
	m := newVM(t, 0, format.HCLSNP)
	i := strings.Index(m.json, `"n":"`) + 5
	m.json = m.json[:i] + m.json[i+172:]
	m.report()
	_, err := verifier(t, both()).Verify(t.Context(), m.evidence(t, m.body(t)), attest.Expect{At: now})
	wantCheck(t, err, attest.CheckAKNotTrusted)
}

// Any hash of the three makes sound evidence when the report data is that hash.
func TestHashTypes(t *testing.T) {
	m := newVM(t, 0, format.HCLSNP)
	h384, h512 := sha512.Sum384([]byte(m.json)), sha512.Sum512([]byte(m.json))
	for typ, d := range map[uint32][]byte{format.HCLSHA384: h384[:], format.HCLSHA512: h512[:]} {
		m.hcl.Hash = typ
		clear(m.hcl.Report[0x50:0x90])
		copy(m.hcl.Report[0x50:], d)
		if _, err := verifier(t, both()).Verify(t.Context(), m.evidence(t, m.body(t)), attest.Expect{At: now}); err != nil {
			t.Errorf("hash type %d: %v", typ, err)
		}
	}
}

// A quote of version 5 has the same body further back.
func TestQuoteVersion5(t *testing.T) {
	m := newVM(t, 0, format.HCLTDX)
	m.quote = tdQuote(5, m.hcl.Report)
	if _, err := verifier(t, both()).Verify(t.Context(), m.evidence(t, m.body(t)), attest.Expect{At: now}); err != nil {
		t.Error(err)
	}
}

// The AK sent beside the report may be the same key.
func TestAKSent(t *testing.T) {
	m := newVM(t, 0, format.HCLSNP)
	b := m.body(t)
	b.TPM.AK = m.AKPublic()
	if _, err := verifier(t, both()).Verify(t.Context(), m.evidence(t, b), attest.Expect{At: now}); err != nil {
		t.Error(err)
	}
}

// What either part denies is denied.
func TestFacts(t *testing.T) {
	m := newVM(t, 0, format.HCLSNP)
	for name, c := range map[string]struct {
		hardware attest.Facts
		want     attest.Facts
	}{
		"nothing proven": {attest.Facts{}, attest.Facts{}},
		"migratable":     {attest.Facts{Chain: true, Signature: true, Migratable: true}, attest.Facts{Chain: true, Signature: true, Migratable: true}},
		"collateral": {
			attest.Facts{Chain: true, Revocation: attest.NotChecked, TCBStatus: "OutOfDate", CollateralAge: time.Hour},
			attest.Facts{Chain: true, Revocation: attest.NotChecked, TCBStatus: "OutOfDate", CollateralAge: time.Hour},
		},
	} {
		p := sound("snp")
		p.res.Facts = c.hardware
		res, err := verifier(t, azurecvm.Config{SNP: p}).Verify(t.Context(), m.evidence(t, m.body(t)), attest.Expect{At: now})
		if err != nil {
			t.Fatal(err)
		}
		c.want.Bound, c.want.Recipient, c.want.Resident, c.want.Freshness = true, true, true, attest.Checked
		c.want.ResetCount = 7
		if res.Facts != c.want {
			t.Errorf("%s: %+v, want %+v", name, res.Facts, c.want)
		}
	}
}

func TestConfiguration(t *testing.T) {
	m := newVM(t, 0, format.HCLSNP)
	ev := m.evidence(t, m.body(t))
	debug, simulated, refusing := sound("snp"), sound("snp"), sound("snp")
	refusing.rej = attest.Reject(attest.CheckPlatformDenied, "chip denied")
	refusing.rej.Identity = &attest.Identity{Kind: "snp", ID: "whose report anyone may replay"}
	debug.res.Facts.Debug = true
	simulated.res.Type = attest.TypeSNP.Simulated()
	for name, c := range map[string]struct {
		cfg  azurecvm.Config
		want attest.Check
	}{
		"no SNP here":         {azurecvm.Config{TDX: sound("tdx")}, attest.CheckTypeNotAllowed},
		"debug":               {azurecvm.Config{SNP: debug}, attest.CheckDebug},
		"denied chip":         {azurecvm.Config{SNP: refusing}, attest.CheckPlatformDenied},
		"simulated processor": {azurecvm.Config{SNP: simulated}, attest.CheckInternal},
	} {
		_, err := verifier(t, c.cfg).Verify(t.Context(), ev, attest.Expect{At: now})
		if r := wantCheck(t, err, c.want); r.Identity != nil {
			t.Errorf("%s: an identity before the AK signed anything", name)
		}
	}
	for name, cfg := range map[string]azurecvm.Config{"nothing": {}, "another type": {Type: "snp", SNP: sound("snp")}} {
		if _, err := azurecvm.New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if got := verifier(t, both()).Anchors(); len(got) != 3 || string(got[0])+string(got[1]) != "snptdx" {
		t.Errorf("%d anchors, want those of SNP and TDX and Microsoft's root", len(got))
	}
}

// A machine that has proven itself is named in its refusal; one that has not is not.
func TestIdentityOfRefusals(t *testing.T) {
	m := newVM(t, 0, format.HCLSNP)
	res, err := verifier(t, both()).Verify(t.Context(), m.evidence(t, m.body(t)), attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{res.Identity.ID, "26F8BC30-774E-4290-8E7A-535F3B672AEE"} {
		cfg := both()
		cfg.Denied = func(s string) bool { return s == id }
		_, err := verifier(t, cfg).Verify(t.Context(), m.evidence(t, m.body(t)), attest.Expect{At: now})
		if r := wantCheck(t, err, attest.CheckPlatformDenied); r.Identity == nil || *r.Identity != res.Identity {
			t.Errorf("denied as %s: identity %v", id, r.Identity)
		}
	}
	b := m.body(t)
	b.TPM.PCRs["sha256"]["7"] = bytes.Repeat([]byte{1}, 32)
	_, err = verifier(t, both()).Verify(t.Context(), m.evidence(t, b), attest.Expect{At: now})
	if r := wantCheck(t, err, attest.CheckPCRDigest); r.Identity == nil || *r.Identity != res.Identity {
		t.Errorf("PCR changed: identity %v", r.Identity)
	}
	ev := m.evidence(t, m.body(t))
	ev.RuntimeData = tpmtest.RuntimeData(`{"kty":"HPKE","kem":16,"kid":"r","pub":"AA"}`, nonce)
	_, err = verifier(t, both()).Verify(t.Context(), ev, attest.Expect{At: now})
	if r := wantCheck(t, err, attest.CheckReportData); r.Identity != nil {
		t.Errorf("quote for another request: identity %v", r.Identity)
	}
}

// A TPMS_ATTEST that is no quote proves nothing, even signed by the AK.
func TestCertifyIsNoQuote(t *testing.T) {
	m := newVM(t, 0, format.HCLSNP)
	b := m.body(t)
	d := sha256.Sum256(m.RuntimeData(nonce))
	statement, sig, err := m.Sign(m.Certify(d[:], tpm2.Marshal(m.AK)))
	if err != nil {
		t.Fatal(err)
	}
	b.TPM.Quote, b.TPM.Signature = statement, sig
	_, err = verifier(t, both()).Verify(t.Context(), m.evidence(t, b), attest.Expect{At: now})
	wantCheck(t, err, attest.CheckMalformed)
	if binary.BigEndian.Uint16(statement[4:]) != 0x8017 {
		t.Error("not a TPM2_Certify")
	}
}
