package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/enclave-agent/file"
)

// Decrypt gets the key that the file at in names, or that at keyURL when not "",
// and writes the plain text to a new file out, mode 0600. The file appears only
// when all of it has authenticated; an existing one is left alone.
func (a *Agent) Decrypt(ctx context.Context, in, out, keyURL string) (rel *Released, err error) {
	src, err := os.Open(in)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	r, err := file.Open(src)
	if err != nil {
		return nil, err
	}
	if keyURL == "" {
		keyURL = r.KeyURL
	}
	if err := CheckFile(out); err != nil {
		return nil, err
	}
	if rel, err = a.Key(ctx, keyURL); err != nil {
		return nil, err
	}
	err = create(out, func(w io.Writer) error { return r.Decrypt(w, rel.Material.Bytes()) })
	if err := errors.Join(err, rel.Material.Close()); err != nil {
		return nil, err
	}
	return rel, nil
}

// create makes a file that is there whole or not at all.
func create(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
