package attestation_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/all"
	azure "github.com/openskr/openskr/attest/azurecvm/format"
	azuresim "github.com/openskr/openskr/attest/azurecvm/simulated"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
	"github.com/openskr/openskr/internal/api/attestation"
	"github.com/openskr/openskr/release"
)

// guestMachine is a vTPM without a TPM on simulated hardware, and the key that the
// client makes in it for the answer.
type guestMachine struct {
	*tpmtest.Machine
	key  *rsa.PrivateKey
	doc  map[string]any
	seed [32]byte
	kind uint32
}

var guestKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var out [2]*rsa.PrivateKey
	for i := range out {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		out[i] = key
	}
	return out
})

func newGuest(t testing.TB, s *service, kind uint32) *guestMachine {
	t.Helper()
	m, err := tpmtest.New(now())
	if err != nil {
		t.Fatal(err)
	}
	keys := guestKeys()
	m.AKKey, m.AK = keys[0], tpmtest.AKTemplate(&keys[0].PublicKey)
	m.PCRs = map[int][]byte{}
	for i := range 8 {
		m.PCRs[i] = make([]byte, 32)
	}
	m.Recipient = tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, NoDA: true, Decrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull}, Scheme: tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgNull}, KeyBits: 2048,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: keys[1].N.Bytes()}),
	}
	g := &guestMachine{Machine: m, key: keys[1], seed: s.seed, kind: kind}
	g.make(t, nil)
	return g
}

