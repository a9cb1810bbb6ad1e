package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Swap says how a program that holds keys takes swap that is not encrypted.
type Swap struct {
	Allowed bool // go on all the same, with a notice
	// Children: what this program starts holds keys as well. Locked pages are those of
	// one process; only a cgroup without swap covers others.
	Children bool
	Notice   func(string)
}

// Check wants that nothing this program comes to hold can be read from a disk later: that
// there is no swap, or only such that is encrypted or never leaves memory; or that this
// cgroup may not swap; or that all memory of this process is locked. Whatever it cannot
// tell is swap that is not encrypted. Errors wrap [ErrConfig].
func (s Swap) Check() error {
	return s.check("/proc", "/sys", swapTotal, lockMemory)
}

func (s Swap) check(proc, sys string, total func() (uint64, error), lock func() error) error {
	if n, err := total(); err == nil && n == 0 {
		return nil
	}
	exposed := exposedSwap(proc, sys)
	if len(exposed) == 0 || unswappedCgroup(proc, sys) {
		return nil
	}
	why, lockable := "what COMMAND holds cannot be locked into memory", ""
	if !s.Children {
		err := lock()
		if err == nil {
			return nil
		}
		why, lockable = err.Error(), "let this program lock its memory (root, LimitMEMLOCK=infinity), "
	}
	text := fmt.Sprintf("keys could reach a disk in plain: swap %s is not encrypted, as far as this program can tell, and %s", strings.Join(exposed, ", "), why)
	if s.Allowed {
		s.Notice(text + "; --allow-swap takes the risk")
		return nil
	}
	return fmt.Errorf("%w: %s. Encrypt it (crypttab: swap DEVICE /dev/urandom swap), turn it off (swapoff), "+
		"give this program a cgroup without swap (MemorySwapMax=0), %sor take the risk with --allow-swap", ErrConfig, text, lockable)
}

// swapTotal is how much swap there is, in units of the kernel's. It needs no /proc, which
// a unit may hide.
func swapTotal() (uint64, error) {
	var info unix.Sysinfo_t
	err := unix.Sysinfo(&info)
	return uint64(info.Totalswap), err
}

// lockMemory locks all that this process has and will have. A limit that it may run into
// later is none to rely on: memory that does not fit ends a Go program.
func lockMemory() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("limit of locked memory: %w", err)
	}
	if limit.Cur != unix.RLIM_INFINITY && !mayLock() {
		return fmt.Errorf("memory cannot be locked (at most %d bytes of it)", limit.Cur)
	}
	// On fault: without it every page that Go has reserved would be made real.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("memory cannot be locked: %w", err)
	}
	return nil
}

// mayLock says whether this process has CAP_IPC_LOCK, to which no limit applies.
func mayLock() bool {
	var caps [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0])
	return err == nil && caps[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}

const maxSwaps = 64 << 10

// exposedSwap lists the swap that is not known to be unreadable on a disk.
func exposedSwap(proc, sys string) (exposed []string) {
	b, err := ReadBounded(filepath.Join(proc, "swaps"), maxSwaps)
	if err != nil {
		return []string{"of unknown devices (" + err.Error() + ")"}
	}
	areas, err := parseSwaps(b)
	if err != nil {
		return []string{"of unknown devices (" + err.Error() + ")"}
	}
	for _, a := range areas {
		if !a.unreadable(sys) {
			exposed = append(exposed, a.path)
		}
	}
	return exposed
}

// swapArea is a line of /proc/swaps.
type swapArea struct {
	path string
	file bool // in a file system; else a block device
}

// parseSwaps reads proc_swaps(5). It wants a line at least: it is asked when there is swap.
func parseSwaps(b []byte) (areas []swapArea, err error) {
	if len(b) > maxSwaps {
		return nil, errors.New("/proc/swaps is too long")
	}
	head, rest, _ := bytes.Cut(b, []byte("\n"))
	if !bytes.HasPrefix(head, []byte("Filename")) || len(bytes.TrimSpace(rest)) == 0 {
		return nil, errors.New("/proc/swaps lists none")
	}
	for line := range bytes.Lines(rest) {
		f := strings.Fields(string(line))
		if len(f) != 5 || f[1] != "partition" && f[1] != "file" || !strings.HasPrefix(f[0], "/") {
			return nil, errors.New("/proc/swaps has another form than is known")
		}
		areas = append(areas, swapArea{path: unescape(f[0]), file: f[1] == "file"})
	}
	return areas, nil
}

// unescape undoes \040 for a blank, as the kernel writes paths in its lists.
func unescape(s string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		out.WriteString(before)
		if !found {
			return out.String()
		}
		const digits = 3
		if len(after) >= digits {
			if n, err := strconv.ParseUint(after[:digits], 8, 8); err == nil {
				out.WriteByte(byte(n))
				after = after[digits:]
			}
		}
		s = after
	}
}

// unreadable says whether what is swapped to this area is encrypted on its way, or stays
// in memory.
func (a swapArea) unreadable(sys string) bool {
	if !a.file {
		name := strings.ReplaceAll(strings.TrimPrefix(a.path, "/dev/"), "/", "!") // as sysfs writes it
		return sealedDevice(filepath.Join(sys, "class/block", name), maxStack)
	}
	dev, err := deviceOf(a.path)
	return err == nil && sealedDevice(filepath.Join(sys, "dev/block", dev), maxStack)
}

// deviceOf is the number of the device that a file is on; that of a file system on several
// devices is of none of them. A file of another root folder is not there.
func deviceOf(file string) (string, error) {
	var st unix.Stat_t
	err := unix.Stat(file, &st)
	return fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), err
}

// maxStack bounds how many devices may stand on one another.
const maxStack = 8

// crypts are the kinds of dm-crypt volume that cryptsetup makes; CRYPT-VERITY and
// CRYPT-INTEGRITY do not encrypt.
var crypts = []string{"CRYPT-PLAIN-", "CRYPT-LUKS1-", "CRYPT-LUKS2-"}

// sealedDevice says whether what is written to the block device that sysfs shows in dir
// is encrypted, here or in all devices below it, or is zram without a disk behind it.
func sealedDevice(dir string, depth int) bool {
	if id, err := os.ReadFile(filepath.Join(dir, "dm/uuid")); err == nil &&
		slices.ContainsFunc(crypts, func(c string) bool { return strings.HasPrefix(string(id), c) }) {
		return true
	}
	if _, err := os.Stat(filepath.Join(dir, "mm_stat")); err == nil { // zram alone has it
		behind, err := os.ReadFile(filepath.Join(dir, "backing_dev"))
		return errors.Is(err, os.ErrNotExist) || err == nil && string(bytes.TrimSpace(behind)) == "none"
	}
	below, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil || len(below) == 0 || depth == 0 {
		return false
	}
	return !slices.ContainsFunc(below, func(d os.DirEntry) bool {
		return !sealedDevice(filepath.Join(dir, "slaves", d.Name()), depth-1)
	})
}

// unswappedCgroup says whether this process is in a cgroup (of version 2) that may not
// swap, and with it what it starts and what both write to a tmpfs.
func unswappedCgroup(proc, sys string) bool {
	b, err := ReadBounded(filepath.Join(proc, "self/cgroup"), maxSwaps)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok || path.Clean(p) != p || !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "/..") {
			continue
		}
		for ; ; p = path.Dir(p) {
			limit, err := os.ReadFile(filepath.Join(sys, "fs/cgroup", p, "memory.swap.max"))
			if err == nil && string(bytes.TrimSpace(limit)) == "0" {
				return true
			}
			if p == "/" {
				break
			}
		}
	}
	return false
}
