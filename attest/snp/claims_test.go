package snp_test

import (
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp/simulated"
)

// TestPlatformInfo: each bit is one claim, in both polarities (an inversion once let
// hosts without the check pass that required it).
// It is TP-05.
func TestPlatformInfo(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p)
	names := map[string]uint64{"smt": 0, "tsme": 1, "ecc": 2, "rapl_dis": 3, "ciphertext_hiding": 4, "alias_check_complete": 5, "iommu_write_safe": 6, "tio": 7}
	for bit := range uint64(64) {
		for _, word := range []uint64{1 << bit, ^(uint64(1) << bit)} {
			chip := simulated.Chip{Report: func(r []byte) { clear(r[0x40:0x48]); setBits(0x40, word)(r) }}
			res, err := v.Verify(t.Context(), evidence(t, p, chip), attest.Expect{At: now})
			if err != nil {
				t.Fatal(err)
			}
			for name, at := range names {
				if got := claim(res.Claims, "snp.platform_info."+name); got != (word>>at&1 == 1) {
					t.Errorf("PLATFORM_INFO %#x: %s is %v", word, name, got)
				}
			}
		}
	}
}

// TestPolicyBits does the same for the guest's policy.
func TestPolicyBits(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p)
	names := map[string]uint64{
		"smt": 16, "migrate_ma": 18, "single_socket": 20, "cxl": 21, "aes_256_xts": 22, "rapl_dis": 23, "ciphertext_hiding": 24, "page_swap_disable": 25,
	}
	for name, bit := range names {
		for _, word := range []uint64{1<<17 | 1<<bit, (1<<26 - 1) &^ (1 << 19) &^ (1 << bit)} {
			chip := simulated.Chip{Report: func(r []byte) { clear(r[8:0x10]); setBits(8, word)(r) }}
			res, err := v.Verify(t.Context(), evidence(t, p, chip), attest.Expect{At: now})
			if err != nil {
				t.Fatal(err)
			}
			for other, at := range names {
				if got := claim(res.Claims, "snp.policy."+other); got != (word>>at&1 == 1) {
					t.Errorf("POLICY %#x (%s): %s is %v", word, name, other, got)
				}
			}
			if res.Facts.Migratable != (word>>18&1 == 1) {
				t.Errorf("POLICY %#x: migratable %v", word, res.Facts.Migratable)
			}
		}
	}
}

// TestZeroIsAValue is TP-15: what the host left zero is claimed as zeros, so that a policy
// which binds it refuses, and no policy can take it for unset.
func TestZeroIsAValue(t *testing.T) {
	p := platform(t, 1)
	chip := simulated.Chip{Report: func(r []byte) { clear(r[0xc0:0xe0]) }}
	res, err := verifier(t, p).Verify(t.Context(), evidence(t, p, chip), attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	if got := claim(res.Claims, "snp.host_data"); got != strings.Repeat("00", 32) {
		t.Errorf("host_data is %v", got)
	}
}
