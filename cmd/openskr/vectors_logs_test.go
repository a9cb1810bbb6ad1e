package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"hash"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/eventlog"
	"github.com/openskr/openskr/attest/tdx"
	tdxformat "github.com/openskr/openskr/attest/tdx/format"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
	"github.com/openskr/openskr/internal/strict"
)

// A log is nothing by itself, so a fake machine whose registers hold what the log
// leads to presents it: what its claims say, or why it is refused.
type logCase struct {
	check  attest.Check
	claims map[string]any
}

func logVectors() map[string]func(*testing.T, string) {
	sb := map[string]any{"secureboot": true, "tpm.eventlog.present": true}
	nosb := map[string]any{"secureboot": false, "tpm.eventlog.present": true}
	old := logCase{check: attest.CheckEventLog} // SHA-1 only, or no TPM 2.0 log
	read := map[string]any{"tpm.eventlog.present": true}
	table := map[string]logCase{
		"evlog-01-arch-linux-workstation":                               {claims: read},
		"evlog-02-cos-101-amd-sev":                                      {claims: sb},
		"evlog-04-cos-125-intel-tdx-secure-boot":                        {claims: sb},
		"evlog-05-cos-85-amd-sev":                                       {claims: sb},
		"evlog-06-cos-93-amd-sev":                                       {claims: sb},
		"evlog-08-debian-10":                                            old,
		"evlog-09-gdc-host":                                             {claims: nosb},
		"evlog-10-glinux-alex":                                          {claims: nosb},
		"evlog-11-host-gmes":                                            {claims: read},
		"evlog-12-rhel8-uefi":                                           {claims: sb},
		"evlog-13-ubuntu-1804-amd-sev":                                  {claims: nosb},
		"evlog-15-ubuntu-2104-no-secure-boot":                           {claims: nosb},
		"evlog-16-ubuntu-2404-amd-sevsnp":                               {claims: nosb},
		"evlog-17-ubuntu-2404-intel-tdx":                                {claims: nosb},
		"evlog-legacy-01-coreos_36_shielded_vm_no_secure_boot_eventlog": {claims: nosb},
		"evlog-legacy-02-crypto_agile_eventlog":                         {claims: read},
		"evlog-legacy-03-ebs_event_missing_eventlog":                    old,
		"evlog-legacy-04-linux_tpm12":                                   old,
		"evlog-legacy-05-option_rom_eventlog":                           old,
		"evlog-legacy-07-short_no_action_eventlog":                      old,
		"evlog-legacy-09-windows_gcp_shielded_vm":                       old,
	}
	out := map[string]func(*testing.T, string){}
	for name, c := range table {
		out[name] = func(t *testing.T, dir string) { c.boot(t, onlyFile(t, dir)) }
	}
	for _, name := range []string{"ccel-ccel_unpadded.data", "ccel-cs251200ccel", "ccel-event_log", "ccel-ubuntu-2404-intel-tdx"} {
		out[name] = func(t *testing.T, dir string) { launch(t, onlyFile(t, dir)) }
	}
	return out
}

func onlyFile(t *testing.T, dir string) []byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "provenance.txt" {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatal("no file")
	return nil
}

const hcrtm = 0x80000010 // EV_EFI_HCRTM_EVENT

// extend replays events into registers of one hash, in the simplest way there is.
func extend(events []eventlog.Event, h func() hash.Hash, values map[uint32][]byte) {
	for _, e := range events {
		if e.Type == eventlog.NoAction {
			if len(e.Data) == 17 && string(e.Data[:15]) == "StartupLocality" {
				values[0][len(values[0])-1] = e.Data[16]
			}
			continue
		}
		if first := !bytes.ContainsFunc(values[0], func(r rune) bool { return r != 0 }); first && e.PCR == 0 && e.Type == hcrtm {
			values[0][len(values[0])-1] = 4 // measured before the TPM was started
		}
		sum := h()
		sum.Write(values[e.PCR])
		sum.Write(e.Digest)
		values[e.PCR] = sum.Sum(nil)
	}
}

func (c logCase) boot(t *testing.T, log []byte) {
	at := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	m, err := tpmtest.New(at)
	if err != nil {
		t.Fatal(err)
	}
	m.Log = log
	if events, err := eventlog.Parse(log, 0x000b); err == nil {
		values := map[uint32][]byte{}
		for i, v := range m.PCRs {
			values[uint32(i)] = v
		}
		extend(events, sha256.New, values)
		for i := range m.PCRs {
			m.PCRs[i] = values[uint32(i)]
		}
	}
	rd := m.RuntimeData([]byte("nonce"))
	ev, err := m.Evidence(rd)
	if err != nil {
		t.Fatal(err)
	}
	v, err := tpm.New(tpm.Config{AKRoots: []*x509.Certificate{m.CA}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: at})
	if c.check != "" {
		if r := rejection(err); r == nil || r.Check != c.check {
			t.Errorf("%v, want %s", err, c.check)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "claims", res.Claims, c.claims)
}

// launch has a simulated TD of the log's registers present it.
func launch(t *testing.T, padded []byte) {
	log := tdxformat.TrimCCEL(padded)
	events, err := eventlog.ParseCC(log)
	if err != nil {
		t.Fatal(err)
	}
	values := map[uint32][]byte{}
	for i := range uint32(5) {
		values[i] = make([]byte, 48)
	}
	extend(events, sha512.New384, values)
	p, err := tdxsim.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	p.TD.Edit = func(report []byte) {
		for i := range uint32(4) {
			copy(report[328+48*i:], values[i+1])
		}
	}
	ev, err := p.Evidence(tpmtest.RuntimeData(`{"kty":"HPKE"}`, []byte("nonce")))
	if err != nil {
		t.Fatal(err)
	}
	var body tdxformat.Evidence
	if err := strict.Unmarshal(ev.Body, len(ev.Body), &body); err != nil {
		t.Fatal(err)
	}
	v, err := tdx.New(tdx.Config{Type: ev.Type, Roots: p.Roots(), Endorser: p})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		log   []byte
		check attest.Check
	}{"the log": {log, ""}, "the log without its last event": {nil, attest.CheckEventLog}} {
		if body.EventLog = c.log; c.log == nil {
			body.EventLog = log[:len(log)-1]
		}
		if ev.Body, err = strict.Marshal(body); err != nil {
			t.Fatal(err)
		}
		res, err := v.Verify(t.Context(), ev, attest.Expect{At: time.Now()})
		switch r := rejection(err); {
		case c.check == "" && err != nil, c.check != "" && (r == nil || r.Check != c.check):
			t.Errorf("%s: %v", name, err)
		case c.check == "":
			compare(t, name, res.Claims, map[string]any{"tdx.eventlog.present": true})
		}
	}
}
