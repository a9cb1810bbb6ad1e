package simulated

import "crypto/sha512"

// Event is an event of the log. Index counts as CCEL does: 1 to 4 are RTMR 0 to 3.
type Event struct {
	Index, Type uint32
	Data        []byte
}

// defaultEvents are a boot with shim, GRUB and a kernel, told in little.
func defaultEvents() []Event {
	return []Event{
		{1, 0x80000001, []byte("SecureBoot=1")}, // EV_EFI_VARIABLE_DRIVER_CONFIG
		{1, 0x00000004, []byte{0, 0, 0, 0}},     // EV_SEPARATOR
		{2, 0x80000003, []byte("shim")},         // EV_EFI_BOOT_SERVICES_APPLICATION
		{2, 0x00000004, []byte{0, 0, 0, 0}},
		{3, 0x0000000d, []byte("linux /vmlinuz ro")}, // EV_IPL
		{3, 0x0000000d, []byte("initrd /initrd")},
	}
}

// registers are RTMR 0 to 3 after the events.
func (td *TD) registers() (values [4][48]byte) {
	for _, e := range td.Events {
		if e.Index == 0 || e.Index > 4 {
			continue
		}
		v, digest := &values[e.Index-1], sha512.Sum384(e.Data)
		*v = sha512.Sum384(append(v[:], digest[:]...))
	}
	return values
}

// EventLog is the log in the format of CCEL, cut after its last event; nil without
// events.
func (td *TD) EventLog() []byte {
	if len(td.Events) == 0 {
		return nil
	}
	spec := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0c, 0, 48, 0, 0)
	b := le.AppendUint32(nil, 1)
	b = le.AppendUint32(b, 3)
	b = append(b, make([]byte, 20)...)
	b = append(le.AppendUint32(b, uint32(len(spec))), spec...)
	for _, e := range td.Events {
		digest := sha512.Sum384(e.Data)
		b = le.AppendUint32(le.AppendUint32(b, e.Index), e.Type)
		b = le.AppendUint16(le.AppendUint32(b, 1), 0x0c)
		b = append(b, digest[:]...)
		b = append(le.AppendUint32(b, uint32(len(e.Data))), e.Data...)
	}
	return b
}
