package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CopyHeader waits for the disk, checks the shape of its header and puts a copy where
// systemd-cryptsetup is to read it, [HeaderFile].
func (u *Unlocker) CopyHeader(ctx context.Context, name string, d Disk) (digest string, err error) {
	return u.copyHeader(ctx, RunDir, name, d)
}

func (u *Unlocker) copyHeader(ctx context.Context, dir, name string, d Disk) (digest string, err error) {
	if err := d.Check(name); err != nil {
		return "", err
	}
	if u.Timeout == 0 {
		u.Timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, u.Timeout)
	defer cancel()
	h, err := load(ctx, d)
	if err != nil {
		return "", err
	}
	if err := private(dir); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name+".header")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.WriteFile(path+".new", h.raw, 0o600); err != nil {
		return "", err
	}
	return h.digest(), os.Rename(path+".new", path)
}

// private makes a folder that is this user's alone, or finds one.
func private(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o022 != 0 || int(st.Uid) != os.Getuid() {
		return fmt.Errorf("%s belongs to somebody else, or others may write to it: headers are not kept there", dir)
	}
	return nil
}

// header reads the copy that systemd-cryptsetup opens.
func (s *Server) header(name string) (*header, error) {
	if err := private(s.dir); err != nil {
		return nil, err
	}
	path := filepath.Join(s.dir, name+".header")
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; openskr-agent crypttab header %s has to run before", err, name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readHeader(f)
}
