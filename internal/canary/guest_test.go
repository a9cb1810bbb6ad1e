package canary_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alone runs these tests as the first program of a machine that has no other, and turns
// it off: what `make e2e-boot` starts for [TestSwap].
func alone(m *testing.M) {
	for _, f := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}, {"cgroup2", cgroups},
	} {
		err := os.MkdirAll(f.at, 0o755)
		if err == nil {
			err = unix.Mount(f.kind, f.at, f.kind, 0, "")
		}
		if err != nil {
			fmt.Println("mount", f.at, err)
		}
	}
	if err := loopback(); err != nil {
		fmt.Println("loopback:", err)
	}
	fmt.Println("\nalone: exit", m.Run())
	syscall.Sync()
	_ = unix.IoctlSetInt(int(os.Stdout.Fd()), unix.TCSBRK, 1) // tcdrain: the console is slower than power
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// loopback turns it on: nobody else does.
func loopback() error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(lo.Name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// swapOn makes a block device swap, as mkswap and swapon do.
func swapOn(device string) error {
	const page = 4096
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	head := make([]byte, page)
	binary.LittleEndian.PutUint32(head[1024:], 1) // version
	binary.LittleEndian.PutUint32(head[1028:], uint32(size/page-1))
	copy(head[page-10:], "SWAPSPACE2")
	if _, err := f.WriteAt(head, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	path, err := unix.BytePtrFromString(device)
	if err != nil {
		return err
	}
	if _, _, e := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0); e != 0 {
		return e
	}
	return nil
}
