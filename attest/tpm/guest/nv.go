package guest

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

const nvChunk = 512 // below every TPM's TPM_PT_NV_BUFFER_MAX

// ReadNV reads an NV index of at most limit bytes that needs no password. It wraps
// [ErrNoNV] when the TPM has no such index.
func (t *TPM) ReadNV(ctx context.Context, index uint32, limit int) (b []byte, err error) {
	err = t.exclusive(ctx, func() (err error) {
		b, err = t.nvRead(tpm2.TPMHandle(index), limit)
		return err
	})
	return b, err
}

func (t *TPM) nvRead(index tpm2.TPMHandle, limit int) ([]byte, error) {
	p, err := tpm2.NVReadPublic{NVIndex: index}.Execute(t)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, fmt.Errorf("%w %#x: %w", ErrNoNV, uint32(index), err)
	}
	if err != nil {
		return nil, err
	}
	pub, err := p.NVPublic.Contents()
	if err != nil {
		return nil, err
	}
	if int(pub.DataSize) > limit {
		return nil, fmt.Errorf("NV index %#x has %d bytes, limit %d", uint32(index), pub.DataSize, limit)
	}
	nv := tpm2.NamedHandle{Handle: index, Name: p.NVName}
	reader := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: empty()}
	if pub.Attributes.AuthRead { // readable by anyone, whatever the owner's password
		reader = tpm2.AuthHandle{Handle: index, Name: p.NVName, Auth: empty()}
	}
	var out []byte
	for len(out) < int(pub.DataSize) {
		n := min(nvChunk, int(pub.DataSize)-len(out))
		r, err := tpm2.NVRead{AuthHandle: reader, NVIndex: nv, Size: uint16(n), Offset: uint16(len(out))}.Execute(t)
		if err != nil {
			return nil, err
		}
		if len(r.Data.Buffer) == 0 {
			return nil, errors.New("NV read gave nothing")
		}
		out = append(out, r.Data.Buffer...)
	}
	return out, nil
}
