package nitro

import (
	"errors"
	"math"

	"github.com/openskr/openskr/attest/nitro/format"
)

// Bounds of a payload, those of AWS's specification where it has some.
const (
	maxMembers  = 10
	maxName     = 16
	maxModuleID = 128
	maxPCRs     = 32
	maxCert     = 1024
	maxBundle   = 8
)

const digestName = "SHA384" // the only one specified

// document is the payload. A member that is null or absent is nil.
type document struct {
	moduleID  string
	timestamp int64 // milliseconds
	pcrs      map[uint64][]byte
	tpm       bool // of a NitroTPM: its PCRs mean something else
	leaf      []byte
	bundle    [][]byte // root first

	publicKey, userData, nonce []byte

	chain *chain
}

// parsePayload reads exactly one payload. A member that this version does not know
// is refused: NitroTPM showed that a new one may change what the others mean.
func parsePayload(b []byte) (*document, error) {
	d := &document{}
	r := format.NewReader(b)
	digest := ""
	r.TextMap(maxMembers, maxName, func(name string) {
		switch name {
		case "module_id":
			d.moduleID = r.Text(maxModuleID)
		case "digest":
			digest = r.Text(maxName)
		case "timestamp":
			if n := r.Uint(); n <= math.MaxInt64 {
				d.timestamp = int64(n)
			}
		case "pcrs":
			d.readPCRs(r)
		case "nitrotpm_pcrs":
			d.tpm = true
			d.readPCRs(r)
		case "certificate":
			d.leaf = r.Bytes(maxCert)
		case "cabundle":
			r.Array(maxBundle, func() { d.bundle = append(d.bundle, r.Bytes(maxCert)) })
		case "public_key":
			d.publicKey = optional(r)
		case "user_data":
			d.userData = optional(r)
		case "nonce":
			d.nonce = optional(r)
		default:
			r.Fail("unknown member %q", name)
		}
	})
	if err := r.Done(); err != nil {
		return nil, err
	}
	if d.moduleID == "" || d.timestamp == 0 || digest != digestName || len(d.leaf) == 0 || len(d.bundle) == 0 {
		return nil, errors.New("module_id, digest SHA384, timestamp, certificate and cabundle are all required")
	}
	for i := range uint64(3) {
		if d.pcrs[i] == nil {
			return nil, errors.New("PCRs 0 to 2 are required")
		}
	}
	return d, nil
}

func (d *document) readPCRs(r *format.Reader) {
	if d.pcrs != nil {
		r.Fail("PCRs of an enclave and of a NitroTPM")
		return
	}
	d.pcrs = map[uint64][]byte{}
	r.UintMap(maxPCRs, func(i uint64) {
		v := r.Bytes(64)
		if n := len(v); i >= maxPCRs || n != 32 && n != 48 && n != 64 {
			r.Fail("PCR %d of %d bytes", i, n)
		}
		d.pcrs[i] = v
	})
}

func optional(r *format.Reader) []byte {
	if r.Null() {
		return nil
	}
	return r.Bytes(format.MaxField)
}
