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

const provider = "sev_guest"

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

// tsm makes reports through configfs (Documentation/ABI/testing/configfs-tsm-report).
type tsm struct {
	fs  FS
	dir string
}

func openTSM(o Options) (_ source, err error) {
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
		return nil, fmt.Errorf("%s is not there: mount configfs and load the module sev-guest (Linux 6.7 or later)", t.dir)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s belongs to root: %w", t.dir, err)
	case err != nil:
		return nil, err
	}
	defer func() { err = errors.Join(err, t.fs.RemoveAll(entry)) }()
	// Some kernels name the provider only beside a report: then report judges it.
	name, err := t.fs.ReadFile(path.Join(entry, "provider"))
	if err == nil && strings.TrimSpace(string(name)) != provider {
		return nil, fmt.Errorf("%s gives reports of %q, not of %s", t.dir, strings.TrimSpace(string(name)), provider)
	}
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("%s has no provider: load the module sev-guest", t.dir)
	}
	return t, nil
}

func (t *tsm) Close() error { return nil }

func (t *tsm) report(reportData [64]byte, vmpl uint32) (report, table []byte, err error) {
	entry, err := t.fs.MkdirTemp(t.dir, "openskr")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, t.fs.RemoveAll(entry)) }()
	generation, err := t.generation(entry)
	if err != nil {
		return nil, nil, err
	}
	if vmpl > 0 {
		if err := t.fs.WriteFile(path.Join(entry, "privlevel"), []byte(strconv.FormatUint(uint64(vmpl), 10))); err != nil {
			return nil, nil, err
		}
		generation++
	}
	if err := t.fs.WriteFile(path.Join(entry, "inblob"), reportData[:]); err != nil {
		return nil, nil, err
	}
	generation++
	var out [3][]byte
	for i, name := range []string{"outblob", "auxblob", "provider"} {
		if out[i], err = t.fs.ReadFile(path.Join(entry, name)); err != nil {
			return nil, nil, err
		}
	}
	if name := strings.TrimSpace(string(out[2])); name != provider {
		return nil, nil, fmt.Errorf("provider %q, want %s", name, provider)
	}
	// Another writer would have counted it up: then the blobs may be of two reports.
	switch now, err := t.generation(entry); {
	case err != nil:
		return nil, nil, err
	case now != generation:
		return nil, nil, fmt.Errorf("another program writes to %s: %w", entry, syscall.EBUSY)
	}
	return out[0], out[1], nil
}

func (t *tsm) generation(entry string) (uint64, error) {
	b, err := t.fs.ReadFile(path.Join(entry, "generation"))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}
