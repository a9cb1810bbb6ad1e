package boot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
)

// Command lines of the images. Neither needs words against a shell: the boot files have
// them. words are those of docs/disks.md against what the host says.
const (
	words         = " systemd.import_credentials=no systemd.gpt_auto=no efi=noruntime nohibernate noresume"
	withDracut    = "root=/dev/mapper/root rootfstype=ext4 rw console=ttyS0" + words
	withInitramfs = "root=/dev/mapper/root rootfstype=ext4 rw console=ttyS0 ip=10.0.2.15::10.0.2.2:255.255.255.0::enp0s2:off" + words
	changed       = " systemd.debug-shell=1"
)

// TestBoot is the table of deploy/README.md: which machine gets the key of its disk, and of
// each that does not, what its console and the broker's log say.
func TestBoot(t *testing.T) {
	require(t)
	l := newLab(t)
	var whole, small, other, asking, askingSystemd uki
	step(t, "five images", func() (err error) {
		for _, i := range []struct {
			to         *uki
			name, kind string
			setup      setup
			cmdline    string
			known      bool
		}{
			{to: &whole, name: "dracut", kind: "dracut", setup: l.setup(l.debian, "off"), cmdline: withDracut, known: true},
			{to: &small, name: "initramfs", kind: "initramfs-tools", setup: l.setup(l.small, "off"), cmdline: withInitramfs, known: true},
			{to: &other, name: "other", kind: "dracut", setup: l.setup(l.debian, "off"), cmdline: withDracut + changed},
			{to: &asking, name: "asking", kind: "initramfs-tools", setup: l.setup(l.small, "prompt"), cmdline: withInitramfs + changed},
			{to: &askingSystemd, name: "asking-systemd", kind: "dracut", setup: l.setup(l.small, "prompt"), cmdline: withDracut + changed},
		} {
			if *i.to, err = l.uki(i.name, i.kind, i.setup, i.cmdline); err != nil {
				return err
			}
			if i.known {
				if _, err := l.openskr("reference", "from-uki", i.to.file, "--set", "boot", "--label", "image "+i.name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	// The first boot of a new kind of machine is refused, and the value of PCR 7 for it
	// is taken from the record.
	t.Run("refused", func(t *testing.T) {
		l.each(t, "changed command line", func(t *testing.T, m *machine) { l.changedCommandLine(t, m, other) })
		l.each(t, "another TPM", func(t *testing.T, _ *machine) { l.anotherTPM(t, l.stranger, small) })
		l.each(t, "swapped header", func(t *testing.T, m *machine) { l.swappedHeader(t, m, small) })
	})
	t.Run("known", func(t *testing.T) {
		l.each(t, "dracut", func(t *testing.T, m *machine) { l.opens(t, m, start{image: whole, disk: l.debian}) })
		l.each(t, "initramfs-tools", func(t *testing.T, m *machine) { l.opens(t, m, start{image: small, disk: l.small}) })
		l.each(t, "options beside the image", func(t *testing.T, m *machine) { l.optionsBeside(t, m, small) })
		l.each(t, "recovery", func(t *testing.T, m *machine) { l.recovers(t, m, asking, agent.RecoveryEvent) })
		l.each(t, "recovery with dracut", func(t *testing.T, m *machine) { l.recovers(t, m, askingSystemd, agent.RecoveryEvent, agent.CapEvent) })
	})
}

// changedCommandLine (BU-12) boots an image that is known but for one word in it.
func (l *lab) changedCommandLine(t *testing.T, m *machine, image uki) {
	v := l.visit(t, m, start{image: image, disk: l.debian})
	v.off(t, "policy_denied")
	d := v.denied(t, "PCR 4 has no known value", "PCR 11 has no known value")
	if _, err := l.openskr("reference", "add", "boot", "--kind", "pcr7", "--value", d.pcrs["7"], "--label", "OVMF, no secure boot"); err != nil {
		t.Fatal(err)
	}
}

// anotherTPM boots the known image and the right disk where nobody approved the TPM.
func (l *lab) anotherTPM(t *testing.T, m *machine, image uki) {
	v := l.visit(t, m, start{image: image, disk: l.small})
	v.off(t, "approve")
	v.asked(t)
	pending, err := l.machines("pending")
	if err != nil || len(pending) != 1 {
		t.Fatalf("want one machine that waits for approval, got %v, %v", pending, err)
	}
	all, err := l.entries(0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(e entry) bool {
		return e.Record.Operation == "machines/enroll" && e.Record.Caller.ID == pending[0].ID
	}) {
		t.Error("the log does not say that it appeared")
	}
}

// swappedHeader boots the known image with a disk to which the host added a passphrase:
// no key is asked for.
func (l *lab) swappedHeader(t *testing.T, m *machine, image uki) {
	evil, err := l.small.withExtraSlot()
	if err != nil {
		t.Fatal(err)
	}
	v := l.visit(t, m, start{image: image, disk: evil})
	v.off(t, "the disk is not what was sealed: key slots")
	v.asked(t)
}

// opens boots a known image. Once up, the machine asks for the key again and does not
// get it: PCR 15 was capped.
func (l *lab) opens(t *testing.T, m *machine, s start) {
	s.journal = filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(s.journal, make([]byte, journalSize), 0o600); err != nil {
		t.Fatal(err)
	}
	v := l.visit(t, m, s)
	v.on(t, s.disk)
	if v.console.line(inGuest+"again: exit 3, key false") == "" {
		t.Error("the running system was not refused the key of its disk")
	}
	if s.disk.key == l.debian.key {
		v.asked(t, "allow", "allow", "deny policy_denied") // its disk, what a caller of `serve` asks for, its disk again
	} else {
		v.asked(t, "allow", "deny policy_denied")
	}
	d := v.denied(t, "PCR 15 is not zero")
	if d.pcrs["15"] != extended(agent.CapEvent) {
		t.Errorf("PCR 15 was %s", d.pcrs["15"])
	}
	if v.console.line(inGuest+"credentials: none") == "" {
		t.Error("the host handed the machine credentials")
	}
	journal, err := os.ReadFile(s.journal)
	if err != nil {
		t.Fatal(err)
	}
	if s.disk.key == l.debian.key { // the small root has no journal and no swap
		if !bytes.Contains(journal, []byte("key handed to systemd-cryptsetup")) {
			t.Error("the journal does not have what the agent said")
		}
		if v.console.line(inGuest+"swap on the root: exit 4") == "" { // for want of a TPM, not because of swap
			t.Error("swap on an encrypted volume is not taken for encrypted")
		}
		v.units(t, journal)
	}
	l.showsNoKey(t, "journal", journal)
}

// journalSize is more than the journal of a boot has.
const journalSize = 64 << 20

// extended is a PCR after events.
func extended(events ...string) string {
	var pcr [sha256.Size]byte
	for _, e := range events {
		d := sha256.Sum256([]byte(e))
		pcr = sha256.Sum256(append(pcr[:], d[:]...))
	}
	return hex.EncodeToString(pcr[:])
}

// optionsBeside (BU-12) gives the known image another command line from outside. PCR 11 says
// nothing of it.
func (l *lab) optionsBeside(t *testing.T, m *machine, image uki) {
	v := l.visit(t, m, start{image: image, disk: l.small, options: withInitramfs + changed})
	v.off(t, "policy_denied")
	d := v.denied(t, "PCR 12 is not zero")
	if want := l.known(t, "pcr11"); !want[d.pcrs["11"]] {
		t.Errorf("PCR 11 is %s, not one of the known image: %v", d.pcrs["11"], want)
	}
}

// recovers boots an image that is not known, with recovery by prompt. PCR 15 shows it.
func (l *lab) recovers(t *testing.T, m *machine, image uki, events ...string) {
	v := l.visit(t, m, start{image: image, disk: l.small, question: "Recovery key of root", answer: l.small.recoveryKey(t)})
	v.denied(t, "PCR 11 has no known value")
	v.on(t, l.small)
	if v.console.line(inGuest+"pcr15 "+strings.ToUpper(extended(events...))) == "" {
		t.Error("PCR 15 does not say that the disk was opened by hand")
	}
}

// each runs one boot of the table as a test of its own, when a machine is free.
func (l *lab) each(t *testing.T, name string, boot func(*testing.T, *machine)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		m := <-l.free
		defer func() { l.free <- m }()
		boot(t, m)
	})
}

// Whoever makes an image is told the words that are booted here.
func TestWords(t *testing.T) {
	capped := extended(agent.CapEvent)
	for file, want := range map[string][]string{
		"docs/disks.md":    strings.Fields(words),
		"docs/pcrs.md":     {capped, agent.RecoveryEvent},
		"deploy/README.md": strings.Fields(words),
		"deploy/dracut/90openskr/module-setup.sh": strings.Fields(words),
	} {
		b, err := os.ReadFile(filepath.Join("../../..", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s lacks %s", file, w)
			}
		}
	}
}

// logName is where the console of a test's machine is kept.
func logName(t *testing.T) string { return filepath.Base(t.Name()) }
