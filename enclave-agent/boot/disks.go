package boot

import (
	"fmt"
	"path/filepath"

	"github.com/openskr/openskr/internal/strict"

	agent "github.com/openskr/openskr/enclave-agent"
)

// DefaultDisks is where disks.json lies: in the initrd, which is measured.
const DefaultDisks = "/etc/openskr/disks.json"

// Recovery says what happens to a disk whose key is not released.
type Recovery string

// Prompt asks for the recovery key on the console; Off does nothing more.
const (
	Prompt Recovery = "prompt"
	Off    Recovery = "off"
)

// NoCap as Disk.Cap caps no PCR.
const NoCap = -1

// Disk is where a volume lies, and which key opens it.
type Disk struct {
	Device   string
	Key      string // URL, its version optional
	Recovery Recovery
	Cap      int // PCR, 8 to 15, or NoCap
	RTMR     int // that a TDX machine extends, too: 2 or 3; 0: agent.DefaultRTMR
}

const maxDisks = 64 << 10

type disksFile struct {
	V     int                  `json:"v"`
	Disks map[string]diskEntry `json:"disks"`
}

type diskEntry struct {
	Device   string   `json:"device"`
	Key      string   `json:"key"`
	Recovery Recovery `json:"recovery"`
	Cap      *int     `json:"cap"`
	RTMR     *int     `json:"cap_rtmr"`
	NoCap    bool     `json:"no_cap"`
}

// ReadDisks reads disks.json. Errors wrap [agent.ErrConfig].
func ReadDisks(path string) (map[string]Disk, error) {
	b, err := agent.ReadBounded(path, maxDisks)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; it says which disks there are, another path is given with --disks", agent.ErrConfig, err)
	}
	return ParseDisks(b)
}

// ParseDisks reads disks.json, by volume name. Errors wrap [agent.ErrConfig].
func ParseDisks(b []byte) (map[string]Disk, error) {
	var f disksFile
	if err := strict.Unmarshal(b, maxDisks, &f); err != nil {
		return nil, fmt.Errorf("%w: disks.json: %w", agent.ErrConfig, err)
	}
	if f.V != 1 || len(f.Disks) == 0 {
		return nil, fmt.Errorf("%w: disks.json: version %d with %d disks: this program knows version 1, with one at least", agent.ErrConfig, f.V, len(f.Disks))
	}
	out := map[string]Disk{}
	for name, e := range f.Disks {
		d := Disk{Device: e.Device, Key: e.Key, Recovery: e.Recovery, Cap: agent.DefaultCap}
		if d.Recovery == "" {
			d.Recovery = Prompt
		}
		switch {
		case (e.Cap != nil || e.RTMR != nil) && e.NoCap:
			return nil, fmt.Errorf("%w: disks.json: %s: cap or cap_rtmr, and no_cap exclude each other", agent.ErrConfig, name)
		case e.Cap != nil:
			if err := agent.CheckCap(*e.Cap); err != nil {
				return nil, fmt.Errorf("disks.json: %s: %w", name, err)
			}
			d.Cap = *e.Cap
		case e.NoCap:
			d.Cap = NoCap
		}
		if e.RTMR != nil {
			if err := agent.CheckCapRTMR(*e.RTMR); err != nil {
				return nil, fmt.Errorf("disks.json: %s: %w", name, err)
			}
			d.RTMR = *e.RTMR
		}
		if err := d.Check(name); err != nil {
			return nil, fmt.Errorf("disks.json: %w", err)
		}
		for other, o := range out {
			if shares(d, o) {
				return nil, fmt.Errorf("%w: disks.json: %s and %s have the same key, so that the host could exchange them: want a key, or a version of it, for each", agent.ErrConfig, name, other)
			}
		}
		out[name] = d
	}
	return out, nil
}

// shares says whether a header of one disk could be taken for one of the other.
func shares(a, b Disk) bool {
	ka, va, _ := agent.SplitKeyURL(a.Key) // Check was content with both
	kb, vb, _ := agent.SplitKeyURL(b.Key)
	return ka == kb && (va == "" || vb == "" || va == vb)
}

// Check refuses a disk that is not wholly described. Errors wrap [agent.ErrConfig].
func (d *Disk) Check(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if !filepath.IsAbs(d.Device) {
		return fmt.Errorf("%w: %s: device %.200q: want an absolute path", agent.ErrConfig, name, d.Device)
	}
	if _, _, err := agent.SplitKeyURL(d.Key); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if d.Recovery != Prompt && d.Recovery != Off {
		return fmt.Errorf("%w: %s: recovery %.32q: want prompt or off", agent.ErrConfig, name, d.Recovery)
	}
	if d.RTMR != 0 {
		if err := agent.CheckCapRTMR(d.RTMR); err != nil {
			return err
		}
	}
	if d.Cap == NoCap {
		return nil
	}
	return agent.CheckCap(d.Cap)
}
