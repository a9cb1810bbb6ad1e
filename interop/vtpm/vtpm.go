package vtpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/openskr/openskr/interop/skr"
)

// Where the paravisor puts things (wire.md §5.5).
const (
	aikHandle = tpm2.TPMHandle(0x81000003)
	hclIndex  = tpm2.TPMHandle(0x01400001)
	nvChunk   = 512 // bytes in one TPM2_NV_Read
)

// TPM implements [skr.TPM] on the socket of a software TPM.
type TPM struct{ transport.TPMCloser }

// Open opens the TPM at a Unix socket.
func Open(socket string) (*TPM, error) {
	t, err := linuxudstpm.Open(socket)
	if err != nil {
		return nil, err
	}
	return &TPM{t}, nil
}

// AIK implements [skr.TPM]. A simulated machine has no certificate of the AIK.
func (t *TPM) AIK() (cert, public []byte, err error) {
	r, err := tpm2.ReadPublic{ObjectHandle: aikHandle}.Execute(t)
	if err != nil {
		return nil, nil, fmt.Errorf("AIK: %w", err)
	}
	return nil, tpm2.Marshal(r.OutPublic), nil
}

// Quote implements [skr.TPM].
func (t *TPM) Quote(pcrs []int) (values []skr.PCR, quote, signature []byte, err error) {
	aik, err := t.aik()
	if err != nil {
		return nil, nil, nil, err
	}
	q, err := tpm2.Quote{SignHandle: aik, PCRSelect: selection(pcrs...), InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}}.Execute(t)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("quote: %w", err)
	}
	for _, i := range pcrs {
		r, err := tpm2.PCRRead{PCRSelectionIn: selection(i)}.Execute(t)
		if err != nil || len(r.PCRValues.Digests) != 1 {
			return nil, nil, nil, errors.Join(fmt.Errorf("PCR %d", i), err)
		}
		values = append(values, skr.PCR{Index: i, Digest: r.PCRValues.Digests[0].Buffer})
	}
	signature, err = rsassa(q.Signature)
	return values, q.Quoted.Bytes(), signature, err
}

// EventLog implements [skr.TPM]: nothing was measured into a software TPM.
func (t *TPM) EventLog() ([]byte, error) { return nil, nil }

// HCL reads the paravisor's report from NV.
func (t *TPM) HCL() (skr.HCL, error) {
	index, err := tpm2.NVReadPublic{NVIndex: hclIndex}.Execute(t)
	if err != nil {
		return skr.HCL{}, fmt.Errorf("HCL report: %w", err)
	}
	public, err := index.NVPublic.Contents()
	if err != nil {
		return skr.HCL{}, err
	}
	var out []byte
	for len(out) < int(public.DataSize) {
		r, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: hclIndex, Name: index.NVName},
			Size:       min(nvChunk, public.DataSize-uint16(len(out))), Offset: uint16(len(out)),
		}.Execute(t)
		if err != nil {
			return skr.HCL{}, fmt.Errorf("HCL report: %w", err)
		}
		out = append(out, r.Data.Buffer...)
	}
	return skr.ParseHCL(out)
}

// aik is the AIK, ready to sign.
func (t *TPM) aik() (tpm2.AuthHandle, error) {
	r, err := tpm2.ReadPublic{ObjectHandle: aikHandle}.Execute(t)
	if err != nil {
		return tpm2.AuthHandle{}, fmt.Errorf("AIK: %w", err)
	}
	return tpm2.AuthHandle{Handle: aikHandle, Name: r.Name, Auth: tpm2.PasswordAuth(nil)}, nil
}

// selection selects PCRs of the SHA-256 bank.
func selection(pcrs ...int) tpm2.TPMLPCRSelection {
	bits := make([]byte, 3)
	for _, i := range pcrs {
		bits[i/8] |= 1 << (i % 8)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: bits}}}
}

// rsassa gives the raw bytes of an RSASSA signature.
func rsassa(s tpm2.TPMTSignature) ([]byte, error) {
	r, err := s.Signature.RSASSA()
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return r.Sig.Buffer, nil
}
