package cse

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Decrypt copies src, decrypted, to dst and gives the number of plain bytes. size is how
// many these must be, for a blob that cannot prove where it ends ([ErrUnproven]), or -1.
// Memory is bounded whatever the sizes. On any error what was written must be thrown
// away: [ErrTampered], [ErrUnproven], or that of reading or writing. When ctx ends, or
// an error is given back, a Read of src may be still under way.
func (e *EncryptionData) Decrypt(ctx context.Context, dst io.Writer, src io.Reader, key *ContentKey, size int64) (int64, error) {
	full := e.Region + overhead
	each := max(1, RegionSize/full) * full // bytes in a batch
	seq := newSequence()
	p := &pipeline{
		size: each, read: each,
		check:     func(b *batch) error { return eachRegion(b, full, seq.check) },
		transform: func(b *batch) error { return key.open(b, full) },
	}
	read, err := p.run(ctx, dst, src)
	if err != nil {
		return 0, err
	}
	plain, proven, err := e.PlainSize(read)
	switch {
	case err != nil:
		return 0, err
	case size >= 0 && plain != size:
		return 0, fmt.Errorf("%w: %d bytes of plain text, %d are expected", ErrTampered, plain, size)
	case size < 0 && !proven:
		return 0, ErrUnproven
	}
	return plain, nil
}

// eachRegion calls do with every region of what was read, and its place in the stream.
func eachRegion(b *batch, full int, do func(region []byte, number uint64) error) error {
	first := b.number * uint64(max(1, RegionSize/full))
	for i, rest := uint64(0), b.in; len(rest) > 0; i++ {
		n := min(full, len(rest))
		if n < overhead {
			return fmt.Errorf("%w: region %d is cut off", ErrTampered, first+i)
		}
		if err := do(rest[:n], first+i); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func (s *sequence) check(region []byte, number uint64) error {
	if !s.follows(region[:nonceSize]) {
		return fmt.Errorf("%w: region %d is out of order, or its nonce is not counted as any SDK does", ErrTampered, number)
	}
	return nil
}

// open decrypts the regions of a batch in place and moves them together.
func (k *ContentKey) open(b *batch, full int) error {
	return eachRegion(b, full, func(region []byte, number uint64) error {
		plain, err := k.region(region, number)
		if b.out == nil {
			b.out = plain
		} else {
			b.out = append(b.out, plain...) // to the left, over what was read
		}
		return err
	})
}

func (k *ContentKey) region(region []byte, number uint64) ([]byte, error) {
	sealed := region[nonceSize:]
	plain, err := k.aead.Open(sealed[:0], region[:nonceSize], sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: region %d", ErrTampered, number)
	}
	return plain, nil
}

// errTooLong is beyond what one key may encrypt (NIST SP 800-38D §8.3, with room).
var errTooLong = errors.New("more than 2^32 regions under one key")

// Encrypt copies src, encrypted, to dst and gives the number of plain bytes. The last
// region is short, if need be empty, so that the blob proves where it ends; Azure's
// SDKs read it.
func (k *ContentKey) Encrypt(ctx context.Context, dst io.Writer, src io.Reader) (int64, error) {
	p := &pipeline{
		size: RegionSize + overhead, headroom: nonceSize, read: RegionSize,
		transform: func(b *batch) error {
			if b.number >= 1<<32 {
				return errTooLong
			}
			nonce := countPython(b.number)
			copy(b.buffer, nonce[:])
			sealed := k.aead.Seal(b.in[:0], nonce[:], b.in, nil)
			b.out = b.buffer[:nonceSize+len(sealed)]
			return nil
		},
	}
	return p.run(ctx, dst, src)
}
