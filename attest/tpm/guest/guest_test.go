package guest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/internal/swtpm"
)

// start gives a fresh software TPM, opened.
func start(t *testing.T) (*swtpm.TPM, *TPM) {
	t.Helper()
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	s, err := swtpm.Start(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g, err := Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := transient(t, g); n != 0 {
			t.Errorf("%d objects left in the TPM", n)
		}
		if err := errors.Join(g.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, g
}

func transient(t *testing.T, g *TPM) int {
	t.Helper()
	n := 0
	for _, first := range []uint32{0x80000000, 0x02000000, 0x03000000} { // objects, loaded sessions, saved sessions
		r, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 16}.Execute(g)
		if err != nil {
			t.Fatal(err)
		}
		h, err := r.CapabilityData.Data.Handles()
		if err != nil {
			t.Fatal(err)
		}
		n += len(h.Handle)
	}
	return n
}

// attestation checks a signed TPMS_ATTEST in the simplest way and gives its content.
func attestation(t *testing.T, ak, raw, sig, qualifying []byte) *tpm2.TPMSAttest {
	t.Helper()
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](ak)
	if err != nil {
		t.Fatal(err)
	}
	key, err := tpm2.Pub(*pub)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tpm2.Unmarshal[tpm2.TPMTSignature](sig)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := s.Signature.ECDSA()
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(raw)
	if !ecdsa.Verify(key.(*ecdsa.PublicKey), h[:], new(big.Int).SetBytes(ec.SignatureR.Buffer), new(big.Int).SetBytes(ec.SignatureS.Buffer)) {
		t.Fatal("signature by the AK does not verify")
	}
	a, err := tpm2.Unmarshal[tpm2.TPMSAttest](raw)
	if err != nil {
		t.Fatal(err)
	}
	if a.Magic != tpm2.TPMGeneratedValue || !bytes.Equal(a.ExtraData.Buffer, qualifying) {
		t.Fatalf("magic %#x, extraData %x, want the hash of the runtime data", a.Magic, a.ExtraData.Buffer)
	}
	return a
}

func body(t *testing.T, b []byte) *format.Evidence {
	t.Helper()
	var e format.Evidence
	if err := strict.Unmarshal(b, 4<<20, &e); err != nil {
		t.Fatal(err)
	}
	return &e
}

func TestEvidence(t *testing.T) {
	s, g := start(t)
	if err := s.Boot(testdata.Ubuntu2404AmdSevSnpEventLog); err != nil {
		t.Fatal(err)
	}
	g.EventLog = filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(g.EventLog, testdata.Ubuntu2404AmdSevSnpEventLog, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []Kind{Hybrid, P256, RSA} {
		for _, bank := range []string{"sha256", "sha384"} {
			if kind == RSA && bank != "sha256" {
				continue // making an RSA key is most of the time of this test
			}
			t.Run(string(kind)+"/"+bank, func(t *testing.T) {
				sel := DefaultSelection()
				sel.Bank = bank
				r, err := g.NewRecipient(t.Context(), kind, sel)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				runtimeData := []byte(`{"keys":[` + string(r.JWK) + `]}`)
				ev, err := g.Evidence(t.Context(), runtimeData, sel, r)
				if err != nil {
					t.Fatal(err)
				}
				checkEvidence(t, body(t, ev.Body), runtimeData, sel)
			})
		}
	}
}

func checkEvidence(t *testing.T, e *format.Evidence, runtimeData []byte, sel Selection) {
	t.Helper()
	if !bytes.Equal(e.EventLog, testdata.Ubuntu2404AmdSevSnpEventLog) {
		t.Error("event log is not the file's")
	}
	hash := sha256.Sum256(runtimeData)
	q, err := attestation(t, e.AK, e.Quote, e.Signature, hash[:]).Attested.Quote()
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, p := range sel.PCRs {
		v := e.PCRs[sel.Bank][strconv.Itoa(p)]
		if len(v) == 0 {
			t.Fatalf("no value of PCR %d", p)
		}
		h.Write(v)
	}
	if len(e.PCRs) != 1 || len(e.PCRs[sel.Bank]) != len(sel.PCRs) || !bytes.Equal(q.PCRDigest.Buffer, h.Sum(nil)) {
		t.Error("PCR values are not those of the quote")
	}
	c, err := attestation(t, e.AK, e.Recipient.Certify, e.Recipient.Signature, hash[:]).Attested.Certify()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](e.Recipient.Public)
	if err != nil {
		t.Fatal(err)
	}
	name, err := tpm2.ObjectName(pub)
	if err != nil || !bytes.Equal(name.Buffer, c.Name.Buffer) {
		t.Error("certified name is not that of the public area")
	}
	want := tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, NoDA: true, Decrypt: true}
	if pub.ObjectAttributes != want {
		t.Errorf("attributes %+v", pub.ObjectAttributes)
	}
	policy := sha256.New() // TPM 2.0 Part 3, TPM2_PolicyPCR
	policy.Write(make([]byte, 32))
	policy.Write([]byte{0, 0, 0x01, 0x7f}) // TPM_CC_PolicyPCR
	policy.Write(tpm2.Marshal(q.PCRSelect))
	policy.Write(q.PCRDigest.Buffer)
	if !bytes.Equal(pub.AuthPolicy.Buffer, policy.Sum(nil)) {
		t.Error("authPolicy is not PolicyPCR over the quoted PCRs")
	}
}

