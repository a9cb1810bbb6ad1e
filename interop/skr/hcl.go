package skr

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of the HCL report in the TPM's NV index 0x01400001 (wire.md §5.5), bytes. All of
// its integers are 32-bit little-endian.
const (
	hclHeaderSize  = 32
	hclReportSize  = 1184
	hclRequestSize = 20
)

// ReportType says what hardware report an [HCL] holds.
type ReportType uint32

// The types of IGVM_REQUEST_DATA that exist.
const (
	ReportSNP       ReportType = 2
	ReportTrustedVM ReportType = 3
	ReportTDX       ReportType = 4
	hclHashSHA256              = 1
	hclSignature               = "HCLA"
)

// HCL is what the host compatibility layer left for the guest.
type HCL struct {
	Type   ReportType
	Report []byte // 1184 bytes, a hardware report and its zero padding
	// RunTimeData is the JSON that the hardware report's data is the SHA-256 of: HCLAkPub
	// and the VM's configuration.
	RunTimeData []byte
}

// ParseHCL splits the content of NV index 0x01400001. What follows the variable data is
// zero padding and ignored.
func ParseHCL(nv []byte) (HCL, error) {
	const fixed = hclHeaderSize + hclReportSize + hclRequestSize
	if len(nv) < fixed || string(nv[:4]) != hclSignature {
		return HCL{}, errors.New("HCL report: too short or without its signature HCLA")
	}
	request := nv[hclHeaderSize+hclReportSize:]
	field := func(i int) uint32 { return binary.LittleEndian.Uint32(request[4*i:]) }
	if hash := field(3); hash != hclHashSHA256 {
		return HCL{}, fmt.Errorf("HCL report: IGVM_REQUEST_DATA names hash type %d, not SHA-256", hash)
	}
	size := uint64(field(4))
	if size > uint64(len(nv)-fixed) {
		return HCL{}, fmt.Errorf("HCL report: %d bytes of variable data announced, %d there", size, len(nv)-fixed)
	}
	return HCL{
		Type:        ReportType(field(2)),
		Report:      nv[hclHeaderSize : hclHeaderSize+hclReportSize],
		RunTimeData: nv[fixed : fixed+int(size)],
	}, nil
}

// Bytes makes the content of the NV index, for a TPM that has none of its own.
func (h HCL) Bytes() ([]byte, error) {
	if len(h.Report) > hclReportSize {
		return nil, fmt.Errorf("HCL report: hardware report of %d bytes, at most %d fit", len(h.Report), hclReportSize)
	}
	out := make([]byte, hclHeaderSize+hclReportSize)
	copy(out, hclSignature)
	copy(out[hclHeaderSize:], h.Report)
	for _, v := range []uint32{
		hclRequestSize + uint32(len(h.RunTimeData)), 1, uint32(h.Type), hclHashSHA256, uint32(len(h.RunTimeData)),
	} {
		out = binary.LittleEndian.AppendUint32(out, v)
	}
	return append(out, h.RunTimeData...), nil
}
