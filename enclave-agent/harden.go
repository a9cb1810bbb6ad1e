package agent

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Harden keeps key material inside this process: no core dump, no look into its
// memory by others of the same user (ptrace, /proc/PID/mem), and pages that stay
// out of swap where the limit of locked memory allows. notice is told when they
// do not and there is swap.
func Harden(notice func(string)) error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turn core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("protect memory from others: %w", err)
	}
	// On fault: without it every page that Go has reserved would be made real.
	if unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT) != nil && swapping() {
		notice("memory cannot be locked and this machine swaps: keys could reach the disk; run as root or with LimitMEMLOCK=infinity")
	}
	return nil
}

// swapping says whether there is swap; the first line of the list is its heading.
func swapping() bool {
	b, err := os.ReadFile("/proc/swaps")
	return err == nil && bytes.Count(bytes.TrimSpace(b), []byte("\n")) > 0
}
