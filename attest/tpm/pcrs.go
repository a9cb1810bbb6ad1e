package tpm

import (
	"crypto/subtle"
	"encoding/hex"
	"strconv"

	"github.com/openskr/openskr/attest"
)

// bank is the quoted PCR bank, proven.
type bank struct {
	name   string // "sha256" or "sha384"
	alg    uint16
	size   int
	quoted uint32     // bit i: PCR i is in the quote
	values [24][]byte // nil where not quoted
	digest []byte     // H(values, index ascending) with SHA-256: what a PCR policy compares
}

// firmwarePCRs are PCRs 0 to 7, which the platform firmware measures.
const firmwarePCRs = 0xff

// verifyPCRs proves the PCR values: the quote selects exactly these PCRs of
// exactly this bank, and its digest is theirs. A quote over nothing, over
// another bank, or over PCRs that anyone can reset proves only what it names.
func verifyPCRs(given map[string]map[string]attest.Bytes, q *attested, ak *AK) (*bank, *attest.Rejection) {
	if len(given) != 1 {
		return nil, attest.Reject(attest.CheckPCRBank, "%d PCR banks given, want the quoted one", len(given))
	}
	b := &bank{}
	for name, values := range given {
		if rej := b.read(name, values); rej != nil {
			return nil, rej
		}
	}
	if q.hash != b.alg || q.pcrs != b.quoted || b.quoted == 0 {
		r := attest.Reject(attest.CheckPCRSelection, "the quote must select exactly the PCRs given, of that one bank, and at least one")
		r.Expected, r.Got = selectionText(b.alg, b.quoted), selectionText(q.hash, q.pcrs)
		return nil, r
	}
	concat := make([]byte, 0, 24*b.size)
	for _, v := range b.values {
		concat = append(concat, v...)
	}
	d, err := digest(ak.hash, concat)
	if err != nil || subtle.ConstantTimeCompare(d, q.digest) != 1 {
		r := attest.Reject(attest.CheckPCRDigest, "the PCR values given are not the quoted ones")
		r.Expected, r.Got = hex.EncodeToString(q.digest), hex.EncodeToString(d)
		return nil, r
	}
	if b.digest, err = digest(algSHA256, concat); err != nil {
		return nil, attest.Reject(attest.CheckInternal, "%w", err)
	}
	return b, nil
}

// read takes the values as given, in one spelling only.
func (b *bank) read(name string, values map[string]attest.Bytes) *attest.Rejection {
	switch name {
	case "sha256":
		b.alg, b.size = algSHA256, 32
	case "sha384":
		b.alg, b.size = algSHA384, 48
	default:
		return attest.Reject(attest.CheckPCRBank, "PCR bank %.16q: only sha256 and sha384 prove anything", name)
	}
	b.name = name
	for key, v := range values {
		i, err := strconv.ParseUint(key, 10, 8)
		if err != nil || i > 23 || strconv.FormatUint(i, 10) != key {
			return attest.Reject(attest.CheckMalformed, "PCR index %.8q, want 0 to 23", key)
		}
		if len(v) != b.size {
			return attest.Reject(attest.CheckMalformed, "PCR %d of %d bytes, want %d", i, len(v), b.size)
		}
		b.quoted |= 1 << i
		b.values[i] = v
	}
	return nil
}

func selectionText(alg uint16, pcrs uint32) string {
	s := "no single bank"
	switch alg {
	case algSHA256:
		s = "sha256"
	case algSHA384:
		s = "sha384"
	case 0:
	default:
		s = "bank 0x" + strconv.FormatUint(uint64(alg), 16)
	}
	sep := ":"
	for i := range 24 {
		if pcrs&(1<<i) != 0 {
			s += sep + strconv.Itoa(i)
			sep = ","
		}
	}
	return s
}
