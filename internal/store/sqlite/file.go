package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/internal/store"
)

// prepare checks the file and its folder, or makes them. The file is made here,
// not by SQLite, which would use the umask.
func prepare(path string, create bool) (created bool, err error) {
	dir := filepath.Dir(path)
	if create {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return false, err
		}
	}
	if err := checkDir(dir); err != nil {
		return false, err
	}
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && create:
		return true, makeFile(path)
	case errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("%w: make a store with `openskr init`, or check the path", err)
	case err != nil:
		return false, err
	case fi.Size() == 0 && !create:
		return false, errors.New("file is empty: restore a backup; an empty store is never taken for this one")
	}
	return fi.Size() == 0, private(path, fi, fi.Mode().IsRegular(), "0600")
}

func checkDir(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if err := private(dir, fi, fi.IsDir(), "0700"); err != nil {
		return err
	}
	return local(dir)
}

// private refuses what another user could read, change or have put there.
func private(path string, fi fs.FileInfo, kind bool, mode string) error {
	if !kind {
		return fmt.Errorf("%s is a link or not of the right kind (%v)", path, fi.Mode().Type())
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o, other users can reach it: chmod %s %s", path, fi.Mode().Perm(), mode, path)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, this process is %d", path, st.Uid, os.Geteuid())
	}
	return nil
}

// local refuses network file systems: their locks and fsync do not hold what
// SQLite's WAL needs.
func local(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("file system of %s: %w", dir, err)
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		return fmt.Errorf("%s is on a network file system (type %#x): use a local disk", dir, st.Type)
	}
	return nil
}

func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// takeLock holds the file's lock until it is closed; the kernel drops it when the
// process ends, however it ends.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w (lock %s): stop it first; one store serves one broker", store.ErrLocked, path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
