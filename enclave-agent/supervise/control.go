package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// File descriptors of a reader.
const (
	controlFD = 3
	folderFD  = 4 // when there are files
)

// maxMessage bounds what supervisor and reader say to each other, in bytes.
const maxMessage = 64 << 10

// report is what a reader says when it has all secrets.
type report struct {
	Versions []string `json:"versions"` // in the order of Config.Secrets
}

// order is what a reader is told to do with them. None (the supervisor closed its end):
// nothing.
type order struct {
	Do      string `json:"do"`      // "exec" or "write"
	Attach  bool   `json:"attach"`  // the folder is private: mount it
	Replace bool   `json:"replace"` // files that are there are the supervisor's own
}

const (
	doExec  = "exec"
	doWrite = "write"
)

// controlPair makes the two ends of a reader's control socket.
func controlPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket to the reader: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "reader"), os.NewFile(uintptr(fds[1]), "supervisor"), nil
}

// errNoSupervisor says that this process was not started by a supervisor.
var errNoSupervisor = errors.New("this is a part of openskr-workload run and is started by it")

// inherited opens the control socket of a reader.
func inherited() (*os.File, error) {
	if kind, err := unix.GetsockoptInt(controlFD, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, errNoSupervisor
	}
	unix.CloseOnExec(controlFD)
	return os.NewFile(controlFD, "supervisor"), nil
}

// tell sends one message.
func tell(f *os.File, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return err
}

// hear takes one message; io.EOF when the other side has closed its end.
func hear(f *os.File, v any) error {
	b := make([]byte, maxMessage)
	n, err := f.Read(b)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b[:n], v)
}
