package guest_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/azurecvm/guest"
	"github.com/openskr/openskr/attest/azurecvm/simulated"
	tpmguest "github.com/openskr/openskr/attest/tpm/guest"
)

// none is what a vTPM without AK certificate holds.
func none([]byte) []byte { return nil }

// TestAKCertificate: a certificate goes along when a broker will take it. Everything
// else leaves evidence as sound as it is without one, and says why, once.
func TestAKCertificate(t *testing.T) {
	p, err := simulated.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	microsoft, _, err := format.Microsoft()
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.Report(&key.PublicKey, simulated.Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw, socket := vtpm(t)
	for name, c := range map[string]struct {
		typ    attest.Type
		chain  []byte
		nv     func(der []byte) []byte
		sent   int
		warned string
	}{
		"none":                   {"", nil, none, 0, ""},
		"of an issuer unknown":   {"", nil, nil, 0, "--ak-chain"},
		"with its chain":         {"", []byte("chain"), nil, 2, ""},
		"simulated":              {attest.TypeAzureCVM.Simulated(), nil, nil, 1, ""},
		"simulated and padded":   {attest.TypeAzureCVM.Simulated(), nil, func(der []byte) []byte { return append(bytes.Clone(der), make([]byte, 50)...) }, 1, ""},
		"unreadable":             {"", []byte("chain"), func(der []byte) []byte { return der[:len(der)-1] }, 0, "AK certificate: "},
		"of a CA with its chain": {"", []byte("chain"), func([]byte) []byte { return microsoft[0].Raw }, 0, "not for the AK"},
		"of another TPM":         {attest.TypeAzureCVM.Simulated(), nil, func([]byte) []byte { return other.AKCertificate }, 0, "not for the AK"},
	} {
		t.Run(name, func(t *testing.T) {
			var warnings []string
			m := machine(t, socket, http.NotFound, guest.Options{Type: c.typ, AKChain: c.chain, Warn: func(err error) {
				if !strings.Contains(err.Error(), "VCEK") {
					warnings = append(warnings, err.Error())
				}
			}})
			host, err := p.Install(raw, simulated.Options{AKCertificate: c.nv})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Evidence(t.Context(), []byte("other data"), tpmguest.DefaultSelection(), nil); err != nil {
				t.Fatal(err)
			}
			ev, err := m.Evidence(t.Context(), []byte("runtime data"), tpmguest.DefaultSelection(), nil)
			if err != nil || len(ev.Endorsements) != c.sent {
				t.Fatalf("%d endorsements, %v", len(ev.Endorsements), err)
			}
			if c.sent > 0 && (ev.Endorsements[0].Type != attest.EndorsementAKCertificate || !bytes.HasPrefix(host.AKCertificate, ev.Endorsements[0].Data)) {
				t.Errorf("sent %+v", ev.Endorsements[0])
			}
			if c.sent > 1 && (ev.Endorsements[1].Type != attest.EndorsementCertificate || !bytes.Equal(ev.Endorsements[1].Data, c.chain)) {
				t.Errorf("sent %+v", ev.Endorsements[1])
			}
			if c.warned == "" && len(warnings) > 0 || c.warned != "" && (len(warnings) != 1 || !strings.Contains(warnings[0], c.warned)) {
				t.Errorf("warned %q", warnings)
			}
		})
	}
}
