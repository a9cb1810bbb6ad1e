package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Update records the header of a disk again, after somebody changed its slots with
// cryptsetup. It needs no key: where the PCR is capped there is none to be had.
type Update struct {
	Device string // or a file, such as one of cryptsetup luksHeaderBackup
	Key    string // URL, as the disk was sealed with
	// Record changes the tag of the key at a URL with version. It is called twice when the
	// header on the disk has to change: before it with both digests, so that the machine
	// boots whatever happens, and after it. nil: an operator does it.
	Record func(ctx context.Context, keyURL string, change func(tag string) string) error
}

// Update brings our token in line with the slots and records the header.
func (u *Update) Update(ctx context.Context) (_ *Sealed, err error) {
	disk, err := openDisk(u.Device)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	h, err := readHeader(disk)
	change := false
	if err != nil {
		change = true
		if h, err = u.retoken(ctx, disk); err != nil {
			return nil, err
		}
	}
	if err := h.sealedTo(u.Key); err != nil {
		return nil, err
	}
	if change {
		if err := u.record(ctx, h, func(tag string) string { return alsoAllow(tag, h.digest()) }); err != nil {
			return nil, fmt.Errorf("%s is as it was: %w", u.Device, err)
		}
		if err := u.write(h); err != nil {
			return nil, fmt.Errorf("the header of %s may be half written: restore a backup of it (cryptsetup luksHeaderRestore): %w", u.Device, err)
		}
	}
	if err := u.record(ctx, h, func(string) string { return h.digest() }); err != nil {
		return nil, fmt.Errorf("%s has its new header, but it is not recorded; an operator does that with: %s: %w", u.Device, tagCommand(h.keyURL, h.digest()), err)
	}
	return &Sealed{Device: u.Device, Key: h.keyURL, Header: h.digest(), Recovery: h.recovery != ""}, nil
}

func (u *Update) record(ctx context.Context, h *header, change func(string) string) error {
	if u.Record == nil {
		return nil
	}
	return u.Record(ctx, h.keyURL, change)
}

func (u *Update) write(h *header) (err error) {
	disk, err := os.OpenFile(u.Device, os.O_RDWR|unix.O_NONBLOCK, 0) // it may be mounted
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	return replace(disk, h.raw)
}

// retoken gives a header whose slots changed the token that fits: its key slot stays, and
// one other may be there, which then is recovery.
func (u *Update) retoken(ctx context.Context, disk io.ReaderAt) (_ *header, err error) {
	size, err := dataOffset(disk)
	if err != nil {
		return nil, err
	}
	raw, err := beginning(disk, size)
	if err != nil {
		return nil, err
	}
	c, err := firstCopy(raw)
	if err != nil {
		return nil, err
	}
	m, err := parseMetadata(c.json)
	if err != nil {
		return nil, err
	}
	id, t, err := m.retoken()
	if err != nil {
		return nil, err
	}
	tool, err := findCryptsetup()
	if err != nil {
		return nil, err
	}
	d, err := newDraft(tool, append(raw, make([]byte, headerAlign)...))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.record(ctx, t, id); err != nil {
		return nil, err
	}
	return readHeader(d.mem)
}

// retoken is the token that fits the slots, and the number of the one it replaces.
func (m *metadata) retoken() (id string, t token, err error) {
	ids := slices.DeleteFunc(slices.Sorted(maps.Keys(m.Tokens)), func(id string) bool { return m.Tokens[id].Type != tokenType })
	if len(ids) != 1 || len(m.Tokens) != 1 {
		return "", t, tampered("%d tokens, %d of them ours: want ours alone; cryptsetup token remove takes others away", len(m.Tokens), len(ids))
	}
	t = m.Tokens[ids[0]]
	slots := slices.Sorted(maps.Keys(m.Keyslots))
	if len(t.Keyslots) != 1 || !slices.Contains(slots, t.Keyslots[0]) {
		return "", t, tampered("the slot of the released key is gone; seal the disk again")
	}
	t.Recovery = slices.DeleteFunc(slots, func(s string) bool { return s == t.Keyslots[0] })
	if len(t.Recovery) > 1 {
		return "", t, tampered("key slots %s besides that of the released key: want one at most, for recovery; cryptsetup luksKillSlot removes one", strings.Join(t.Recovery, ", "))
	}
	return ids[0], t, nil
}

// alsoAllow puts a digest before those that a tag already has.
func alsoAllow(tag, digest string) string {
	out := []string{digest}
	if old, err := parseTag(tag); err == nil {
		out = append(out, slices.DeleteFunc(old, func(d string) bool { return d == digest })...)
	}
	return strings.Join(out[:min(len(out), maxDigests)], ",")
}
