package boot

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/internal/strict"

	agent "github.com/openskr/openskr/enclave-agent"
)

// draft is a header in memory that cryptsetup works on, so that a disk gets a finished
// one or none.
type draft struct {
	tool *cryptsetup
	mem  *os.File
}

// newDraft takes the bytes of a disk up to its data and a little more, which stands for
// the data.
func newDraft(tool *cryptsetup, b []byte) (*draft, error) {
	fd, err := unix.MemfdCreate("luks2-draft", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory for the header: %w", err)
	}
	f := os.NewFile(uintptr(fd), "luks2-draft")
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("memory for the header: %w", err), f.Close())
	}
	return &draft{tool, f}, nil
}

func (d *draft) Close() error { return d.mem.Close() }

func (d *draft) run(ctx context.Context, k call) error {
	k.files = []*os.File{d.mem}
	return d.tool.run(ctx, k)
}

// keys that are random need no costly derivation; cryptsetup has a minimum.
func cheap() []string {
	return []string{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", strconv.Itoa(minIterations), "--hash", "sha256"}
}

// format makes a volume with one slot.
func (d *draft) format(ctx context.Context, sector int, key []byte) error {
	args := append([]string{
		"luksFormat", "--batch-mode", "--type", "luks2", "--cipher", cipher, "--key-size", strconv.Itoa(8 * volumeKeySize),
		"--sector-size", strconv.Itoa(sector), "--luks2-metadata-size", strconv.Itoa(sealedCopy), "--luks2-keyslots-size", strconv.Itoa(sealedKeyslots),
		"--offset", strconv.Itoa(sealedHeader / 512), "--key-slot", keySlot, "--key-file", "-", "--keyfile-size", strconv.Itoa(len(key)),
	}, cheap()...)
	return d.run(ctx, call{args: append(args, "--", descriptor(0)), stdin: key})
}

// enrol makes a recovery key, hands it to keep, and gives it a slot of its own.
func (d *draft) enrol(ctx context.Context, by, slot string, key []byte, keep func([]byte) error) (err error) {
	recovery, err := newRecoveryKey()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, recovery.Close()) }()
	args := append([]string{
		"luksAddKey", "--batch-mode", "--key-slot", by, "--key-file", descriptor(1), "--keyfile-size", strconv.Itoa(len(key)),
		"--new-key-slot", slot, "--new-keyfile-size", strconv.Itoa(len(recovery.Bytes())),
	}, cheap()...)
	err = d.run(ctx, call{args: append(args, "--", descriptor(0), descriptor(2)), secrets: [][]byte{key, recovery.Bytes()}})
	if err != nil {
		return err
	}
	if err := d.tool.try(ctx, d.mem, slot, recovery.Bytes()); err != nil {
		return fmt.Errorf("the new recovery key does not open its slot: %w", err)
	}
	return keep(recovery.Bytes())
}

// record writes our token, in place of the one with the number replaces.
func (d *draft) record(ctx context.Context, t token, replaces string) error {
	js, err := strict.Marshal(t)
	if err != nil {
		return err
	}
	args := []string{"token", "import", "--batch-mode"}
	if replaces != "" {
		args = append(args, "--token-replace", "--token-id", replaces)
	}
	return d.run(ctx, call{args: append(args, "--", descriptor(0)), input: string(js)})
}

// header reads the draft and holds it against everything that an unlock will.
func (d *draft) header(ctx context.Context, r *agent.Released) (*header, error) {
	h, err := readHeader(d.mem)
	if err == nil {
		err = h.sealedTo(r.KID)
	}
	if err == nil {
		err = d.tool.try(ctx, d.mem, h.key, r.Material.Bytes())
	}
	if err != nil {
		return nil, fmt.Errorf("the header that this cryptsetup made is not as it should be: %w", err)
	}
	return h, nil
}

// Recovery keys are 7 groups of 4 letters and digits, 140 bits.
const (
	recoveryGroups = 7
	groupSize      = 4
)

// newRecoveryKey makes a key that people can type.
func newRecoveryKey() (*agent.Secret, error) {
	const chars = recoveryGroups * groupSize
	key, err := agent.NewSecret(chars + recoveryGroups - 1)
	if err != nil {
		return nil, err
	}
	var raw [(chars*5 + 7) / 8]byte
	var plain [(len(raw) + 4) / 5 * 8]byte
	defer clear(raw[:])
	defer clear(plain[:])
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").Encode(plain[:], raw[:])
	out := key.Bytes()
	for i := range recoveryGroups {
		if i > 0 {
			out[i*(groupSize+1)-1] = '-'
		}
		copy(out[i*(groupSize+1):], plain[i*groupSize:(i+1)*groupSize])
	}
	return key, nil
}
