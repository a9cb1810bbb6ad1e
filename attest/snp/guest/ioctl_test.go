package guest

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"
)

// host answers ioctls as linux/uapi/linux/sev-guest.h lays them out.
type host struct {
	table    []byte
	ext      error // of an extended request
	vmm      uint32
	plain    error
	status   uint32
	size     uint32
	asked    []uintptr
	lastVMPL uint32
}

func (h *host) call(_, cmd uintptr, r *request) error {
	h.asked = append(h.asked, cmd)
	req := (*extRequest)(pointer(r.req))
	h.lastVMPL = req.vmpl
	if cmd == ioctlGetExtReport {
		if h.ext != nil {
			r.vmm = h.vmm
			return h.ext
		}
		copy(unsafe.Slice((*byte)(pointer(req.certs)), req.certsLen), h.table)
	} else if h.plain != nil {
		return h.plain
	}
	resp := unsafe.Slice((*byte)(pointer(r.resp)), responseSize)
	binary.LittleEndian.PutUint32(resp, h.status)
	binary.LittleEndian.PutUint32(resp[4:], h.size)
	copy(resp[responseHeader+0x50:], req.userData[:])
	return nil
}

// pointer undoes what the kernel's interface does to a pinned address.
func pointer(addr uint64) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

func newIoctl(t *testing.T, h *host) *Device {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sev-guest")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Options{TSM: filepath.Join(t.TempDir(), "none"), Path: name, VMPL: 1})
	if err != nil {
		t.Fatal(err)
	}
	d.src.(*ioctl).call = h.call
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestLayout(t *testing.T) {
	if s := []uintptr{unsafe.Sizeof(request{}), unsafe.Sizeof(reportRequest{}), unsafe.Sizeof(extRequest{})}; s[0] != 32 || s[1] != 96 || s[2] != 112 {
		t.Errorf("sizes %v", s)
	}
	if o := unsafe.Offsetof(request{}.firmware); o != 24 {
		t.Errorf("error codes at %d", o)
	}
}

func TestIoctl(t *testing.T) {
	table := make([]byte, 50)
	table[0], table[16], table[20] = 1, 48, 2
	for name, c := range map[string]struct {
		host  host
		calls int
		table int
		ok    bool
	}{
		"with a table":        {host{table: table, size: reportSize}, 1, 50, true},
		"without":             {host{size: reportSize}, 1, 0, true},
		"no extended request": {host{ext: syscall.ENOTTY, size: reportSize}, 2, 0, true},
		"table too large":     {host{ext: syscall.EIO, vmm: vmmInvalidLen, size: reportSize}, 2, 0, true},
		"neither":             {host{ext: syscall.EIO, plain: syscall.EIO}, 2, 0, false},
		"status":              {host{status: 0x16, size: reportSize}, 2, 0, false},
		"size":                {host{size: 4000}, 2, 0, false},
	} {
		d := newIoctl(t, &c.host)
		report, got, err := d.Report(t.Context(), [64]byte{7})
		if (err == nil) != c.ok || len(got) != c.table || len(c.host.asked) != c.calls || c.host.lastVMPL != 1 {
			t.Errorf("%s: table of %d bytes, %d calls, %v", name, len(got), len(c.host.asked), err)
		}
		if err == nil && (len(report) != reportSize || report[0x50] != 7) {
			t.Errorf("%s: report of %d bytes", name, len(report))
		}
	}
}

func TestIoctlBusy(t *testing.T) {
	h := &host{ext: syscall.EIO, vmm: vmmBusy, size: reportSize}
	d := newIoctl(t, h)
	if _, _, err := d.src.report([64]byte{}, 0); !busy(err) || len(h.asked) != 1 {
		t.Errorf("%v after %d calls", err, len(h.asked))
	}
	if _, _, err := d.src.report([64]byte{}, 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func FuzzTrim(f *testing.F) {
	f.Add(make([]byte, 4096))
	f.Add(append(append(make([]byte, 16), 48, 0, 0, 0, 2, 0, 0, 0), make([]byte, 26)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := trim(b)
		if err == nil && len(got) > min(len(b), maxTable) {
			t.Errorf("%d bytes of %d", len(got), len(b))
		}
	})
}
