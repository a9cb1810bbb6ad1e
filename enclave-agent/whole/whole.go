// Package whole writes files that are there whole or not at all. While one is written it
// has no name, so that a program that is killed leaves nothing behind: what is decrypted
// would otherwise lie there in plain.
package whole

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// File is a file without a name, readable by its owner alone.
type File struct {
	*os.File
	named string // where the file system knows no files without one: its name until then
}

// Create makes a file in a folder.
func Create(dir string) (*File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err == nil {
		f := &File{File: os.NewFile(uintptr(fd), dir)}
		if _, err := os.Stat(f.link()); err == nil { // /proc is there, for Name
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	// NFS and some others. What is wrong with the folder shows here as well.
	f, err := os.CreateTemp(dir, ".openskr-*")
	if err != nil {
		return nil, err
	}
	return &File{File: f, named: f.Name()}, nil
}

func (f *File) link() string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// Name syncs the file, gives it a name in the same file system and closes it. A file or
// link that has the name stays what it is: the error then wraps fs.ErrExist.
func (f *File) Name(path string) error {
	err := f.Sync()
	if err == nil {
		err = f.give(path)
	}
	return errors.Join(err, f.Discard())
}

func (f *File) give(path string) error {
	if f.named != "" {
		return os.Link(f.named, path)
	}
	if err := unix.Linkat(unix.AT_FDCWD, f.link(), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: "a new file", New: path, Err: err}
	}
	return nil
}

// Discard closes the file, and without a name it is gone.
func (f *File) Discard() error {
	err := f.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	if f.named != "" {
		err = errors.Join(err, os.Remove(f.named))
	}
	return err
}
