package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// DefaultTSM is where Linux mounts configfs-tsm.
const DefaultTSM = "/sys/kernel/config/tsm"

const provider = "tdx_guest"

// FS is what configfs-tsm needs of a file system: the Client of go-configfs-tsm.
type FS interface {
	MkdirTemp(dir, pattern string) (string, error)
	ReadFile(name string) ([]byte, error)
	WriteFile(name string, contents []byte) error
	RemoveAll(path string) error
}

// kernelFS is configfs itself, where an entry's folder is removed with the attributes
// in it.
type kernelFS struct{}

func (kernelFS) MkdirTemp(dir, pattern string) (string, error) { return os.MkdirTemp(dir, pattern) }
func (kernelFS) ReadFile(name string) ([]byte, error)          { return os.ReadFile(name) }
func (kernelFS) RemoveAll(path string) error                   { return os.Remove(path) }
func (kernelFS) WriteFile(name string, b []byte) error         { return os.WriteFile(name, b, 0o200) }

// tsm makes quotes through configfs (Documentation/ABI/testing/configfs-tsm-report).
type tsm struct {
	fs  FS
	dir string
}

func openTSM(o Options) (_ *tsm, err error) {
	t := &tsm{fs: o.FS, dir: path.Join(o.TSM, "report")}
	if o.TSM == "" {
		t.dir = path.Join(DefaultTSM, "report")
	}
	if o.FS == nil {
		t.fs = kernelFS{}
	}
	entry, err := t.fs.MkdirTemp(t.dir, "openskr")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is not there: mount configfs and load the module tdx-guest (Linux 6.7 or later)", t.dir)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s belongs to root: %w", t.dir, err)
	case err != nil:
		return nil, err
	}
	defer func() { err = errors.Join(err, t.fs.RemoveAll(entry)) }()
	// Some kernels name the provider only beside a quote: then quote judges it.
	name, err := t.fs.ReadFile(path.Join(entry, "provider"))
	if err == nil && strings.TrimSpace(string(name)) != provider {
		return nil, fmt.Errorf("%s gives reports of %q, not of %s", t.dir, strings.TrimSpace(string(name)), provider)
	}
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("%s has no provider: load the module tdx-guest", t.dir)
	}
	return t, nil
}

func (t *tsm) quote(reportData [64]byte) (quote []byte, err error) {
	entry, err := t.fs.MkdirTemp(t.dir, "openskr")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.fs.RemoveAll(entry)) }()
	generation, err := t.generation(entry)
	if err != nil {
		return nil, err
	}
	if err := t.fs.WriteFile(path.Join(entry, "inblob"), reportData[:]); err != nil {
		return nil, err
	}
	if quote, err = t.fs.ReadFile(path.Join(entry, "outblob")); err != nil {
		return nil, err
	}
	name, err := t.fs.ReadFile(path.Join(entry, "provider"))
	if err != nil {
		return nil, err
	}
	if name := strings.TrimSpace(string(name)); name != provider {
		return nil, fmt.Errorf("provider %q, want %s", name, provider)
	}
	// Another writer would have counted it up: then the quote may be over its data.
	switch now, err := t.generation(entry); {
	case err != nil:
		return nil, err
	case now != generation+1:
		return nil, fmt.Errorf("another program writes to %s: %w", entry, syscall.EBUSY)
	}
	return quote, nil
}

func (t *tsm) generation(entry string) (uint64, error) {
	b, err := t.fs.ReadFile(path.Join(entry, "generation"))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}
