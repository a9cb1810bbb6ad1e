// Command guest is what a test machine runs once its root is there: alone as
// /sbin/init of a small root, or as a service of a whole Debian. It says on the
// console how the machine came up, puts the units of openskr-workload to work where there
// are any, asks for the key of its disk a second time, and powers off. By other names it
// is the programs that those units serve and start.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Lines that the test looks for begin with it.
const prefix = "e2e: "

// patience bounds the second request: the network may just be coming up.
const patience = "60s"

func main() {
	if played() {
		return
	}
	if os.Getpid() == 1 {
		mountAll()
	}
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		console = os.Stdout
	}
	say := func(format string, args ...any) { fmt.Fprintf(console, prefix+format+"\n", args...) }
	secret, err := os.ReadFile("/etc/openskr/secret")
	say("root is open: %s %v", strings.TrimSpace(string(secret)), err)
	pcr, err := os.ReadFile("/sys/class/tpm/tpm0/pcr-sha256/15")
	say("pcr15 %s %v", strings.TrimSpace(string(pcr)), err)
	if _, err := os.Stat("/run/credentials/@system"); errors.Is(err, fs.ErrNotExist) {
		say("credentials: none") // that systemd took from outside
	}
	if disk, err := os.ReadFile("/etc/openskr/key"); err == nil {
		units(say)
		again(say, strings.TrimSpace(string(disk)))
		beside(say, strings.TrimSpace(string(disk)))
	}
	journal(say)
	say("off")
	syscall.Sync()
	_ = unix.IoctlSetInt(int(console.Fd()), unix.TCSBRK, 1) // tcdrain: the console is slower than power
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

// again asks for the key of the disk as whoever took over the running system would.
func again(say func(string, ...any), url string) {
	out, err := exec.Command("/usr/bin/openskr-agent", "key", "get", url, "--out", "/run/again", "--timeout", patience).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		say("again: %s", strings.TrimSpace(line))
	}
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		say("again: %v", err)
		code = -1
	}
	_, err = os.Stat("/run/again")
	say("again: exit %d, key %t", code, err == nil)
}

// beside asks for the key as a user who may not lock memory, with swap on the root, which
// is encrypted. There is no TPM for him either.
func beside(say func(string, ...any), url string) {
	if _, err := os.Stat("/sbin/mkswap"); err != nil {
		return // a small root
	}
	for _, step := range []func() error{
		func() error { return os.WriteFile("/swap", make([]byte, 1<<20), 0o600) },
		exec.Command("/sbin/mkswap", "/swap").Run,
		exec.Command("/sbin/swapon", "/swap").Run,
		func() error { return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{}) },
	} {
		if err := step(); err != nil {
			say("swap: %v", err)
			return
		}
	}
	cmd := exec.Command("/usr/bin/openskr-agent", "key", "get", url, "--fd", "1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	say("swap on the root: exit %d: %s %v", cmd.ProcessState.ExitCode(), strings.TrimSpace(string(out)), err)
}

// journal copies all files of the journal to a disk that the test gives for it.
func journal(say func(string, ...any)) {
	out, err := os.OpenFile("/dev/nvme0n1", os.O_WRONLY, 0)
	if err != nil {
		return // of a boot that is not looked at
	}
	defer out.Close()
	for _, pattern := range []string{"/run/log/journal/*/*.journal", "/var/log/journal/*/*.journal"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err == nil {
				_, err = out.Write(b)
			}
			say("journal: %s, %d bytes %v", f, len(b), err)
		}
	}
}

// mountAll makes what an init makes first; what is there already stays.
func mountAll() {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"securityfs", "/sys/kernel/security"},
	} {
		if err := syscall.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
			fmt.Println(prefix+"mount", m.at, err)
		}
	}
}