// The number of TPM commands is the time a release takes on a hardware TPM.
func TestCommandCount(t *testing.T) {
	_, g := start(t)
	before := g.sent
	r, err := g.NewRecipient(t.Context(), Hybrid, DefaultSelection())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Evidence(t.Context(), []byte("{}"), DefaultSelection(), r); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	// 2 PCR_Read, CreatePrimary (recipient); CreatePrimary (AK), Quote, Certify,
	// FlushContext; StartAuthSession, PolicyPCR, ECDH_ZGen; FlushContext.
	if n := g.sent - before; n != 11 {
		t.Errorf("%d TPM commands for one release, want 11", n)
	}
}

func TestSelection(t *testing.T) {
	_, g := start(t)
	for name, sel := range map[string]Selection{
		"sha1 bank":  {"sha1", []int{0}},
		"no bank":    {"", []int{0}},
		"unknown":    {"sha512", []int{0}},
		"no PCR":     {"sha256", nil},
		"PCR 24":     {"sha256", []int{24}},
		"negative":   {"sha256", []int{-1}},
		"twice":      {"sha256", []int{1, 1}},
		"descending": {"sha256", []int{2, 1}},
	} {
		if _, err := g.NewRecipient(t.Context(), P256, sel); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := g.Evidence(t.Context(), nil, sel, nil); err == nil {
			t.Errorf("%s: accepted without a recipient", name)
		}
	}
	all := Selection{Bank: "sha256"}
	for i := range 24 {
		all.PCRs = append(all.PCRs, i)
	}
	ev, err := g.Evidence(t.Context(), []byte("x"), all, nil)
	if err != nil || len(body(t, ev.Body).PCRs["sha256"]) != 24 {
		t.Errorf("24 PCRs: %v", err)
	}
	if ev.Type != "tpm" || body(t, ev.Body).Recipient != nil {
		t.Error("evidence without a recipient names one")
	}
	if _, err := g.NewRecipient(t.Context(), "ed25519", all); err == nil {
		t.Error("unknown kind accepted")
	}
}

func TestSameAKAfterReboot(t *testing.T) {
	s, g := start(t)
	ak := func() []byte {
		ev, err := g.Evidence(t.Context(), nil, DefaultSelection(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return body(t, ev.Body).AK
	}
	first := ak()
	if err := s.Reset(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, ak()) {
		t.Error("the AK changed with a reboot")
	}
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](first)
	if err != nil {
		t.Fatal(err)
	}
	a := pub.ObjectAttributes
	if !a.Restricted || !a.SignEncrypt || a.Decrypt || !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin || !a.NoDA {
		t.Errorf("AK attributes %+v", a)
	}
}

// AG-22: a TPM without room is a clean error, and what was begun is undone.
func TestNoRoom(t *testing.T) {
	_, g := start(t)
	var held []*Recipient
	for range 4 {
		r, err := g.NewRecipient(t.Context(), P256, DefaultSelection())
		if err != nil {
			if !errors.Is(err, tpm2.TPMRCObjectMemory) {
				t.Errorf("%v, want TPM_RC_OBJECT_MEMORY", err)
			}
			break
		}
		held = append(held, r)
	}
	if len(held) != 3 {
		t.Fatalf("room for %d keys", len(held))
	}
	if _, err := g.Evidence(t.Context(), nil, DefaultSelection(), held[0]); !errors.Is(err, tpm2.TPMRCObjectMemory) {
		t.Errorf("evidence without room for the AK: %v", err)
	}
	if n := transient(t, g); n != 3 {
		t.Errorf("%d objects, want the 3 recipients", n)
	}
	for _, r := range held {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := g.Evidence(t.Context(), nil, DefaultSelection(), held[0]); !errors.Is(err, ErrRecipientSpent) {
		t.Errorf("evidence with a closed recipient: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/nonexistent/tpm", file, t.TempDir()} {
		if _, err := Open(path); !errors.Is(err, ErrNoTPM) {
			t.Errorf("%s: %v, want ErrNoTPM", path, err)
		}
	}
}

func TestEventLogFile(t *testing.T) {
	g := &TPM{EventLog: filepath.Join(t.TempDir(), "absent")}
	if _, err := g.eventLog(); err == nil {
		t.Error("a named log that is not there is no error")
	}
	g.EventLog = filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(g.EventLog, make([]byte, MaxEventLog+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.eventLog(); err == nil {
		t.Error("a log above the bound was read")
	}
}

func TestJWK(t *testing.T) {
	_, g := start(t)
	want := map[Kind]int{Hybrid: 80, P256: 16, RSA: 0}
	seen := map[string]bool{}
	for kind, kem := range want {
		for range map[Kind]int{Hybrid: 2, P256: 2, RSA: 1}[kind] {
			r, err := g.NewRecipient(t.Context(), kind, DefaultSelection())
			if err != nil {
				t.Fatal(err)
			}
			var j struct {
				Kty, Kid, N string
				Kem         int
			}
			if err := json.Unmarshal(r.JWK, &j); err != nil || j.Kem != kem || (j.Kty == "RSA") != (kind == RSA) {
				t.Errorf("%s: %s, %v", kind, r.JWK, err)
			}
			if seen[j.Kid] {
				t.Errorf("%s: key made twice", kind)
			}
			seen[j.Kid] = true
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
