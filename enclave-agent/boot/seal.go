package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

// Shape of a sealed disk. The header is small, since each unlock reads and digests all
// of it; it has room for eight key slots.
const (
	sealedHeader   = 2 << 20
	sealedCopy     = 16 << 10
	sealedKeyslots = sealedHeader - 2*sealedCopy
	keySlot        = "0"
	recoverySlot   = "1"
)

// edge is how much of either end of a disk must be empty, or is erased.
const edge = 1 << 20

// Seal says how a disk is made.
type Seal struct {
	Device string // block device, or a file that stands for one
	Key    string // URL; without a version its latest, which is kept in the header
	Erase  bool   // though the disk holds something
	// Recovery takes the recovery key before the disk is changed; nil: there is none.
	Recovery func(key []byte) error
}

// Sealed is a disk's header as it was written.
type Sealed struct {
	Device   string `json:"device"`
	Key      string `json:"key"`    // URL with version
	Header   string `json:"header"` // digest
	Recovery bool   `json:"recovery"`
}

// Command is what an operator runs to record the header with the key.
func (s *Sealed) Command() string { return tagCommand(s.Key, s.Header) }

// Seal makes a LUKS2 volume for a released key. It never touches a disk in use, nor one
// that is not empty unless Erase is set. What it does not finish has no valid header:
// the same command with Erase begins anew.
func (s *Seal) Seal(ctx context.Context, keys Keys) (_ *Sealed, err error) {
	tool, err := findCryptsetup()
	if err != nil {
		return nil, err
	}
	disk, err := os.OpenFile(s.Device, os.O_RDWR|unix.O_EXCL|unix.O_NONBLOCK, 0) // EXCL: not mounted, not mapped
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s is in use: %w", s.Device, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	size, sector, err := geometry(disk)
	if err != nil {
		return nil, err
	}
	if !s.Erase {
		if err := empty(disk, size); err != nil {
			return nil, err
		}
	}
	r, err := keys.DiskKey(ctx, s.Key, agent.ToFormat)
	if errors.Is(err, agent.ErrNotGranted) {
		return nil, fmt.Errorf("%w; an operator allows it: %s", err, grantCommand(s.Key))
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Material.Close()) }()
	if err := usable(r); err != nil {
		return nil, err
	}
	h, err := s.format(ctx, tool, r, sector)
	if err != nil {
		return nil, err
	}
	if err := s.write(disk, size, h); err != nil {
		return nil, fmt.Errorf("%s holds no valid header now; run the same again with --erase: %w", s.Device, err)
	}
	return &Sealed{Device: s.Device, Key: r.KID, Header: h.digest(), Recovery: h.recovery != ""}, nil
}

// format makes the header in memory. The recovery key has left when it returns.
func (s *Seal) format(ctx context.Context, tool *cryptsetup, r *agent.Released, sector int) (h *header, err error) {
	d, err := newDraft(tool, make([]byte, sealedHeader+headerAlign))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.format(ctx, sector, r.Material.Bytes()); err != nil {
		return nil, err
	}
	t := token{Type: tokenType, Keyslots: []string{keySlot}, Recovery: []string{}, Key: r.KID}
	if s.Recovery != nil {
		if err := d.enrol(ctx, keySlot, recoverySlot, r.Material.Bytes(), s.Recovery); err != nil {
			return nil, err
		}
		t.Recovery = []string{recoverySlot}
	}
	if err := d.record(ctx, t, ""); err != nil {
		return nil, err
	}
	return d.header(ctx, r)
}

// write puts the header on the disk, its first sector last: until then there is none.
func (s *Seal) write(disk medium, size int64, h *header) error {
	zero := make([]byte, edge)
	for _, at := range []int64{0, size - edge} {
		if _, err := disk.WriteAt(zero, at); err != nil {
			return err
		}
	}
	return replace(disk, h.raw)
}

// medium is a disk as far as it is written.
type medium interface {
	io.WriterAt
	Sync() error
}

// replace writes a header, with its first sector last.
func replace(disk medium, raw []byte) error {
	steps := []struct {
		b  []byte
		at int64
	}{{make([]byte, binarySize), 0}, {raw[binarySize:], binarySize}, {raw[:binarySize], 0}}
	for _, step := range steps {
		if _, err := disk.WriteAt(step.b, step.at); err != nil {
			return err
		}
		if err := disk.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// usable refuses a key that is not a disk's.
func usable(r *agent.Released) error {
	if r.Kty != "oct" && r.Kty != "oct-HSM" || len(r.Material.Bytes()) != keySize {
		return fmt.Errorf("%w: %s is a key of type %.16q with %d bytes: a disk's key is oct with %d; openskr key create NAME --kty oct --size 256",
			agent.ErrConfig, r.KID, r.Kty, len(r.Material.Bytes()), keySize)
	}
	return nil
}

// geometry is a disk's size and the sector size its volume gets: 4096 unless it does not
// fit.
func geometry(disk *os.File) (size int64, sector int, err error) {
	fi, err := disk.Stat()
	if err != nil {
		return 0, 0, err
	}
	if !fi.Mode().IsRegular() && fi.Mode()&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice {
		return 0, 0, fmt.Errorf("%w: %s is no block device", agent.ErrConfig, disk.Name())
	}
	if size, err = disk.Seek(0, io.SeekEnd); err != nil {
		return 0, 0, err
	}
	if size < sealedHeader+2*edge {
		return 0, 0, fmt.Errorf("%s has %d bytes, which is too small: %d at least", disk.Name(), size, sealedHeader+2*edge)
	}
	if size%4096 != 0 {
		return size, 512, nil
	}
	return size, 4096, nil
}

// empty refuses a disk with anything but zeros at either end.
func empty(disk *os.File, size int64) error {
	b := make([]byte, edge)
	for _, at := range []int64{0, size - edge} {
		if _, err := disk.ReadAt(b, at); err != nil {
			return err
		}
		if !allZero(b) {
			return fmt.Errorf("%s is not empty: a partition table, a file system or something else is within %d bytes of byte %d; --erase destroys it", disk.Name(), edge, at)
		}
	}
	return nil
}
