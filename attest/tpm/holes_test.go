package tpm_test

import (
	"bytes"
	"crypto"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-eventlog/testdata"
	pb "github.com/google/go-tpm-tools/proto/attest"
	tpmpb "github.com/google/go-tpm-tools/proto/tpm"
	"github.com/google/go-tpm-tools/server"
	"github.com/google/go-tpm/tpm2"
	"google.golang.org/protobuf/proto"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

// attested is m's quote over its PCRs beside its log, as go-tpm-tools sends it.
func attested(t *testing.T, m *tpmtest.Machine) *pb.Attestation {
	t.Helper()
	statement, _, err := m.Sign(m.Quote(nonce[:32]))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := m.SignRaw(statement)
	if err != nil {
		t.Fatal(err)
	}
	pcrs := map[uint32][]byte{}
	for i, v := range m.PCRs {
		pcrs[uint32(i)] = v
	}
	return &pb.Attestation{AkPub: m.AKPublic(), EventLog: m.Log, Quotes: []*tpmpb.Quote{{
		Quote: statement, RawSig: sig, Pcrs: &tpmpb.PCRs{Hash: tpmpb.HashAlgo_SHA256, Pcrs: pcrs},
	}}}
}

// TestLibraryHoles has what server.VerifyAttestation of go-tpm-tools v0.4.10 accepts,
// beside our answer. When the library's answer changes, so may its comment.
func TestLibraryHoles(t *testing.T) {
	ours, err := tpm.New(tpm.Config{AllowUncertifiedAK: true})
	if err != nil {
		t.Fatal(err)
	}
	nothing := []string{"secureboot", "boot"}
	for name, c := range map[string]struct {
		change      func(m *tpmtest.Machine) // before it quotes; the log is of the whole machine
		check       attest.Check             // that refuses; "" accepts
		absent      []string                 // claims
		unexplained []any                    // PCRs
	}{
		"1: no PCR quoted, beside a log": {
			func(m *tpmtest.Machine) { clear(m.PCRs) }, attest.CheckPCRSelection, nil, nil,
		},
		"1: PCR 16 quoted, beside a log": {func(m *tpmtest.Machine) {
			pcr := m.PCRs[16]
			clear(m.PCRs)
			m.PCRs[16] = pcr
		}, "", nothing, []any{}},
		"2: PCRs that no event explains": {
			func(m *tpmtest.Machine) {
				m.PCRs[10], m.PCRs[12] = bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
			}, "", []string{"boot.cmdline"}, []any{int64(10), int64(12)},
		},
		"3: no log": {func(m *tpmtest.Machine) { m.Log = nil }, "", nothing, []any{}},
		"4: text that its digest does not cover": {func(m *tpmtest.Machine) {
			m.Log = bytes.Replace(m.Log, []byte("kernel_cmdline: /vmlinuz"), []byte("kernel_cmdline: /vm1inuz"), 1)
		}, "", []string{"boot.cmdline"}, []any{}},
	} {
		t.Run(name, func(t *testing.T) {
			m := booted(t, testdata.Ubuntu2404AmdSevSnpEventLog, tpm2.TPMAlgSHA256)
			c.change(m)
			a := attested(t, m)
			opts := server.VerifyOpts{Nonce: nonce[:32], TrustedAKs: []crypto.PublicKey{m.AKKey.Public()}, Loader: server.UnsupportedLoader}
			if _, err := server.VerifyAttestation(a, opts); err != nil {
				t.Error("the library refuses it: say so here:", err)
			}
			raw, err := proto.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			ev, err := tpm.FromAttestation(raw)
			if err != nil {
				t.Fatal(err)
			}
			res, err := ours.Verify(t.Context(), ev, attest.Expect{At: now, SignedData: nonce[:32]})
			if c.check != "" {
				wantCheck(t, err, c.check)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := eventlogClaim(res.Claims, "unexplained"); !reflect.DeepEqual(got, c.unexplained) {
				t.Errorf("unexplained %v, want %v", got, c.unexplained)
			}
			b, _ := res.Claims["boot"].(map[string]any)
			for _, name := range c.absent {
				if v := res.Claims[name]; v != nil || b[strings.TrimPrefix(name, "boot.")] != nil {
					t.Errorf("%s is claimed: %v", name, res.Claims)
				}
			}
		})
	}
}
