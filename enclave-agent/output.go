package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile writes key material to a new file that only its owner reads. It never
// follows a link, never overwrites, and refuses a folder in which anybody may
// rename files. On an error no file is left.
func WriteFile(path string, material []byte) (err error) {
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(material)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// CheckFile says whether [WriteFile] would write there.
func CheckFile(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists: it is not overwritten", path)
	}
	return checkFolder(filepath.Dir(path))
}

// checkFolder refuses a folder where another user could exchange the file.
func checkFolder(dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if fi.Mode().Perm()&0o002 != 0 && fi.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("%s is writable by everybody: keys are not written there", dir)
	}
	return nil
}

// WriteFD writes key material to an open file descriptor, never to a terminal.
func WriteFD(fd int, material []byte) error {
	if fd < 0 {
		return fmt.Errorf("%w: file descriptor %d", ErrConfig, fd)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return fmt.Errorf("%w: file descriptor %d is not open", ErrConfig, fd)
	}
	if terminal(fd) {
		return fmt.Errorf("%w: file descriptor %d is a terminal: keys are not shown", ErrConfig, fd)
	}
	for len(material) > 0 {
		n, err := unix.Write(fd, material)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return fmt.Errorf("file descriptor %d: %w", fd, err)
		}
		if n == 0 {
			return fmt.Errorf("file descriptor %d: %w", fd, io.ErrShortWrite)
		}
		material = material[n:]
	}
	return nil
}

func terminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}
