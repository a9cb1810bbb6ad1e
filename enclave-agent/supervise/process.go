package supervise

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a reader, and the program once it has become it.
type process struct {
	pid      int
	control  *os.File // closed when it has its order
	folder   *folder  // of its files
	versions []string // that it has, nil before it said so
	told     string   // doExec, doWrite, doNothing
}

const doNothing = "nothing"

// heard is what a reader said, or that it ended without a word.
type heard struct {
	from *process
	report
	err error
}

// start starts a reader and listens to it. It is this same program, from the file that
// runs, whatever stands under its name now. What it inherits of the supervisor is its
// control socket and the folder; everything else is closed on exec.
func (s *supervisor) start() error {
	f, err := s.folderOfNext()
	if err != nil {
		return err
	}
	ours, theirs, err := controlPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	attr := &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2, theirs.Fd()},
		Sys: &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM, Setpgid: !s.shared},
	}
	if f != nil {
		attr.Files = append(attr.Files, uintptr(f.fd))
		if f.private {
			attr.Sys.Cloneflags = unix.CLONE_NEWNS
		}
	}
	pid, err := syscall.ForkExec("/proc/self/exe", s.Reader, attr)
	if err != nil {
		return errors.Join(fmt.Errorf("start a reader: %w", err), ours.Close())
	}
	p := &process{pid: pid, control: ours, folder: f}
	s.next = p
	go func() {
		h := heard{from: p}
		h.err = hear(ours, &h.report)
		s.heard <- h
	}()
	return nil
}

// folderOfNext is where the next reader writes: into a file system of its own, unless
// there is one folder for all or it only brings files to the program that runs.
func (s *supervisor) folderOfNext() (*folder, error) {
	switch {
	case !s.has(File):
		return nil, nil
	case s.current != nil && (s.Change == Signal || !s.current.folder.private):
		return s.current.folder, nil
	}
	f, err := newFolder(s.Dir, makeFolder)
	if err != nil || f.private {
		return f, err
	}
	for _, secret := range s.Secrets {
		var st unix.Stat_t
		if err := unix.Fstatat(f.fd, secret.Name, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) && secret.Form == File {
			return nil, errors.Join(fmt.Errorf("%s/%s exists: it is not overwritten", s.Dir, secret.Name), unix.Close(f.fd))
		}
	}
	return f, nil
}

// order tells a reader what to do with what it has.
func (s *supervisor) order(p *process, do string) error {
	p.told = do
	if do == doNothing {
		return p.control.Close()
	}
	o := order{Do: do, Attach: do == doExec && p.folder != nil && p.folder.private, Replace: s.current != nil}
	return errors.Join(tell(p.control, o), p.control.Close())
}

// dispose gives back what a process had of the supervisor when it has ended.
func (s *supervisor) dispose(p *process) error {
	err := p.control.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if p.folder != nil && p.folder.private && (s.current == nil || p == s.current || p.folder != s.current.folder) {
		err = errors.Join(err, p.folder.close(nil))
	}
	return err
}
