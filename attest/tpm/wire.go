package tpm

import "encoding/binary"

// reader takes big-endian TPM structures apart. The first read beyond the end
// makes it bad, and from then on every read gives zero: callers check done once.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// sized reads a TPM2B: a length of two bytes and that many bytes.
func (r *reader) sized() []byte { return r.take(int(r.u16())) }

// done says that every byte was read and none was missing.
func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }
