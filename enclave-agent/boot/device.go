package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// devicePoll is how often a device that is not there yet is looked for.
const devicePoll = 200 * time.Millisecond

// waitFor opens a block device, or a file that holds a disk, for reading when it
// appears.
func waitFor(ctx context.Context, path string) (*os.File, error) {
	tick := time.NewTicker(devicePoll)
	defer tick.Stop()
	for {
		f, err := openDisk(path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENXIO) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s did not appear: %w; does the initrd have its driver?", path, ctx.Err())
		case <-tick.C:
		}
	}
}

func openDisk(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO would wait
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() && fi.Mode()&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice {
		err = fmt.Errorf("%s is no block device", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sealed copies b into memory that nobody can change any more, this program included,
// and that another program can open.
func sealed(b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("luks2-header", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memory for the header: %w", err)
	}
	f := os.NewFile(uintptr(fd), "luks2-header")
	_, err = f.Write(b)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("memory for the header: %w", err), f.Close())
	}
	return f, nil
}
