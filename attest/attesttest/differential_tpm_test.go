package attesttest_test

import (
	"bytes"
	"crypto"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	pb "github.com/google/go-tpm-tools/proto/attest"
	tpmpb "github.com/google/go-tpm-tools/proto/tpm"
	"github.com/google/go-tpm-tools/server"
	"github.com/google/go-tpm/legacy/tpm2"
	"google.golang.org/protobuf/proto"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

// TestDifferentialTPM asks go-tpm-tools: of a real attestation of a Google instance, any
// part of which changes, and of a machine that signs what was changed.
func TestDifferentialTPM(t *testing.T) {
	ours := must(tpm.New(tpm.Config{AllowUncertifiedAK: true}))
	var sound attest.Claims // of the mutant that is none
	subjectOf := func(what string, a *pb.Attestation, nonce []byte, ak crypto.PublicKey) subject {
		var claims attest.Claims
		return subject{
			what: what,
			ours: func() error {
				ev, err := tpm.FromAttestation(must(proto.Marshal(a)))
				if err != nil {
					return err
				}
				ev.Endorsements = nil // whether the AK is anybody's is not asked here
				res, err := ours.Verify(t.Context(), ev, attest.Expect{At: now, SignedData: nonce})
				if err != nil {
					return err
				}
				if claims = res.Claims; what == "" {
					sound = claims
				}
				// A log that does not lead to the PCRs is no reason to refuse here, as it is
				// there: nothing is claimed of it.
				if !reflect.DeepEqual(logOf(claims), logOf(sound)) {
					return errors.New("the log explains less")
				}
				return nil
			},
			theirs: func() error {
				_, err := server.VerifyAttestation(a, server.VerifyOpts{Nonce: nonce, TrustedAKs: []crypto.PublicKey{ak}})
				return err
			},
			excuse: func() string {
				if what == inLog && within(claims, sound) {
					return "the library refuses a log with an event that its digest does not cover; here nothing is claimed of that event"
				}
				return ""
			},
		}
	}
	dir := must(exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/go-tpm-tools").Output())
	instance := &pb.Attestation{}
	must(0, proto.Unmarshal(must(os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "internal/test/attestations/gce-cos-85-nonce9009.pb"))), instance))
	instance.Quotes = instance.Quotes[1:2] // SHA-256
	googleAK := must(must(tpm2.DecodePublic(instance.AkPub)).Key())
	m := must(tpmtest.New(now))
	nonce := bytes.Repeat([]byte{7}, 32)
	signed := func(change func([]byte) []byte) *pb.Attestation {
		body := must(m.Body(nil))
		statement, _, err := m.Sign(m.Quote(nonce))
		must(0, err)
		statement = change(statement)
		pcrs := map[uint32][]byte{}
		for i, v := range m.PCRs {
			pcrs[uint32(i)] = v
		}
		return &pb.Attestation{AkPub: m.AKPublic(), EventLog: body.EventLog, Quotes: []*tpmpb.Quote{{
			Quote: statement, RawSig: must(m.SignRaw(statement)), Pcrs: &tpmpb.PCRs{Hash: tpmpb.HashAlgo_SHA256, Pcrs: pcrs},
		}}}
	}
	t.Run("Google", func(t *testing.T) {
		differ(t, func() subject { return subjectOf("", instance, []byte{0x90, 0x09}, googleAK) }, func(r *rand.Rand) subject {
			a := proto.CloneOf(instance)
			return subjectOf(changedPart(r, a), a, []byte{0x90, 0x09}, googleAK)
		})
	})
	t.Run("signed", func(t *testing.T) {
		same := signed(func(b []byte) []byte { return b })
		differ(t, func() subject { return subjectOf("", same, nonce, m.AKKey.Public()) }, func(r *rand.Rand) subject {
			a := signed(func(b []byte) []byte { return changed(r, b, true) })
			return subjectOf("a statement, then signed", a, nonce, m.AKKey.Public())
		})
	})
}

func logOf(c attest.Claims) any { return c["tpm"].(map[string]any)["eventlog"] }

// within says whether all that is claimed in a is claimed in b, with the same value.
func within(a, b map[string]any) bool {
	for name, v := range a {
		m, ok := v.(map[string]any)
		n, also := b[name].(map[string]any)
		if ok != also || ok && !within(m, n) || !ok && !reflect.DeepEqual(v, b[name]) {
			return false
		}
	}
	return true
}

// inLog is the part whose data are covered by nothing, but for the digests that they have.
const inLog = "event log"

// changedPart changes one part of an attestation and names it.
func changedPart(r *rand.Rand, a *pb.Attestation) string {
	q := a.Quotes[0]
	switch r.IntN(6) {
	case 0:
		a.AkPub = changed(r, a.AkPub, true)
		return "AK"
	case 1:
		q.Quote = changed(r, q.Quote, true)
		return "quote"
	case 2:
		q.RawSig = changed(r, q.RawSig, true)
		return "signature"
	case 3:
		i := uint32(r.IntN(24))
		q.Pcrs.Pcrs[i] = changed(r, q.Pcrs.Pcrs[i], true)
		return "PCR"
	default:
		a.EventLog = changed(r, a.EventLog, true)
		return inLog
	}
}
