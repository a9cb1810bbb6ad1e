package supervise

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// supervisor is the state of Run, which is one goroutine.
type supervisor struct {
	*Config
	shared  bool     // a terminal sends its signals to the program too
	current *process // the program; nil before it runs
	next    *process // the reader; nil when there is none
	heard   chan heard

	look     *time.Timer // for new versions
	failures int         // looks in a row that failed
	ending   bool        // the program was told to end for a new version: no look until it has
	deadline *time.Timer // of a program that is ending
	leaving  bool        // somebody else wants the program to end while it restarts
}

// Run runs the program until it ends, and gives its end. A reader that fails before the
// program runs ends it too: it has said why and its exit code is what is given. Errors
// are [agent.ErrConfig], *[NotRun], and what the kernel refuses.
//
// It waits for every child of this process, also those that it inherits as PID 1.
func Run(c *Config) (syscall.WaitStatus, error) {
	if err := c.Check(); err != nil {
		return 0, err
	}
	if _, err := exec.LookPath(c.Command[0]); err != nil {
		return 0, &NotRun{err}
	}
	// The program gets SIGTERM when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals, children := make(chan os.Signal, 64), make(chan os.Signal, 1)
	catch(signals)
	defer signal.Stop(signals)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	s := &supervisor{Config: c, shared: foreground(), heard: make(chan heard, 1), look: stopped(), deadline: stopped()}
	if err := s.start(); err != nil {
		return 0, err
	}
	ws, err := s.loop(signals, children)
	return ws, errors.Join(err, s.clean())
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

func (s *supervisor) loop(signals, children <-chan os.Signal) (syscall.WaitStatus, error) {
	for {
		var err error
		select {
		case sig := <-signals:
			if sig, ok := sig.(syscall.Signal); ok {
				s.pass(sig)
			}
		case <-children:
			ws, over, rerr := s.reap()
			if over {
				return ws, rerr
			}
			err = rerr
		case h := <-s.heard:
			err = s.decide(h)
		case <-s.look.C:
			if err := s.again(); err != nil {
				s.failed(err.Error())
			}
		case <-s.deadline.C:
			s.Notice(fmt.Sprintf("the program has not ended %s after SIGTERM: it is killed", s.Stop))
			err = unix.Kill(s.current.pid, unix.SIGKILL)
		}
		if err != nil {
			return 0, err
		}
	}
}

// pass passes a signal on: to the program, or to the reader that will be it. What a
// terminal has sent to both is not sent twice.
func (s *supervisor) pass(sig syscall.Signal) {
	if sig == unix.SIGPIPE {
		return
	}
	if s.ending && slices.Contains([]syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGQUIT}, sig) {
		s.leaving = true
	}
	to := s.current
	if to == nil {
		to = s.next
	}
	if to == nil || s.shared && byTerminal(sig) && foreground() {
		return
	}
	_ = unix.Kill(to.pid, sig) // not waited for yet, so the id is still its own; a setuid program may refuse
}

// reap waits for all that have ended. over says that the program has, for good.
func (s *supervisor) reap() (ws syscall.WaitStatus, over bool, err error) {
	for {
		pid, werr := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		switch {
		case errors.Is(werr, unix.EINTR):
			continue
		case werr != nil || pid <= 0:
			return ws, false, err
		case s.current != nil && pid == s.current.pid:
			over, err = s.programEnded()
		case s.next != nil && pid == s.next.pid:
			over, err = s.readerEnded(ws)
		}
		if over || err != nil {
			return ws, over, err
		}
	}
}

// programEnded starts the program anew when that is why it ended. over: it is not.
func (s *supervisor) programEnded() (over bool, err error) {
	s.deadline.Stop()
	if !s.ending || s.Change != Restart || s.leaving {
		return true, nil
	}
	s.ending = false
	if s.next == nil { // its successor has died before it
		err := s.current.folder.close(s.Secrets) // or its files would be in the way of the next
		s.current = nil
		return false, errors.Join(err, s.again())
	}
	return false, s.promote()
}

