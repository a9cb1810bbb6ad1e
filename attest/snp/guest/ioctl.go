package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// DefaultDevice is where the kernel shows the guest's secure processor.
const DefaultDevice = "/dev/sev-guest"

// Numbers and sizes of linux/uapi/linux/sev-guest.h.
const (
	ioctlGetReport    = 0xc0205300 // _IOWR('S', 0, struct snp_guest_request_ioctl)
	ioctlGetExtReport = 0xc0205302

	messageVersion  = 1
	responseSize    = 4000
	responseHeader  = 32 // status, report size, reserved
	vmmInvalidLen   = 1  // the host's table is larger than the buffer
	vmmBusy         = 2
	firmwareNoError = 0
)

// request is struct snp_guest_request_ioctl.
type request struct {
	version  uint8
	_        [7]byte
	req      uint64
	resp     uint64
	firmware uint32 // error codes
	vmm      uint32
}

// reportRequest is struct snp_report_req.
type reportRequest struct {
	userData [64]byte
	vmpl     uint32
	_        [28]byte
}

// extRequest is struct snp_ext_report_req.
type extRequest struct {
	reportRequest
	certs    uint64
	certsLen uint32
	_        [4]byte
}

// ioctl makes reports through the device. call is the system call; tests stand in
// for it.
type ioctl struct {
	file *os.File
	call func(fd, cmd uintptr, r *request) error
}

func openIoctl(o Options) (source, error) {
	name := o.Path
	if name == "" {
		name = DefaultDevice
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is not there: the machine is no SEV-SNP guest, or the module sev-guest is not loaded", name)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s belongs to another user: run as root or give this one access by a udev rule: %w", name, err)
	case err != nil:
		return nil, err
	}
	return &ioctl{file: f, call: systemCall}, nil
}

func systemCall(fd, cmd uintptr, r *request) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, cmd, uintptr(unsafe.Pointer(r))); errno != 0 {
		return errno
	}
	return nil
}

func (d *ioctl) Close() error { return d.file.Close() }

// report asks for the certificate table too, and goes without where the host has none
// to give.
func (d *ioctl) report(reportData [64]byte, vmpl uint32) (report, table []byte, err error) {
	table = make([]byte, maxTable)
	ext := &extRequest{reportRequest: reportRequest{userData: reportData, vmpl: vmpl}, certsLen: maxTable}
	var pin runtime.Pinner // the kernel gets addresses as numbers
	defer pin.Unpin()
	pin.Pin(ext)
	pin.Pin(&table[0])
	ext.certs = uint64(uintptr(unsafe.Pointer(&table[0])))
	report, err = d.exchange(ioctlGetExtReport, unsafe.Pointer(ext))
	if err == nil || busy(err) {
		return report, table, err
	}
	report, plain := d.exchange(ioctlGetReport, unsafe.Pointer(&ext.reportRequest))
	if plain != nil {
		return nil, nil, errors.Join(plain, err)
	}
	return report, nil, nil
}

// exchange sends one message. The caller has pinned what req points to.
func (d *ioctl) exchange(cmd uintptr, req unsafe.Pointer) ([]byte, error) {
	resp := make([]byte, responseSize)
	r := &request{version: messageVersion, req: uint64(uintptr(req))}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(r)
	pin.Pin(&resp[0])
	r.resp = uint64(uintptr(unsafe.Pointer(&resp[0])))
	err := d.call(d.file.Fd(), cmd, r)
	switch {
	case err != nil && r.vmm == vmmBusy:
		return nil, fmt.Errorf("%w: %w", syscall.EBUSY, err)
	case err != nil && r.vmm == vmmInvalidLen:
		return nil, fmt.Errorf("the host's certificate table is larger than %d bytes: %w", maxTable, err)
	case err != nil:
		return nil, fmt.Errorf("firmware error %#x, host error %#x: %w", r.firmware, r.vmm, err)
	}
	status, size := binary.LittleEndian.Uint32(resp), binary.LittleEndian.Uint32(resp[4:])
	if status != firmwareNoError || size != reportSize {
		return nil, fmt.Errorf("status %#x, report of %d bytes", status, size)
	}
	return resp[responseHeader : responseHeader+reportSize], nil
}
