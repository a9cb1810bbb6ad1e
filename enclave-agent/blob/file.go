package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/openskr/openskr/enclave-agent/whole"
)

func openFile(path string) (*Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Source{ReadCloser: f, Size: -1, metadata: func(_ context.Context, name string) ([]byte, error) { return beside(path, name) }}
	if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() {
		s.Size = fi.Size()
	}
	return s, nil
}

// beside reads the file with a metadata item.
func beside(path, name string) ([]byte, error) {
	f, err := os.Open(path + "." + name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxMetadata+1))
}

// fileTarget are files that have no names yet, the blob last.
type fileTarget struct {
	*whole.File
	parts []part
}

type part struct {
	file *whole.File
	path string
}

func createFile(path string, o Options) (_ Target, err error) {
	t := &fileTarget{}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Abort())
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(o.Metadata)) {
		if err := t.add(path + "." + name); err != nil {
			return nil, err
		}
		if _, err := t.File.WriteString(o.Metadata[name]); err != nil {
			return nil, err
		}
	}
	return t, t.add(path)
}

// add makes a part, readable by its owner alone.
func (t *fileTarget) add(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s %w", path, ErrExists)
	}
	dir := filepath.Dir(path)
	if fi, err := os.Stat(dir); err != nil {
		return err
	} else if fi.Mode().Perm()&0o002 != 0 && fi.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("%s is writable by everybody: plain text is not written there", dir)
	}
	f, err := whole.Create(dir)
	if err != nil {
		return err
	}
	t.File, t.parts = f, append(t.parts, part{f, path})
	return nil
}

// Commit gives the parts their names, the blob last: it never lacks its metadata.
func (t *fileTarget) Commit() error {
	for i, p := range t.parts {
		err := p.file.Name(p.path)
		if err == nil {
			continue
		}
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s %w", p.path, ErrExists)
		}
		for _, done := range t.parts[:i] { // take back what has its name already
			err = errors.Join(err, os.Remove(done.path))
		}
		return errors.Join(err, t.Abort())
	}
	return nil
}

// Abort lets go of the files.
func (t *fileTarget) Abort() (err error) {
	for _, p := range t.parts {
		err = errors.Join(err, p.file.Discard())
	}
	return err
}
