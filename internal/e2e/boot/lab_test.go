package boot

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/openskr/openskr/internal/swtpm"
)

// lab is what all the machines share.
type lab struct {
	source, bin string // the repository, the programs
	dir, logs   string
	tree        string // the image
	initrd      string // folder of initrds with the sample configuration
	kernel      string
	broker      *broker
	builder     *swtpm.TPM
	builderID   string
	debian      disk // a whole Debian
	small       disk // one program
	programs    programs
	free        chan *machine
	stranger    *machine // of which nobody approved the TPM
}

// newLab makes everything but the machines. It prints how long each step took.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{}
	var err error
	if l.source, l.bin, err = checkout(); err != nil {
		t.Fatal(err)
	}
	// Paths of sockets are short.
	if l.dir, err = os.MkdirTemp("", "skr-e2e-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(l.dir); err != nil {
			t.Error(err)
		}
	})
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	l.logs = filepath.Join(cache, "openskr", "e2e-boot", "consoles")
	if err := os.MkdirAll(l.logs, 0o755); err != nil {
		t.Fatal(err)
	}
	var root string
	step(t, "Debian (cached)", func() (err error) { root, err = debian(); return err })
	step(t, "programs and units into a copy", func() error { return l.image(root) })
	step(t, "initrds (cached)", func() error { return l.initrds(root) })
	step(t, "TPMs, broker, enrolment", func() error { return l.enrolled(t) })
	step(t, "key and secrets of programs", l.forPrograms)
	step(t, "two sealed disks", l.disks)
	return l
}

// checkout is where the repository is, and where its programs are.
func checkout() (source, bin string, err error) {
	source, err = filepath.Abs("../../..")
	if bin = os.Getenv("OPENSKR_BIN"); bin == "" {
		bin = filepath.Join(source, "bin")
	}
	return source, bin, err
}

// enrolled makes the TPMs and the broker. Two machines are approved, as many as a small
// host can run at a time; the last one is new to the broker.
func (l *lab) enrolled(t *testing.T) error {
	var tpms []*swtpm.TPM
	var roots []byte
	for _, name := range []string{"builder", "a", "b", "stranger"} {
		tpm, err := swtpm.Start(context.WithoutCancel(t.Context()), filepath.Join(l.dir, "tpm-"+name))
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = tpm.Close() })
		tpms, roots = append(tpms, tpm), append(roots, tpm.Roots...)
	}
	t.Cleanup(func() {
		if log := l.broker.stop(); t.Failed() {
			t.Logf("the broker's log:\n%s", tail([]byte(log)))
		}
	})
	if err := l.startBroker(roots); err != nil {
		return err
	}
	l.builder = tpms[0]
	id, err := l.approve(l.builder)
	if err != nil {
		return err
	}
	l.builderID = id
	if _, err := l.openskr("machine", "label", id, "role=image-builder"); err != nil {
		return err
	}
	l.free = make(chan *machine, 2)
	for _, tpm := range tpms[1:3] {
		id, err := l.approve(tpm)
		if err != nil {
			return err
		}
		l.free <- &machine{tpm: tpm, id: id}
	}
	l.stranger = &machine{tpm: tpms[3]}
	for _, tpm := range tpms[1:] { // qemu starts them anew
		if err := tpm.Close(); err != nil {
			return err
		}
		if err := oneBank(tpm); err != nil {
			return err
		}
	}
	return nil
}

// oneBank leaves a stopped TPM one bank of PCRs: firmware hashes what it starts for each
// bank, which an emulated processor is slow at.
func oneBank(tpm *swtpm.TPM) error {
	_, err := run("", "swtpm_setup", "--tpm2", "--tpmstate", filepath.Join(tpm.Dir, "state"),
		"--config", filepath.Join(tpm.Dir, "setup.conf"), "--reconfigure", "--pcr-banks", "sha256")
	return err
}

// disks makes two disks: the image, and a root that is one program.
func (l *lab) disks() (err error) {
	vars, err := os.ReadFile(ovmfVars)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, "vars.fd"), vars, 0o600); err != nil {
		return err
	}
	if l.debian, err = l.made("debian", l.tree, 512<<20); err != nil {
		return err
	}
	small := filepath.Join(l.dir, "small")
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "etc", "sbin", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(small, dir), 0o755); err != nil {
			return err
		}
	}
	for to, from := range map[string]string{
		"sbin/init": filepath.Join(l.tree, "usr/local/sbin/e2e-guest"), "usr/bin/openskr-agent": filepath.Join(l.bin, "openskr-agent"),
		"etc/os-release": filepath.Join(l.tree, "usr/lib/os-release"), // else systemd does not switch to it
	} {
		if _, err := run("", "cp", from, filepath.Join(small, to)); err != nil {
			return err
		}
	}
	l.small, err = l.made("small", small, 48<<20)
	return err
}

// made seals a disk and fills it with a folder, to which the configuration of the
// machine is added.
func (l *lab) made(name, dir string, size int64) (disk, error) {
	d, err := l.seal(name, size)
	if err != nil {
		return d, err
	}
	s := l.setup(d, "off")
	if err := write(dir, s.files()); err != nil {
		return d, err
	}
	if err := write(dir, map[string]string{"etc/openskr/key": d.key, "etc/openskr/secret": d.secret}); err != nil {
		return d, err
	}
	plain := filepath.Join(l.dir, name+".ext4")
	defer os.Remove(plain)
	if err := fileSystem(dir, plain, size); err != nil {
		return d, err
	}
	return d, d.fill(plain)
}

// setup is the configuration of a machine with that disk.
func (l *lab) setup(d disk, recovery string) setup {
	return setup{d.uuid, d.key, recovery, l.broker.trust}
}
