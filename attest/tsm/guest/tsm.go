// Package guest asks the Linux kernel for reports of a confidential machine's hardware
// through configfs-tsm (Documentation/ABI/testing/configfs-tsm-report, Linux 6.7): one
// interface for SEV-SNP and TDX, told apart by the provider it names.
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

// DefaultDir is where Linux mounts configfs-tsm.
const DefaultDir = "/sys/kernel/config/tsm"

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

// Reports makes reports of one provider.
type Reports struct {
	fs            FS
	dir, provider string
}

// Open finds the provider ("sev_guest", "tdx_guest", whose kernel module is named with
// a hyphen) below dir; "" is [DefaultDir], a nil files the kernel's. The error says
// what would help.
func Open(provider, dir string, files FS) (_ *Reports, err error) {
	if dir == "" {
		dir = DefaultDir
	}
	if files == nil {
		files = kernelFS{}
	}
	r := &Reports{files, path.Join(dir, "report"), provider}
	module := strings.ReplaceAll(provider, "_", "-")
	entry, err := r.fs.MkdirTemp(r.dir, "openskr")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is not there: mount configfs and load the module %s (Linux 6.7 or later)", r.dir, module)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s belongs to root: %w", r.dir, err)
	case err != nil:
		return nil, err
	}
	defer func() { err = errors.Join(err, r.fs.RemoveAll(entry)) }()
	// Some kernels name the provider only beside a report: then Get judges it.
	name, err := r.fs.ReadFile(path.Join(entry, "provider"))
	if err == nil && strings.TrimSpace(string(name)) != provider {
		return nil, fmt.Errorf("%s gives reports of %q, not of %s", r.dir, strings.TrimSpace(string(name)), provider)
	}
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("%s has no provider: load the module %s", r.dir, module)
	}
	return r, nil
}

// Get has the hardware report over data, at a privilege level (0: the caller's own).
// aux is what the provider has beside the report, nil where it has none. Busy hosts
// give errors that wrap EAGAIN or EBUSY.
func (r *Reports) Get(data []byte, level uint32) (report, aux []byte, err error) {
	entry, err := r.fs.MkdirTemp(r.dir, "openskr")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, r.fs.RemoveAll(entry)) }()
	generation, err := r.generation(entry)
	if err != nil {
		return nil, nil, err
	}
	if level > 0 {
		if err := r.fs.WriteFile(path.Join(entry, "privlevel"), []byte(strconv.FormatUint(uint64(level), 10))); err != nil {
			return nil, nil, err
		}
		generation++
	}
	if err := r.fs.WriteFile(path.Join(entry, "inblob"), data); err != nil {
		return nil, nil, err
	}
	generation++
	if report, err = r.fs.ReadFile(path.Join(entry, "outblob")); err != nil {
		return nil, nil, err
	}
	if aux, err = r.fs.ReadFile(path.Join(entry, "auxblob")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	name, err := r.fs.ReadFile(path.Join(entry, "provider"))
	if err != nil {
		return nil, nil, err
	}
	if name := strings.TrimSpace(string(name)); name != r.provider {
		return nil, nil, fmt.Errorf("provider %q, want %s", name, r.provider)
	}
	// Another writer would have counted it up: then the blobs may be of two reports.
	switch now, err := r.generation(entry); {
	case err != nil:
		return nil, nil, err
	case now != generation:
		return nil, nil, fmt.Errorf("another program writes to %s: %w", entry, syscall.EBUSY)
	}
	return report, aux, nil
}

func (r *Reports) generation(entry string) (uint64, error) {
	b, err := r.fs.ReadFile(path.Join(entry, "generation"))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}
