package snp_test

import (
	"encoding/binary"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/simulated"
)

// table is a host's certificate table with one entry.
func table(guid [16]byte, cert []byte) []byte {
	b := append([]byte(nil), guid[:]...)
	b = binary.LittleEndian.AppendUint32(b, 48)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(cert)))
	return append(append(b, make([]byte, 24)...), cert...)
}

var vcekGUID = [16]byte{0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd}

// TestSuite is EV-01 and EV-03.
func TestSuite(t *testing.T) {
	p := platform(t, 1)
	amdOnly := amd(t)
	for name, c := range map[string]struct {
		chip   simulated.Chip
		table  bool
		stride int
	}{
		"Milan":               {},
		"Turin":               {chip: simulated.Chip{Product: snp.Turin}, stride: 13},
		"VLEK":                {chip: simulated.Chip{VLEK: true}, stride: 13},
		"a certificate table": {table: true, stride: 13},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "Milan" {
				t.Skip("the shape is Milan's")
			}
			ev := evidence(t, p, c.chip)
			if c.table {
				ev.Endorsements = []attest.Endorsement{{Type: attest.EndorsementCertificateTable, Data: table(vcekGUID, ev.Endorsements[0].Data)}}
			}
			noFetch := verifier(t, p, func(cfg *snp.Config) { cfg.Endorser = nil })
			attesttest.Run(t, attesttest.Case{
				Verifier: noFetch, Evidence: ev, Expect: attest.Expect{At: now}, Stride: c.stride,
				NotBefore: simulated.From, NotAfter: simulated.To,
				Strangers: map[string]attest.Verifier{
					"AMD": amdOnly, "another simulation": verifier(t, platform(t, 2)),
				},
			})
		})
	}
}
