package agent

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Harden keeps key material inside this process: no core dump, no look into its
// memory by others of the same user (ptrace, /proc/PID/mem), and pages that stay
// out of swap where there is the right to lock them; [Swap.Check] wants them to.
func Harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turn core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("protect memory from others: %w", err)
	}
	_ = lockMemory() // as root and as a service; swap that is not encrypted is asked about elsewhere
	return nil
}
