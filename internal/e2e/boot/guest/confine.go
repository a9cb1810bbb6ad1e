package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// confinement is what the kernel says of a unit's process. What /proc has of a process
// that cannot be dumped is root's.
func confinement(unit string) string {
	pid := command("systemctl", "show", "--property=MainPID", "--value", unit)
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return err.Error()
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(status)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			fields[key] = strings.Join(strings.Fields(value), " ")
		}
	}
	limits, err := os.ReadFile(filepath.Join("/proc", pid, "limits"))
	if err != nil {
		return err.Error()
	}
	core := ""
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			core = strings.Join(strings.Fields(rest), " ")
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join("/proc", pid, "status"), &st); err != nil {
		return err.Error()
	}
	swap, err := os.ReadFile("/sys/fs/cgroup/system.slice/" + unit + "/memory.swap.max")
	if err != nil {
		return err.Error()
	}
	uid, _, _ := strings.Cut(fields["Uid"], " ")
	return fmt.Sprintf("user %s, NoNewPrivs %s, Seccomp %s, CapBnd %s, CapPrm %s, core %q, dumpable %t, swap.max %s, swapped %s, locked %t",
		name(number(uid)), fields["NoNewPrivs"], fields["Seccomp"], fields["CapBnd"], fields["CapPrm"], core, st.Uid != 0,
		strings.TrimSpace(string(swap)), fields["VmSwap"], fields["VmLck"] != "0 kB")
}
