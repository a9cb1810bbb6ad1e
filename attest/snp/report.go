package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// ReportSize is the length of an attestation report in bytes.
const ReportSize = 1184

// Offsets and lengths of table 23 of the SEV-SNP ABI (56860).
const (
	signedSize    = 0x2a0
	scalarSize    = 72 // of R and of S, little-endian
	scalarUsed    = 48 // P-384
	algoECDSAP384 = 1
	maxVMPL       = 3
)

// SigningKey is SIGNING_KEY: which key signed a report.
type SigningKey uint8

// The values of a SigningKey.
const (
	VCEK SigningKey = 0 // made from the chip's secret and its TCB
	VLEK SigningKey = 1 // loaded by the cloud that AMD gave it to
)

func (k SigningKey) String() string {
	if k == VLEK {
		return "vlek"
	}
	return "vcek"
}

// report is ATTESTATION_REPORT. Byte fields are parts of raw.
type report struct {
	raw             []byte
	version         uint32
	guestSVN        uint32
	policy          uint64
	familyID        []byte
	imageID         []byte
	vmpl            uint32
	platformInfo    uint64
	authorKeyEn     bool
	maskChipKey     bool
	signingKey      SigningKey
	reportData      []byte
	measurement     []byte
	hostData        []byte
	idKeyDigest     []byte
	authorKeyDigest []byte
	reportID        []byte
	reportIDMA      []byte
	cpu             [3]byte // family, model, stepping; version 3 and later
	chipID          []byte
	current         tcb
	reported        tcb
	committed       tcb
	launch          tcb
	currentFW       [3]byte // build, minor, major
	committedFW     [3]byte
	launchMit       uint64 // version 5 and later
	currentMit      uint64
}

// reserved gives the ranges that must be zero, from and up to. Version 4, which firmware
// 1.55.31 made, is in no published specification: it is refused with the others.
func reserved(version uint32) ([][2]int, error) {
	always := [][2]int{{0x4c, 0x50}, {0x1eb, 0x1ec}, {0x1ef, 0x1f0}, {0x208, signedSize}, {signedSize + 2*scalarSize, ReportSize}}
	switch version {
	case 2:
		return append(always, [2]int{0x188, 0x1a0}, [2]int{0x1f8, 0x208}), nil
	case 3:
		return append(always, [2]int{0x18b, 0x1a0}, [2]int{0x1f8, 0x208}), nil
	case 5:
		return append(always, [2]int{0x18b, 0x1a0}), nil
	}
	return nil, fmt.Errorf("report version %d, want 2, 3 or 5", version)
}

// parseReport reads a report and refuses whatever its version reserves.
func parseReport(b []byte) (*report, error) {
	if len(b) != ReportSize {
		return nil, fmt.Errorf("report of %d bytes, want %d", len(b), ReportSize)
	}
	u32, u64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	r := &report{
		raw: b, version: u32(b), guestSVN: u32(b[4:]), policy: u64(b[8:]),
		familyID: b[0x10:0x20], imageID: b[0x20:0x30], vmpl: u32(b[0x30:]),
		current: tcb(b[0x38:0x40]), platformInfo: u64(b[0x40:]),
		reportData: b[0x50:0x90], measurement: b[0x90:0xc0], hostData: b[0xc0:0xe0],
		idKeyDigest: b[0xe0:0x110], authorKeyDigest: b[0x110:0x140],
		reportID: b[0x140:0x160], reportIDMA: b[0x160:0x180],
		reported: tcb(b[0x180:0x188]), cpu: [3]byte(b[0x188:0x18b]), chipID: b[0x1a0:0x1e0],
		committed: tcb(b[0x1e0:0x1e8]), currentFW: [3]byte(b[0x1e8:0x1eb]), committedFW: [3]byte(b[0x1ec:0x1ef]),
		launch: tcb(b[0x1f0:0x1f8]), launchMit: u64(b[0x1f8:]), currentMit: u64(b[0x200:]),
	}
	ranges, err := reserved(r.version)
	if err != nil {
		return nil, err
	}
	for _, z := range ranges {
		if !zero(b[z[0]:z[1]]) {
			return nil, fmt.Errorf("bytes 0x%x to 0x%x are reserved in version %d and not zero", z[0], z[1], r.version)
		}
	}
	if algo := u32(b[0x34:]); algo != algoECDSAP384 {
		return nil, fmt.Errorf("signature algorithm %d, want %d (ECDSA P-384 with SHA-384)", algo, algoECDSAP384)
	}
	return r, r.signer(u32(b[0x48:]))
}

// signer reads the word that says which key signed, if any did.
func (r *report) signer(word uint32) error {
	r.authorKeyEn, r.maskChipKey = word&1 != 0, word&2 != 0
	switch key := word >> 2; {
	case key == uint32(VCEK), key == uint32(VLEK):
		r.signingKey = SigningKey(key)
	default:
		return fmt.Errorf("signing key %d: neither VCEK nor VLEK signed this report", key)
	}
	return nil
}

// verify checks the signature over the report by key.
func (r *report) verify(key *ecdsa.PublicKey) error {
	if r.maskChipKey {
		return errors.New("the host's MASK_CHIP_KEY setting leaves reports unsigned")
	}
	sig := r.raw[signedSize:]
	rs, err := scalar(sig[:scalarSize])
	if err != nil {
		return err
	}
	s, err := scalar(sig[scalarSize : 2*scalarSize])
	if err != nil {
		return err
	}
	digest := sha512.Sum384(r.raw[:signedSize])
	if !ecdsa.Verify(key, digest[:], rs, s) {
		return errors.New("the report is not signed by the certified key")
	}
	return nil
}

func scalar(b []byte) (*big.Int, error) {
	if !zero(b[scalarUsed:]) {
		return nil, errors.New("signature: a scalar is longer than the curve's order")
	}
	be := bytes.Clone(b[:scalarUsed])
	slices.Reverse(be)
	return new(big.Int).SetBytes(be), nil
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
