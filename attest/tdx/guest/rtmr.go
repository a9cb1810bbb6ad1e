package guest

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// DefaultMeasurements is where the kernel shows the registers of a TD (Linux 6.16,
// Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest).
const DefaultMeasurements = "/sys/devices/virtual/misc/tdx_guest/measurements"

// ErrNoRTMR says that the kernel lets nobody extend this register.
var ErrNoRTMR = errors.New("no RTMR that the kernel shows")

// Extend extends RTMR n, 0 to 3, below dir with the SHA-384 of event, as an event log
// would count it. Errors wrap [ErrNoRTMR] where there is no such register.
func Extend(dir string, n int, event []byte) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("rtmr%d:sha384", n)), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w; it is there on TDX, with Linux 6.16 or later", ErrNoRTMR, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	digest := sha512.Sum384(event)
	_, err = f.Write(digest[:]) // whole and at once: the kernel extends by each write
	return err
}