// again starts another reader.
func (s *supervisor) again() error {
	if s.Fit != nil {
		if err := s.Fit(); err != nil {
			return err
		}
	}
	return s.start()
}

// promote makes the reader the program.
func (s *supervisor) promote() error {
	old := s.current
	err := s.order(s.next, doExec)
	s.current, s.next = s.next, nil
	if old != nil {
		err = errors.Join(err, s.dispose(old))
	}
	s.schedule()
	return err
}

// decide judges what a reader has read.
func (s *supervisor) decide(h heard) error {
	if h.from != s.next || h.err != nil { // it ends, or has ended: reap sees why
		return nil
	}
	s.next.versions = h.Versions
	if s.current == nil {
		return s.promote()
	}
	if slices.Equal(h.Versions, s.current.versions) {
		return s.order(s.next, doNothing)
	}
	s.Notice("a new version of " + s.changed() + ": " + map[Change]string{
		Restart: "the program is restarted", Exit: "the program is ended", Signal: "its files are replaced",
	}[s.Change])
	if s.Change == Signal {
		return s.order(s.next, doWrite)
	}
	var err error
	if s.Change == Exit {
		err = s.order(s.next, doNothing)
	}
	s.ending = true
	s.deadline.Reset(s.Stop)
	return errors.Join(err, unix.Kill(s.current.pid, unix.SIGTERM))
}

// changed names the secrets that have a new version.
func (s *supervisor) changed() string {
	var names []string
	for i, secret := range s.Secrets {
		if i >= len(s.next.versions) || i >= len(s.current.versions) || s.next.versions[i] != s.current.versions[i] {
			names = append(names, secret.Name)
		}
	}
	return strings.Join(names, ", ")
}

// readerEnded takes note of a reader that did not become the program. over: there is no
// program, and there will be none.
func (s *supervisor) readerEnded(ws syscall.WaitStatus) (over bool, err error) {
	r := s.next
	s.next = nil
	if err := s.dispose(r); err != nil {
		return false, err
	}
	switch {
	case s.current == nil:
		return true, nil
	case s.ending: // another look would tell the program to end again, and never have it killed
		return false, nil
	case ws.ExitStatus() != 0 || r.told == "":
		s.failed(fmt.Sprintf("the reader ended with exit code %d", ws.ExitStatus()))
		return false, nil
	case r.told == doWrite:
		s.current.versions = r.versions
		err = unix.Kill(s.current.pid, s.Signal)
	}
	s.failures = 0
	s.schedule()
	return false, err
}

// failed says that a look was in vain. The program keeps what it has.
func (s *supervisor) failed(why string) {
	s.failures++
	s.Notice(fmt.Sprintf("looking for new versions failed (%s): the program keeps the secrets that it has; next look in %s", why, s.schedule().Round(time.Second)))
}

// slowest is how far looks that fail move apart, when they were not further apart before.
const slowest = time.Hour

// schedule sets the next look, a tenth sooner or later, so that machines that began
// together do not ask together.
func (s *supervisor) schedule() time.Duration {
	if s.Watch == 0 {
		return 0
	}
	pause := max(s.Watch, min(s.Watch<<min(s.failures, 8), slowest)) // Watch also where the shift overflows
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	spread := uint64(pause / 5)
	pause += time.Duration(binary.BigEndian.Uint64(b[:])%(spread+1)) - pause/10
	s.look.Reset(pause)
	return pause
}

// clean ends a reader that is left and removes the files of a folder that stays.
func (s *supervisor) clean() error {
	var err error
	if s.next != nil {
		err = errors.Join(unix.Kill(s.next.pid, unix.SIGKILL), s.dispose(s.next))
	}
	if s.current != nil {
		err = errors.Join(err, s.current.folder.close(s.Secrets))
	}
	return err
}
