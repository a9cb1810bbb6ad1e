package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxFile bounds the key file: 64 hex digits, a line end, some slack.
const maxFile = 256

// File reads a KEK from a file: 32 bytes as one line of hex or base64url. The
// file must be a regular file, not a link, of mode 0400 or 0600, so that no other
// user reads it.
func File(path string) (KEK, error) {
	b, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("root key: %w", err)
	}
	defer clear(b)
	kek, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("root key %s: %w", path, err)
	}
	defer clear(kek)
	return newLocal(kek)
}

// read opens without following a link and without blocking on a pipe, and judges
// the opened file, not the name.
func read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a link; name the file itself", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch mode := fi.Mode(); {
	case !mode.IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case mode.Perm() != 0o400 && mode.Perm() != 0o600:
		return nil, fmt.Errorf("%s has mode %04o, others may read it: chmod 0400 %s", path, mode.Perm(), path)
	case fi.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d bytes, a root key is one line of 64 hex digits", path, fi.Size())
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// parse accepts one line of exactly one key.
func parse(b []byte) ([]byte, error) {
	line := bytes.TrimSuffix(b, []byte("\n"))
	kek := make([]byte, Size)
	var n int
	var err error
	switch len(line) {
	case hex.EncodedLen(Size):
		n, err = hex.Decode(kek, line)
	case base64.RawURLEncoding.EncodedLen(Size):
		n, err = base64.RawURLEncoding.Strict().Decode(kek, line)
	default:
		err = errors.New("length")
	}
	if err != nil || n != Size {
		clear(kek)
		return nil, errors.New("want one line of 64 hex digits or 43 characters of base64url: 32 random bytes") // not err: it may quote the key
	}
	if bytes.Equal(kek, make([]byte, Size)) {
		return nil, errors.New("key is all zero")
	}
	return kek, nil
}

// NewFile makes a random KEK in a file of mode 0400 that must not exist, made
// durable together with its folder's entry.
func NewFile(path string) (KEK, error) {
	kek := make([]byte, Size)
	rand.Read(kek)
	defer clear(kek)
	line := hex.AppendEncode(nil, kek)
	defer clear(line)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o400)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("root key: %s exists; a root key is never overwritten", path)
	}
	if err != nil {
		return nil, fmt.Errorf("root key: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path))); err != nil {
		return nil, errors.Join(fmt.Errorf("root key: %w", err), os.Remove(path))
	}
	return newLocal(kek)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Outside refuses a KEK file inside the data folder: whoever copies that folder
// would have the keys with their lock. Links are resolved; dir may not exist yet.
func Outside(path, dir string) error {
	in, err := Inside(path, dir)
	if err == nil && in {
		return fmt.Errorf("root key %s lies inside the data folder %s, so one stolen copy opens everything: keep it on another path, best on another file system", path, dir)
	}
	return err
}

// Inside says whether path lies in dir. Links are resolved; neither needs to exist yet.
func Inside(path, dir string) (bool, error) {
	file, err := resolve(path)
	if err != nil {
		return false, err
	}
	data, err := resolve(dir)
	if err != nil {
		return false, err
	}
	rel, err := filepath.Rel(data, file)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../"), err
}

// resolve gives the real path of what exists, followed by what does not exist yet.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if !errors.Is(err, fs.ErrNotExist) || abs == "/" {
		return real, err
	}
	if fi, err := os.Lstat(abs); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		return "", fmt.Errorf("%s is a link to nothing", path)
	}
	parent, err := resolve(filepath.Dir(abs))
	return filepath.Join(parent, filepath.Base(abs)), err
}
