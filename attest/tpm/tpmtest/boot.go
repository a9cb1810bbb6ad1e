package tpmtest

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"

	"github.com/google/go-tpm/tpm2"
)

// Event is one event of a log to be made. Digest nil means the hash of Data.
type Event struct {
	PCR    uint32
	Type   uint32
	Data   []byte
	Digest []byte
}

// Boot makes the machine look as if it had measured these events: it sets PCRs
// 0 to 23 and the log, of the machine's bank.
func (m *Machine) Boot(events []Event) {
	m.Log = m.header()
	for i := range 24 {
		m.PCRs[i] = make([]byte, len(m.hash(nil)))
	}
	for _, e := range events {
		if e.Digest == nil {
			e.Digest = m.hash(e.Data)
		}
		if e.Type != 3 { // EV_NO_ACTION
			m.PCRs[int(e.PCR)] = m.hash(append(append([]byte{}, m.PCRs[int(e.PCR)]...), e.Digest...))
		}
		m.Log = append(m.Log, m.encode(e)...)
	}
}

func (m *Machine) hash(b []byte) []byte {
	if m.Bank == tpm2.TPMAlgSHA384 {
		d := sha512.Sum384(b)
		return d[:]
	}
	d := sha256.Sum256(b)
	return d[:]
}

func (m *Machine) header() []byte {
	spec := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0)
	spec = binary.LittleEndian.AppendUint16(spec, uint16(m.Bank))
	spec = binary.LittleEndian.AppendUint16(spec, uint16(len(m.hash(nil))))
	spec = append(spec, 0)
	b := make([]byte, 28, 64)
	b[4] = 3
	b = binary.LittleEndian.AppendUint32(b, uint32(len(spec)))
	return append(b, spec...)
}

func (m *Machine) encode(e Event) []byte {
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, e.PCR)
	b = binary.LittleEndian.AppendUint32(b, e.Type)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint16(b, uint16(m.Bank))
	b = append(b, e.Digest...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Data)))
	return append(b, e.Data...)
}
