package tpm

import (
	"errors"
	"fmt"
)

// TPM 2.0 Part 2 §6.9 and §10.12.
const (
	generatedValue = 0xff544347 // TPM_GENERATED_VALUE: "\xffTCG"
	typeCertify    = 0x8017     // TPM_ST_ATTEST_CERTIFY
	typeQuote      = 0x8018     // TPM_ST_ATTEST_QUOTE
)

// attested is a TPMS_ATTEST of type quote or certify (Part 2 §10.12.8). Its
// slices point into the parsed bytes.
type attested struct {
	signer    []byte // qualified name of the AK
	extraData []byte
	clock     clockInfo
	firmware  uint64

	// quote
	selection []byte // TPML_PCR_SELECTION as marshalled
	hash      uint16 // its bank
	pcrs      uint32 // bit i: PCR i is quoted
	digest    []byte

	name []byte // certify: name of the certified object
}

// clockInfo is TPMS_CLOCK_INFO (Part 2 §10.11.1).
type clockInfo struct {
	resetCount, restartCount uint32
	safe                     bool
}

// parseAttested reads exactly one TPMS_ATTEST of the wanted type.
func parseAttested(b []byte, want uint16) (*attested, error) {
	if len(b) > maxAttested {
		return nil, fmt.Errorf("%d bytes, limit %d", len(b), maxAttested)
	}
	r := reader{b: b}
	if m := r.u32(); m != generatedValue {
		return nil, fmt.Errorf("magic %#08x: not made by a TPM", m)
	}
	if t := r.u16(); t != want {
		return nil, fmt.Errorf("attestation type %#04x, want %#04x", t, want)
	}
	a := &attested{signer: r.sized(), extraData: r.sized()}
	r.u64() // milliseconds that it runs
	a.clock.resetCount, a.clock.restartCount = r.u32(), r.u32()
	safe := r.u8()
	a.clock.safe = safe == 1
	a.firmware = r.u64()
	var err error
	if want == typeQuote {
		err = a.parseSelection(&r)
		a.digest = r.sized()
	} else {
		a.name = r.sized()
		r.sized() // qualified name: its path is the TPM's own affair
	}
	if !r.done() || safe > 1 {
		return nil, errors.New("wrong length or encoding")
	}
	if !isName(a.signer) {
		return nil, fmt.Errorf("qualified signer %.40x is no name of an object", a.signer)
	}
	return a, err
}

// isName says whether b has the form of the name of an object (Part 1 §16) that has one
// of the two algorithms that an AK may have: the algorithm, and a digest of its length.
func isName(b []byte) bool {
	switch r := (reader{b: b}); r.u16() {
	case algSHA256:
		return len(b) == 2+32
	case algSHA384:
		return len(b) == 2+48
	}
	return false
}

// parseSelection reads TPML_PCR_SELECTION and keeps its bytes, over which the
// recipient's policy is computed. A selection of another shape than one bank in
// three bytes is left for verifyPCRs to refuse, after the signature: hash stays 0.
func (a *attested) parseSelection(r *reader) error {
	start := r.b
	count := r.u32()
	if count > 16 { // Part 2 §10.9.7: at most one a bank
		return errors.New("PCR selection with too many banks")
	}
	for range count {
		hash, size := r.u16(), r.u8()
		bits := r.take(int(size))
		if count == 1 && len(bits) == 3 {
			a.hash = hash
			a.pcrs = uint32(bits[0]) | uint32(bits[1])<<8 | uint32(bits[2])<<16
		}
	}
	if !r.bad {
		a.selection = start[:len(start)-len(r.b)]
	}
	return nil
}
