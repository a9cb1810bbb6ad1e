package guest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
)

// Selection says which PCRs of which bank are quoted.
type Selection struct {
	Bank string // "sha256" or "sha384"
	PCRs []int  // 0 to 23, ascending
}

// DefaultSelection is what firmware, boot loader and kernel measure into, in the
// bank that every TPM 2.0 has: sha256, PCRs 0 to 15. On a system that measures
// files at run time (IMA), leave PCR 10 out: it never rests.
func DefaultSelection() Selection {
	s := Selection{Bank: "sha256"}
	for i := range 16 {
		s.PCRs = append(s.PCRs, i)
	}
	return s
}

const (
	maxPCR       = 23
	pcrReadTries = 4
)

func (s Selection) alg() (tpm2.TPMAlgID, int) {
	switch s.Bank {
	case "sha256":
		return tpm2.TPMAlgSHA256, 32
	case "sha384":
		return tpm2.TPMAlgSHA384, 48
	}
	return tpm2.TPMAlgNull, 0
}

// Validate refuses what cannot be quoted.
func (s Selection) Validate() error {
	if alg, _ := s.alg(); alg == tpm2.TPMAlgNull {
		return fmt.Errorf("PCR bank %q: want sha256 or sha384", s.Bank)
	}
	if len(s.PCRs) == 0 {
		return errors.New("no PCR selected")
	}
	for i, p := range s.PCRs {
		if p < 0 || p > maxPCR || i > 0 && p <= s.PCRs[i-1] {
			return fmt.Errorf("PCR %d: want ascending numbers from 0 to %d, each once", p, maxPCR)
		}
	}
	return nil
}

func (s Selection) list(pcrs []int) tpm2.TPMLPCRSelection {
	alg, _ := s.alg()
	bits := make([]uint, len(pcrs))
	for i, p := range pcrs {
		bits[i] = uint(p)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: alg, PCRSelect: tpm2.PCClientCompatible.PCRs(bits...)}}}
}

// snapshot is the state of the selected PCRs at one moment.
type snapshot struct {
	Selection
	values map[int][]byte
}

// snapshot reads the PCRs, again when one changed in between: TPM2_PCR_Read gives
// eight at a time and says how often any PCR was updated.
func (t *TPM) snapshot(s Selection) (*snapshot, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	for range pcrReadTries {
		values, steady, err := t.readPCRs(s)
		if err != nil {
			return nil, fmt.Errorf("read PCRs: %w", err)
		}
		if steady {
			return &snapshot{s, values}, nil
		}
	}
	return nil, ErrPCRsChanged
}

func (t *TPM) readPCRs(s Selection) (values map[int][]byte, steady bool, err error) {
	values = map[int][]byte{}
	_, size := s.alg()
	left, counter := slices.Clone(s.PCRs), uint32(0)
	for len(left) > 0 {
		r, err := tpm2.PCRRead{PCRSelectionIn: s.list(left)}.Execute(t)
		if err != nil {
			return nil, false, err
		}
		if len(values) > 0 && r.PCRUpdateCounter != counter {
			return nil, false, nil
		}
		counter = r.PCRUpdateCounter
		got := read(r.PCRSelectionOut, left)
		if len(got) == 0 || len(got) != len(r.PCRValues.Digests) {
			return nil, false, fmt.Errorf("the TPM has no active %s bank with PCR %d", s.Bank, left[0])
		}
		for i, p := range got {
			if len(r.PCRValues.Digests[i].Buffer) != size {
				return nil, false, fmt.Errorf("PCR %d has %d bytes, want %d", p, len(r.PCRValues.Digests[i].Buffer), size)
			}
			values[p] = r.PCRValues.Digests[i].Buffer
		}
		left = slices.DeleteFunc(left, func(p int) bool { return values[p] != nil })
	}
	return values, true, nil
}

// read lists the wanted PCRs that a selection of the TPM names, ascending.
func read(out tpm2.TPMLPCRSelection, wanted []int) []int {
	if len(out.PCRSelections) != 1 {
		return nil
	}
	bits := out.PCRSelections[0].PCRSelect
	return slices.DeleteFunc(slices.Clone(wanted), func(p int) bool {
		return p/8 >= len(bits) || bits[p/8]>>(p%8)&1 == 0
	})
}

// digest is the pcrDigest of a quote by our AK and of a SHA-256 policy session:
// SHA-256 over the values in ascending order (TPM 2.0 Part 3, TPM2_Quote).
func (s *snapshot) digest() []byte {
	h := sha256.New()
	for _, p := range s.PCRs {
		h.Write(s.values[p])
	}
	return h.Sum(nil)
}

// command is the one assertion of a recipient key's policy.
func (s *snapshot) command(session tpm2.TPMISHPolicy) tpm2.PolicyPCR {
	return tpm2.PolicyPCR{PolicySession: session, PcrDigest: tpm2.TPM2BDigest{Buffer: s.digest()}, Pcrs: s.list(s.PCRs)}
}

// policy is the authPolicy of a key that works only in this state.
func (s *snapshot) policy() (tpm2.TPM2BDigest, error) {
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return tpm2.TPM2BDigest{}, err
	}
	if err := s.command(0).Update(calc); err != nil {
		return tpm2.TPM2BDigest{}, err
	}
	return tpm2.TPM2BDigest{Buffer: calc.Hash().Digest}, nil
}

// wire is the shape of format.Evidence.PCRs.
func (s *snapshot) wire() map[string]map[string]attest.Bytes {
	bank := map[string]attest.Bytes{}
	for p, v := range s.values {
		bank[strconv.Itoa(p)] = v
	}
	return map[string]map[string]attest.Bytes{s.Bank: bank}
}
