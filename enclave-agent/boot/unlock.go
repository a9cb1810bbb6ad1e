package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
)

// DefaultTimeout bounds an unlock before recovery: networks come up late and brokers
// restart.
const DefaultTimeout = 10 * time.Minute

// Unlocker opens disks.
type Unlocker struct {
	// Keys opens the hardware and gives what releases keys; it is asked once for a disk.
	Keys func(context.Context) (Keys, error)
	// Cap extends a PCR with an event; see [agent.Cap].
	Cap func(ctx context.Context, pcr int, event string) error
	// CapRTMR extends an RTMR; see [agent.CapRTMR]. nil: none.
	CapRTMR func(ctx context.Context, rtmr int, event string) error
	// Shown says which of the two this machine's evidence shows; see [agent.Hardware.Shown].
	Shown   func(context.Context) agent.Shown
	Console *Console
	Timeout time.Duration // for everything before recovery, 0: DefaultTimeout

	tool *cryptsetup // nil: what findCryptsetup finds
}

// Opened says how a volume was opened.
type Opened struct {
	Name      string `json:"name"`
	Device    string `json:"device"`
	Key       string `json:"key,omitempty"` // URL with version; "" after recovery
	Header    string `json:"header"`        // digest
	LogIndex  int64  `json:"log_index,omitempty"`
	Recovered bool   `json:"recovered,omitempty"` // with the recovery key
	Capped    bool   `json:"capped"`
	Register  string `json:"register,omitempty"` // that was: "PCR 15", "RTMR 3", "PCR 15 and RTMR 3"
}

// Unlock opens the disk as /dev/mapper/name. When the key is not released, or the disk is
// not what was sealed, it asks for the recovery key if the disk has that. On an error
// the volume is closed.
func (u *Unlocker) Unlock(ctx context.Context, name string, d Disk) (*Opened, error) {
	if err := d.Check(name); err != nil {
		return nil, err
	}
	if u.tool == nil {
		tool, err := findCryptsetup()
		if err != nil {
			return nil, err
		}
		u.tool = tool
	}
	if u.Timeout == 0 {
		u.Timeout = DefaultTimeout
	}
	bounded, cancel := context.WithTimeout(ctx, u.Timeout)
	defer cancel()
	h, err := load(bounded, d)
	if err != nil {
		return nil, closed(name, err)
	}
	out, err := u.attested(bounded, name, d, h)
	if err == nil {
		u.Console.Say("%s is open", name)
		return out, nil
	}
	if d.Recovery == Off || ctx.Err() != nil {
		return nil, closed(name, err)
	}
	u.Console.Fail("%v", closed(name, err))
	out, rerr := u.recover(ctx, name, d, h)
	if rerr != nil {
		return nil, closed(name, errors.Join(err, rerr))
	}
	u.Console.Say("%s is open, with the recovery key", name)
	return out, nil
}

func closed(name string, err error) error { return fmt.Errorf("%s stays closed: %w", name, err) }

// load reads a disk's header, when the disk is there.
func load(ctx context.Context, d Disk) (*header, error) {
	f, err := waitFor(ctx, d.Device)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h, err := readHeader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Device, err)
	}
	return h, nil
}

// attested opens the disk with a released key.
func (u *Unlocker) attested(ctx context.Context, name string, d Disk, h *header) (out *Opened, err error) {
	if err := h.sealedTo(d.Key); err != nil {
		return nil, err
	}
	u.Console.Say("%s: the header of %s has the right shape; asking for %s", name, d.Device, h.keyURL)
	r, err := u.released(ctx, h)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Material.Close()) }()
	if err := u.open(ctx, name, d, h, h.key, r.Material); err != nil {
		if errors.Is(err, errWrongKey) {
			err = tampered("slot %s does not open with key %s: the disk was sealed with another key", h.key, r.KID)
		}
		return nil, err
	}
	register, err := u.cap(ctx, name, d, r)
	if err != nil {
		return nil, errors.Join(err, u.tool.close(context.WithoutCancel(ctx), name))
	}
	return &Opened{Name: name, Device: d.Device, Key: r.KID, Header: h.digest(), LogIndex: r.Receipt.Index, Capped: register != "", Register: register}, nil
}

// open has cryptsetup open a slot of the very bytes that were checked.
func (u *Unlocker) open(ctx context.Context, name string, d Disk, h *header, slot string, key *agent.Secret) error {
	f, err := sealed(h.raw)
	if err != nil {
		return err
	}
	defer f.Close()
	err = u.tool.open(ctx, f, d.Device, name, slot, key.Bytes())
	if err != nil && ctx.Err() != nil { // it was killed, and may have come far
		return errors.Join(err, u.tool.close(context.WithoutCancel(ctx), name))
	}
	return err
}

// sealedTo compares the key that the header names with the configured one. The header
// chooses no more than the version of that key, whose tag must then name this header.
func (h *header) sealedTo(keyURL string) error {
	want, version, err := agent.SplitKeyURL(keyURL)
	if err != nil {
		return err
	}
	have, sealedWith, err := agent.SplitKeyURL(h.keyURL)
	if err != nil {
		return err
	}
	if have != want || version != "" && version != sealedWith {
		return tampered("it was sealed with key %s, but the configuration says %s", h.keyURL, keyURL)
	}
	return nil
}

// released gets the key and compares the header with what the broker says of it.
func (u *Unlocker) released(ctx context.Context, h *header) (r *agent.Released, err error) {
	keys, err := u.Keys(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := keys.Close(); cerr != nil && err == nil {
			r, err = nil, errors.Join(cerr, r.Material.Close())
		}
	}()
	if r, err = keys.DiskKey(ctx, h.keyURL, agent.ToUnlock); err != nil {
		return nil, err
	}
	if err := matches(h, r); err != nil {
		return nil, errors.Join(err, r.Material.Close())
	}
	return r, nil
}

// matches compares header and key with the tag, which the broker signed with the key.
func matches(h *header, r *agent.Released) error {
	if err := usable(r); err != nil {
		return err
	}
	digests, err := parseTag(r.Tags[HeaderTag])
	if err != nil {
		return tampered("no header is recorded with %s (tag %s: %w), so none is trusted; for this one an operator runs: %s",
			r.KID, HeaderTag, err, tagCommand(r.KID, h.digest()))
	}
	if !slices.Contains(digests, h.digest()) {
		return tampered("its header is %s, but recorded with %s is %s: somebody tampered with it, unless it was changed on purpose, another recovery key for instance; then an operator runs: %s",
			h.digest(), r.KID, strings.Join(digests, ", "), tagCommand(r.KID, h.digest()))
	}
	return nil
}
