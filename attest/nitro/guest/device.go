package guest

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/openskr/openskr/attest/nitro/format"
)

// ioctlRaw is NSM_IOCTL_RAW: _IOWR(0x0a, 0, struct nsm_raw) (linux/uapi/linux/nsm.h).
const ioctlRaw = 0xc0200a00

// vector is struct nsm_iovec: where a message lies and how long it is.
type vector struct {
	addr, size uint64
}

// device is the kernel's driver, which gives up after seconds by itself: an ioctl
// under way does not end with its context.
type device struct {
	file *os.File
}

func (d *device) Close() error { return d.file.Close() }

func (d *device) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(request) == 0 || len(request) > format.MaxRequest {
		return nil, fmt.Errorf("request of %d bytes, limit %d", len(request), format.MaxRequest)
	}
	answer := make([]byte, format.MaxResponse)
	// The kernel sees addresses as numbers, so that nothing else keeps the buffers.
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&request[0])
	pin.Pin(&answer[0])
	raw := [2]vector{
		{uint64(uintptr(unsafe.Pointer(&request[0]))), uint64(len(request))},
		{uint64(uintptr(unsafe.Pointer(&answer[0]))), uint64(len(answer))},
	}
	conn, err := d.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, ioctlRaw, uintptr(unsafe.Pointer(&raw)))
	})
	if err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, fmt.Errorf("ioctl: %w", errno)
	}
	if raw[1].size > uint64(len(answer)) {
		return nil, fmt.Errorf("answer of %d bytes, limit %d", raw[1].size, len(answer))
	}
	return answer[:raw[1].size], nil
}
