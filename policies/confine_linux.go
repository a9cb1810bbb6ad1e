package policies

import (
	"fmt"
	"os/exec"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// confine limits this process for the rest of its life.
func confine() error {
	for _, l := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"data", unix.RLIMIT_DATA, childData},
		{"fsize", unix.RLIMIT_FSIZE, 0},
		{"core", unix.RLIMIT_CORE, 0},
		{"nofile", unix.RLIMIT_NOFILE, 16},
	} {
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("rlimit %s: %w", l.name, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	debug.SetMemoryLimit(childData * 3 / 4)
	debug.SetMaxStack(64 << 20)
	return nil
}

// limitCPU makes the kernel kill this process after so many seconds of CPU.
func limitCPU(seconds uint64) error {
	return unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: seconds, Max: seconds})
}

// cpuTime is what this process used so far.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// orphan makes the kernel kill the child when the thread that started it dies.
func orphan(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
