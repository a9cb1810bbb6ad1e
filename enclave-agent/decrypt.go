package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/openskr/openskr/enclave-agent/file"
	"github.com/openskr/openskr/enclave-agent/whole"
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
	Erasing(func() { err = r.Unlock(rel.Material.Bytes()) })
	if err := errors.Join(err, rel.Material.Close()); err != nil {
		return nil, err
	}
	if err := create(out, r.Decrypt); err != nil {
		return nil, err
	}
	return rel, nil
}

// create makes a file that is there whole or not at all.
func create(path string, write func(io.Writer) error) error {
	f, err := whole.Create(filepath.Dir(path))
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return errors.Join(err, f.Discard())
	}
	return f.Name(path)
}
