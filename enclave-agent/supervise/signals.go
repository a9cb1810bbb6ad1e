package supervise

import (
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSignal is the last real-time signal of Linux.
const maxSignal = 64

// kept are the signals that are not passed on.
func kept(s syscall.Signal) bool {
	switch s {
	case unix.SIGKILL, unix.SIGSTOP: // nobody sees them
	case unix.SIGCHLD, unix.SIGURG, unix.SIGPROF, 32, 33, 34: // the supervisor's own, and those of its runtimes
	case unix.SIGPIPE: // of a notice that nobody reads
	case unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU: // a terminal stops the program as well
	case unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSYS: // mistakes of the supervisor
	default:
		return false
	}
	return true
}

// catch has every signal that is passed on delivered to c. SIGPIPE comes along, so that
// a closed stderr does not end the supervisor.
func catch(c chan<- os.Signal) {
	list := []os.Signal{unix.SIGPIPE}
	for s := syscall.Signal(1); s <= maxSignal; s++ {
		if !kept(s) && !signal.Ignored(s) { // as nohup left it
			list = append(list, s)
		}
	}
	signal.Notify(c, list...)
}

// byTerminal are the signals that a terminal sends to all processes in its foreground.
func byTerminal(s syscall.Signal) bool {
	return slices.Contains([]syscall.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGWINCH}, s)
}

// foreground says whether this process group has the terminal.
func foreground() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// EndAs gives the exit code of a program that ended so. A program that was ended by one
// of the usual signals makes this process end by the same, so that a service manager sees
// what it would see of the program itself; not as PID 1, which no such signal ends, and
// not for signals that would make a core: 128 and the signal then.
func EndAs(ws syscall.WaitStatus) int {
	if !ws.Signaled() {
		return ws.ExitStatus()
	}
	s := ws.Signal()
	if usual := []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGKILL}; slices.Contains(usual, s) && os.Getpid() != 1 && !signal.Ignored(s) {
		signal.Reset(s)
		runtime.LockOSThread() // to this thread, so that it does not return
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), s)
	}
	return 128 + int(s)
}
