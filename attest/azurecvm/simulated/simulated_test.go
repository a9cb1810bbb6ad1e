package simulated_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/azurecvm/simulated"
)

// Broker and machine know the seed only, and never meet.
func TestSameSeed(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]uint32{"SNP": format.HCLSNP, "TDX": format.HCLTDX} {
		var seen []*simulated.Machine
		var anchors [][][]byte
		for _, seed := range []byte{1, 1, 2} {
			p, err := simulated.New([32]byte{seed})
			if err != nil {
				t.Fatal(err)
			}
			m, err := p.Report(&key.PublicKey, simulated.Options{Kind: kind})
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := p.Config()
			if err != nil {
				t.Fatal(err)
			}
			v, err := azurecvm.New(cfg)
			if err != nil || cfg.Type != attest.TypeAzureCVM.Simulated() {
				t.Fatal(cfg.Type, err)
			}
			seen, anchors = append(seen, m), append(anchors, v.Anchors())
		}
		for i, want := range map[int]bool{1: true, 2: false} {
			if bytes.Equal(seen[0].HCL, seen[i].HCL) != want {
				t.Errorf("%s: HCL reports of platform 0 and %d", name, i)
			}
			for j := range anchors[0] {
				if bytes.Equal(anchors[0][j], anchors[i][j]) != want {
					t.Errorf("%s: root %d of platform 0 and %d", name, j, i)
				}
			}
		}
	}
}

// A machine's host answers for its own kind of hardware.
func TestMetadata(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p, err := simulated.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	const certification, quote = "/metadata/THIM/amd/certification", "/acc/tdquote"
	for kind, want := range map[uint32]map[string]bool{
		format.HCLSNP: {certification: true, quote: false, "/": false},
		format.HCLTDX: {certification: false, quote: true, "/": false},
	} {
		m, err := p.Report(&key.PublicKey, simulated.Options{Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		for path, ok := range want {
			if _, got := m.Metadata(path); got != ok {
				t.Errorf("kind %d: %s answered: %v", kind, path, got)
			}
		}
		if len(m.HCL) > 2048 {
			t.Errorf("kind %d: HCL report of %d bytes does not fit a software TPM's NV", kind, len(m.HCL))
		}
	}
}
