package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

// folderSize bounds the file system of the secrets, in the kernel's words: a secret has
// at most 25 KiB.
const folderSize = "8m"

// folder is where the files of a program are written.
type folder struct {
	fd   int
	path string // under which the program sees it
	// private is a file system of the program's own, which is in no mount namespace
	// until a reader puts it into the one that the program will have.
	private bool
}

// newFolder makes a file system in memory for one program, and the path to mount it on
// with at. Without the right to mount it takes the folder at path, when that is private and
// in memory already.
func newFolder(path string, at func(path string) error) (*folder, error) {
	fd, err := mount()
	if err == nil {
		if err := at(path); err != nil {
			return nil, errors.Join(fmt.Errorf("%w: folder for secrets: %w", agent.ErrConfig, err), unix.Close(fd))
		}
		return &folder{fd: fd, path: path, private: true}, nil
	}
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSYS) {
		return nil, fmt.Errorf("file system for secrets: %w", err)
	}
	if fd, err = existing(path); err != nil {
		return nil, fmt.Errorf("%w: no right to mount a file system for secrets, and %w; "+
			"name a folder of yours alone (0700) on a tmpfs, or hand them over as file descriptors", agent.ErrConfig, err)
	}
	return &folder{fd: fd, path: path}, nil
}

func makeFolder(path string) error { return os.MkdirAll(path, 0o700) }

// wouldMake says whether makeFolder could, and makes nothing.
func wouldMake(path string) error {
	for at := path; ; at = filepath.Dir(at) {
		fi, err := os.Stat(at)
		switch _, link := os.Lstat(at); {
		case errors.Is(err, fs.ErrNotExist) && link != nil:
			continue // up to the root
		case err != nil:
			return err
		case !fi.IsDir():
			return &fs.PathError{Op: "mkdir", Path: at, Err: unix.ENOTDIR}
		case at == path:
			return nil
		}
		if err := unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
			return &fs.PathError{Op: "mkdir in", Path: at, Err: err}
		}
		return nil
	}
}

// CheckRun looks at what Run needs beyond what [Config.Check] does: a place for files and a
// program. It changes nothing. Its error is all that is wrong; errors wrap
// [agent.ErrConfig] or are *[NotRun].
func (c *Config) CheckRun() error {
	var problems []error
	if c.has(File) {
		f, err := newFolder(c.Dir, wouldMake)
		if err == nil {
			err = unix.Close(f.fd)
		}
		problems = append(problems, err)
	}
	if _, err := exec.LookPath(c.Command[0]); err != nil {
		problems = append(problems, &NotRun{err})
	}
	return errors.Join(problems...)
}

// mount makes a tmpfs that is mounted nowhere, never swapped where the kernel can (6.4).
func mount() (_ int, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, unix.Close(fs)) }()
	for _, option := range [][2]string{{"mode", "0700"}, {"size", folderSize}} {
		if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return -1, fmt.Errorf("%s: %w", option[0], err)
		}
	}
	if err := unix.FsconfigSetFlag(fs, "noswap"); err != nil && !errors.Is(err, unix.EINVAL) {
		return -1, fmt.Errorf("noswap: %w", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}

// existing opens a folder that is in memory and nobody else's. What is judged is what
// is open, whatever the path names later.
func existing(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	if err := judge(fd, path); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func judge(fd int, path string) error {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &fs)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC:
		return fmt.Errorf("%s is not in memory (tmpfs)", path)
	case int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0:
		return fmt.Errorf("%s is open to others: want it owned by user %d, mode 0700", path, os.Geteuid())
	}
	return nil
}

// attach puts a private folder at its path, in the mount namespace of this process, of
// which nothing gets out.
func (f *folder) attach() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := unix.MoveMount(f.fd, "", unix.AT_FDCWD, f.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s: %w", f.path, err)
	}
	return nil
}

// write makes a file, mode 0400, that is there whole or not at all. It follows no link,
// and replaces a file only when told.
func (f *folder) write(name string, content []byte, replace bool) error {
	path, flags := filepath.Join(f.path, name), uint(unix.RENAME_NOREPLACE)
	if replace {
		flags = 0
	}
	temporary := fmt.Sprintf(".%s.%d", name, os.Getpid())
	fd, err := unix.Openat(f.fd, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o400)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	err = errors.Join(writeAll(fd, content), unix.Close(fd))
	if err == nil {
		err = unix.Renameat2(f.fd, temporary, f.fd, name, flags)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EEXIST) {
		err = errors.New("exists: it is not overwritten")
	}
	return errors.Join(fmt.Errorf("%s: %w", path, err), unix.Unlinkat(f.fd, temporary, 0))
}

// close gives the folder back. Of one that is not private the files are removed.
func (f *folder) close(files []Secret) error {
	if f == nil {
		return nil
	}
	var err error
	for _, s := range files {
		if s.Form == File && !f.private {
			if rerr := unix.Unlinkat(f.fd, s.Name, 0); !errors.Is(rerr, unix.ENOENT) {
				err = errors.Join(err, rerr)
			}
		}
	}
	return errors.Join(err, unix.Close(f.fd))
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
