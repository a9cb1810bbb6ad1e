package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	agent "github.com/openskr/openskr/enclave-agent"
)

// capped is what was extended: a PCR, an RTMR, or both, "" for what this machine lacks.
type capped struct {
	pcr, rtmr string
	lacks     error // why it lacks that
}

func (c *capped) String() string {
	return strings.Join(slices.DeleteFunc([]string{c.pcr, c.rtmr}, func(s string) bool { return s == "" }), " and ")
}

// shown says whether evidence that shows s shows that something was extended.
func (c *capped) shown(s agent.Shown) bool { return s.PCR && c.pcr != "" || s.RTMR && c.rtmr != "" }

// lack notes that there is no such register.
func (c *capped) lack(why error) {
	if c.lacks != nil {
		why = fmt.Errorf("%w, and %w", c.lacks, why)
	}
	c.lacks = why
}

// extend extends what this machine has of the registers of a disk: a host may put a TPM
// beside a TD, whose evidence does not show it.
func (u *Unlocker) extend(ctx context.Context, d Disk, event string) (*capped, error) {
	c, pcr, rtmr := &capped{}, d.Cap, cmp.Or(d.RTMR, agent.DefaultRTMR)
	if pcr == NoCap {
		pcr = agent.DefaultCap
	}
	switch err := u.Cap(ctx, pcr, event); {
	case err == nil:
		c.pcr = fmt.Sprintf("PCR %d", pcr)
	case errors.Is(err, agent.ErrNoPCR):
		c.lack(err)
	default:
		return nil, fmt.Errorf("PCR %d: %w", pcr, err)
	}
	err := agent.ErrNoRTMR
	if u.CapRTMR != nil {
		err = u.CapRTMR(ctx, rtmr, event)
	}
	switch {
	case err == nil:
		c.rtmr = fmt.Sprintf("RTMR %d", rtmr)
	case errors.Is(err, agent.ErrNoRTMR):
		c.lack(err)
	default:
		return nil, fmt.Errorf("RTMR %d: %w", rtmr, err)
	}
	return c, nil
}

// cap caps the registers of a disk that was just opened, and says which, "" for none. That
// none is shown may be only where the key was released for other evidence than a TPM's; for a
// TPM's, no other register will do.
func (u *Unlocker) cap(ctx context.Context, name string, d Disk, r *agent.Released) (string, error) {
	if d.Cap == NoCap {
		return "", nil
	}
	c, err := u.extend(ctx, d, agent.CapEvent)
	if err == nil {
		switch s := r.Shown(); {
		case c.shown(s):
			return c.String(), nil
		case !s.PCR:
			u.Console.Say("%s: %v", name, c.uncapped(s))
			return "", nil
		}
		err = c.lacks // the TPM that signed is gone
	}
	return "", fmt.Errorf("the machine could not be capped, so the volume is closed again: %w", err)
}

// ErrUncapped says that no register was extended which this machine's evidence shows.
var ErrUncapped = errors.New("nothing was capped that this machine's evidence shows")

func (c *capped) uncapped(s agent.Shown) error {
	err := fmt.Errorf("%w, of type %s: whoever is root later can ask for the key again", ErrUncapped, s.Type)
	if c.lacks != nil {
		err = fmt.Errorf("%w (%w)", err, c.lacks)
	}
	return err
}

// CapAfter caps the registers of a disk that others opened, and says which: it wants the
// volume to be there, and to be an encrypted one. systemd-cryptsetup takes whatever has its
// name for opened, and the host's disks may hold an LVM volume of that name. Errors
// wrap [ErrUncapped] where the machine's evidence shows no such register; where a TPM signs
// it, the TPM has to be there.
func (u *Unlocker) CapAfter(ctx context.Context, name string, d Disk) (register string, err error) {
	return u.capAfter(ctx, "/sys", name, d)
}

func (u *Unlocker) capAfter(ctx context.Context, sys, name string, d Disk) (string, error) {
	if err := d.Check(name); err != nil {
		return "", err
	}
	if d.Cap == NoCap {
		return "", fmt.Errorf("%w: %s has no cap", agent.ErrConfig, name)
	}
	uuid, err := mapped(sys, name)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(uuid, "CRYPT-LUKS2-") || !strings.HasSuffix(uuid, "-"+name) {
		return "", tampered("/dev/mapper/%s is no encrypted volume (its identity is %.80q): a disk holds something else of that name", name, uuid)
	}
	c, err := u.extend(ctx, d, agent.CapEvent)
	if err != nil {
		return "", err
	}
	switch s := u.Shown(ctx); {
	case c.shown(s):
		return c.String(), nil
	case !s.PCR:
		return "", c.uncapped(s)
	}
	return "", fmt.Errorf("what signs this machine's evidence is gone: %w", c.lacks)
}

// mapped is what device-mapper knows a volume by: "CRYPT-LUKS2-UUID-NAME" from
// cryptsetup, "LVM-…" from LVM.
func mapped(sys, name string) (uuid string, err error) {
	found, err := filepath.Glob(filepath.Join(sys, "block/dm-*/dm/name"))
	if err != nil {
		return "", err
	}
	for _, f := range found {
		if b, err := agent.ReadBounded(f, maxMapped); err != nil || strings.TrimSpace(string(b)) != name {
			continue // it may just have gone
		}
		b, err := agent.ReadBounded(filepath.Join(filepath.Dir(f), "uuid"), maxMapped)
		return strings.TrimSpace(string(b)), err
	}
	return "", fmt.Errorf("%s is not open, and capping now would keep it closed", name)
}

const maxMapped = 4 << 10
