package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	agent "github.com/openskr/openskr/enclave-agent"
)

// extend extends the register of a disk and says which: its PCR, or where this machine
// has no device of a TPM its RTMR. Errors wrap [agent.ErrNoPCR] where it has neither.
func (u *Unlocker) extend(ctx context.Context, d Disk, event string) (register string, err error) {
	pcr, rtmr := d.Cap, cmp.Or(d.RTMR, agent.DefaultRTMR)
	if pcr == NoCap {
		pcr = agent.DefaultCap
	}
	register = fmt.Sprintf("PCR %d", pcr)
	if err = u.Cap(ctx, pcr, event); !errors.Is(err, agent.ErrNoPCR) || u.CapRTMR == nil {
		return register, err
	}
	none := err
	if err = u.CapRTMR(ctx, rtmr, event); errors.Is(err, agent.ErrNoRTMR) {
		return register, fmt.Errorf("%w, and %w", none, err)
	}
	return fmt.Sprintf("RTMR %d", rtmr), err
}

// cap caps the register of a disk that was just opened, and gives it, "" for none. There
// may be none only where the key was released for other evidence than a TPM's; for a
// TPM's, no other register will do.
func (u *Unlocker) cap(ctx context.Context, name string, d Disk, r *agent.Released) (string, error) {
	if d.Cap == NoCap {
		return "", nil
	}
	only := *u
	if r.OfTPM() {
		only.CapRTMR = nil
	}
	register, err := only.extend(ctx, d, agent.CapEvent)
	switch {
	case err == nil:
		return register, nil
	case errors.Is(err, agent.ErrNoPCR) && !r.OfTPM():
		u.Console.Say("%s: no PCR was capped (%v): whoever is root later can ask for the key again", name, err)
		return "", nil
	}
	return "", fmt.Errorf("%s could not be capped, so the volume is closed again: %w", register, err)
}

// CapAfter caps the register of a disk that others opened, and says which: it wants the
// volume to be there, and to be an encrypted one. systemd-cryptsetup takes whatever has
// its name for opened, and the host's disks may hold an LVM volume of that name.
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
	return u.extend(ctx, d, agent.CapEvent)
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