func std(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// statement signs one as the client sends it: statement and bare signature.
func (g *guestMachine) statement(t testing.TB, a tpm2.TPMSAttest) (string, string) {
	t.Helper()
	b, sig, err := g.Sign(a)
	if err != nil {
		t.Fatal(err)
	}
	return std(b), std(sig[6:])
}

// make fills the document as the client does; data is what its statements are over.
func (g *guestMachine) make(t testing.TB, data []byte) {
	t.Helper()
	public, err := g.RecipientPublic()
	if err != nil {
		t.Fatal(err)
	}
	quote, quoteSig := g.statement(t, g.Quote(data))
	certify, certifySig := g.statement(t, g.Certify(data, public))
	var set []int
	var pcrs []map[string]any
	for i := range 8 {
		set = append(set, i)
		pcrs = append(pcrs, map[string]any{"Index": i, "Digest": std(g.PCRs[i])})
	}
	g.doc = map[string]any{
		"AttestationProtocolVersion": "2.0", "OSType": std([]byte("Linux")), "OSDistro": std([]byte("Ubuntu")), "OSBuild": std([]byte("NotApplication")),
		"OSVersionMajor": 24, "OSVersionMinor": 4, "TcgLogs": "", "ClientPayload": map[string]string{"nonce": std([]byte("n"))},
		"TpmInfo": map[string]any{
			"AikCert": "", "AikPub": "", "PcrQuote": quote, "PcrSignature": quoteSig, "PcrSet": set, "PCRs": pcrs,
			"EncKeyPub": std(append([]byte{byte(len(public) >> 8), byte(len(public))}, public...)), "EncKeyCertifyInfo": certify, "EncKeyCertifyInfoSignature": certifySig,
		},
		"IsolationInfo": g.isolation(t),
	}
}

func (g *guestMachine) isolation(t testing.TB) map[string]any {
	t.Helper()
	p, err := azuresim.New(g.seed)
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Report(&g.AKKey.(*rsa.PrivateKey).PublicKey, azuresim.Options{Kind: g.kind})
	if err != nil {
		t.Fatal(err)
	}
	hcl, err := azure.ParseHCL(m.HCL)
	if err != nil {
		t.Fatal(err)
	}
	typ, proof := "Tdx", std(m.TDQuote)
	if g.kind == azure.HCLSNP {
		chain := m.Endorsements()[0].Data
		doc, _ := json.Marshal(map[string]string{"SnpReport": b64u(hcl.Report), "VcekCertChain": std(chain)})
		typ, proof = "SevSnp", std(doc)
	}
	return map[string]any{"Type": typ, "Evidence": map[string]any{"Proof": proof, "RunTimeData": std(hcl.Runtime)}}
}

func (s *service) attestGuest(doc map[string]any) (string, error) {
	s.t.Helper()
	b, err := json.Marshal(doc)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.attest("AzureGuest", map[string]any{"AttestationInfo": b64u(b)})
}

// open does what the client does with the answer.
func (g *guestMachine) open(t testing.TB, answer string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(answer)
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		EncryptedInnerKey, AuthenticationData, Jwt []byte
		EncryptionParams                           struct {
			BlockMode, BlockPadding, Cipher string
			KeySizeInBits                   int
			Iv                              []byte
		}
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	if p := s.EncryptionParams; fmt.Sprint(p.BlockMode, p.BlockPadding, p.Cipher, p.KeySizeInBits, len(p.Iv), len(s.AuthenticationData)) != "ChainingModeGCMPKCS7AES256 12 16" {
		t.Errorf("%+v", p)
	}
	//lint:ignore SA1019 the client's protocol knows no other padding
	inner, err := rsa.DecryptPKCS1v15(nil, g.key, s.EncryptedInnerKey)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(inner)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := gcm.Open(nil, s.EncryptionParams.Iv, append(s.Jwt, s.AuthenticationData...), []byte("Transport Key"))
	if err != nil {
		t.Fatal(err)
	}
	return string(jwt)
}

func TestAzureGuest(t *testing.T) {
	for kind, typ := range map[uint32]string{azure.HCLSNP: "sevsnpvm", azure.HCLTDX: "tdxvm"} {
		s := newService(t, true)
		g := newGuest(t, s, kind)
		answer, err := s.attestGuest(g.doc)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		jwt := g.open(t, answer)
		if err := s.verified(jwt, ""); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		c := claims(t, jwt)
		if c["x-ms-attestation-type"] != "azurevm" || c["x-ms-azurevm-ostype"] != "Linux" || fmt.Sprint(c["x-ms-azurevm-attested-pcrs"]) != "[0 1 2 3 4 5 6 7]" || c["x-ms-compliance-status"] != nil {
			t.Errorf("%s: %v", typ, c)
		}
		if n := c["x-openskr"].(map[string]any)["reset_count"]; n != json.Number(fmt.Sprint(g.Clock.ResetCount)) {
			t.Errorf("%s: reset count %v", typ, n)
		}
		tee := c["x-ms-isolation-tee"].(map[string]any)
		if tee["x-ms-attestation-type"] != typ || tee["x-ms-compliance-status"] != "openskr-compliant-cvm" {
			t.Errorf("%s: %v", typ, tee)
		}
		runtime := c["x-ms-runtime"].(map[string]any)
		keys := runtime["keys"].([]any)
		if k := keys[0].(map[string]any); len(keys) != 1 || k["kid"] != "TpmEphemeralEncryptionKey" || k["n"] != b64u(g.key.N.Bytes()) || fmt.Sprint(runtime["client-payload"]) != "map[nonce:bg==]" {
			t.Errorf("%s: %v", typ, runtime)
		}
	}
}

// Each tie between the parts is needed.
func TestAzureGuestRefused(t *testing.T) {
	tpmInfo := func(g *guestMachine) map[string]any { return g.doc["TpmInfo"].(map[string]any) }
	for name, c := range map[string]struct {
		change func(t *testing.T, g *guestMachine)
		want   attest.Check
	}{
		"statements over data, of the native protocol": {func(t *testing.T, g *guestMachine) { g.make(t, make([]byte, 32)) }, attest.CheckNotLinked},
		"certified over other data": {func(t *testing.T, g *guestMachine) {
			public, _ := g.RecipientPublic()
			i := tpmInfo(g)
			i["EncKeyCertifyInfo"], i["EncKeyCertifyInfoSignature"] = g.statement(t, g.Certify([]byte{1}, public))
		}, attest.CheckNotLinked},
		"certified in another boot": {func(t *testing.T, g *guestMachine) {
			public, _ := g.RecipientPublic()
			g.Clock.ResetCount++
			i := tpmInfo(g)
			i["EncKeyCertifyInfo"], i["EncKeyCertifyInfoSignature"] = g.statement(t, g.Certify(nil, public))
		}, attest.CheckNotLinked},
		"certified by another key": {func(t *testing.T, g *guestMachine) {
			public, _ := g.RecipientPublic()
			other := *g.Machine
			other.AKKey = guestKeys()[1]
			b, sig, _ := other.Sign(g.Certify(nil, public))
			i := tpmInfo(g)
			i["EncKeyCertifyInfo"], i["EncKeyCertifyInfoSignature"] = std(b), std(sig[6:])
		}, attest.CheckSignature},
		"quoted by another key": {func(t *testing.T, g *guestMachine) {
			g.AKKey = guestKeys()[1]
			i := g.doc["IsolationInfo"]
			g.make(t, nil)
			g.doc["IsolationInfo"] = i
		}, attest.CheckSignature},
		"another key than certified": {func(_ *testing.T, g *guestMachine) {
			g.Recipient.ObjectAttributes.NoDA = false
			public, _ := g.RecipientPublic()
			tpmInfo(g)["EncKeyPub"] = std(append([]byte{byte(len(public) >> 8), byte(len(public))}, public...))
		}, attest.CheckRecipientUnbound},
		"key that may leave":        {func(t *testing.T, g *guestMachine) { g.Recipient.ObjectAttributes.FixedTPM = false; g.make(t, nil) }, attest.CheckRecipientUnbound},
		"key that a password opens": {func(t *testing.T, g *guestMachine) { g.Recipient.ObjectAttributes.UserWithAuth = true; g.make(t, nil) }, attest.CheckRecipientUnbound},
		"key tied to other PCRs": {func(t *testing.T, g *guestMachine) {
			g.PCRs[7][0] = 1
			public, _ := g.RecipientPublic()
			g.PCRs[7][0] = 0
			i := tpmInfo(g)
			i["EncKeyPub"] = std(append([]byte{byte(len(public) >> 8), byte(len(public))}, public...))
			i["EncKeyCertifyInfo"], i["EncKeyCertifyInfoSignature"] = g.statement(t, g.Certify(nil, public))
		}, attest.CheckRecipientUnbound},
		"other PCR values": {func(_ *testing.T, g *guestMachine) {
			tpmInfo(g)["PCRs"].([]map[string]any)[3]["Digest"] = std([]byte(strings.Repeat("x", 32)))
		}, attest.CheckPCRDigest},
		"fewer PCRs":         {func(_ *testing.T, g *guestMachine) { tpmInfo(g)["PcrSet"] = []int{0, 1} }, attest.CheckPCRSelection},
		"no PCRs":            {func(_ *testing.T, g *guestMachine) { tpmInfo(g)["PcrSet"] = []int{} }, attest.CheckPCRSelection},
		"log of other boots": {func(_ *testing.T, g *guestMachine) { g.doc["TcgLogs"] = std([]byte("log")) }, attest.CheckEventLog},
		"report of another machine": {func(t *testing.T, g *guestMachine) {
			other := *g.Machine
			other.AKKey = guestKeys()[1]
			mine := g.doc["IsolationInfo"].(map[string]any)["Evidence"].(map[string]any)
			theirs := (&guestMachine{Machine: &other, seed: g.seed, kind: g.kind}).isolation(t)["Evidence"].(map[string]any)
			mine["Proof"] = theirs["Proof"]
		}, attest.CheckReportData},
		"hardware of another platform": {func(t *testing.T, g *guestMachine) { g.seed[0]++; g.doc["IsolationInfo"] = g.isolation(t) }, attest.CheckChainUntrusted},
	} {
		s := newService(t, true)
		g := newGuest(t, s, azure.HCLSNP)
		c.change(t, g)
		_, err := s.attestGuest(g.doc)
		s.refused(name, err, release.Reason(c.want))
	}
}

// A machine on the deny list gets no token, and its refusal names nobody: what it sent
// may be a copy.
func TestAzureGuestDenied(t *testing.T) {
	s := newService(t, true)
	g := newGuest(t, s, azure.HCLSNP)
	answer, err := s.attestGuest(g.doc)
	if err != nil {
		t.Fatal(err)
	}
	machine := claims(t, g.open(t, answer))["x-openskr"].(map[string]any)["machine"]
	v, err := all.New(all.Config{Seed: &s.seed, Denied: func(id string) bool { return id == machine }})
	if err != nil {
		t.Fatal(err)
	}
	s = newService(t, true, func(c *attestation.Config) { c.Guests = v })
	_, err = s.attestGuest(g.doc)
	s.refused("denied", err, release.Reason(attest.CheckPlatformDenied))
	var rej *attest.Rejection
	if errors.As(err, &rej) && rej.Identity != nil {
		t.Errorf("refused as %v", rej.Identity)
	}
}

func TestAzureGuestBadRequests(t *testing.T) {
	s := newService(t, true)
	for name, c := range map[string]struct {
		change func(g *guestMachine)
		want   release.Reason
	}{
		"no isolation":   {func(g *guestMachine) { g.doc["IsolationInfo"] = map[string]any{"Type": "TrustedLaunch"} }, release.ReasonNotOffered},
		"other protocol": {func(g *guestMachine) { g.doc["AttestationProtocolVersion"] = "1.0" }, release.ReasonBadRequest},
		"other case": {func(g *guestMachine) {
			g.doc["attestationprotocolversion"] = "2.0"
			delete(g.doc, "AttestationProtocolVersion")
		}, release.ReasonBadRequest},
		"TDX without quote": {func(g *guestMachine) { g.doc["IsolationInfo"] = map[string]any{"Type": "Tdx"} }, release.ReasonBadRequest},
		"payload no base64": {func(g *guestMachine) { g.doc["ClientPayload"] = map[string]string{"a": "!"} }, release.ReasonBadRequest},
		"payload too long": {func(g *guestMachine) {
			g.doc["ClientPayload"] = map[string]string{"a": strings.Repeat("A", 12<<10), "b": strings.Repeat("A", 12<<10)}
		}, release.ReasonTooLarge},
		"PCR twice": {func(g *guestMachine) {
			i := g.doc["TpmInfo"].(map[string]any)
			pcrs := i["PCRs"].([]map[string]any)
			i["PCRs"] = append(pcrs, pcrs[0])
		}, release.ReasonDuplicateMember},
		"PCR without value":     {func(g *guestMachine) { g.doc["TpmInfo"].(map[string]any)["PcrSet"] = []int{0, 11} }, release.ReasonBadRequest},
		"no quote":              {func(g *guestMachine) { g.doc["TpmInfo"].(map[string]any)["PcrQuote"] = "" }, release.Reason(attest.CheckMalformed)},
		"key of a wrong length": {func(g *guestMachine) { g.doc["TpmInfo"].(map[string]any)["EncKeyPub"] = "AAEA" }, release.Reason(attest.CheckRecipientUnbound)},
	} {
		g := newGuest(t, s, azure.HCLSNP)
		c.change(g)
		_, err := s.attestGuest(g.doc)
		s.refused(name, err, c.want)
	}
	g := newGuest(t, s, azure.HCLSNP)
	g.doc["Nonce"], g.doc["TpmInfo"].(map[string]any)["AikCerts"] = "1", []string{}
	if _, err := s.attestGuest(g.doc); err != nil {
		t.Errorf("what a newer client sends besides: %v", err)
	}
	for name, body := range map[string]string{"empty": `{}`, "no text": `{"AttestationInfo":{}}`, "no JSON": `{"AttestationInfo":"AAAA"}`} {
		_, err := s.call(http.MethodPost, "/attest/AzureGuest", []byte(body))
		s.refused(name, err, release.ReasonBadRequest)
	}
}
