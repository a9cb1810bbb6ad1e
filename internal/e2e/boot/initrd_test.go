package boot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// chroot runs a command in the image, in a mount namespace of its own.
const chroot = `set -eu
mount -t proc proc "$1/proc"
mount -t sysfs sysfs "$1/sys"
mount --bind /dev "$1/dev"
exec chroot "$@"
`

func (l *lab) inImage(command ...string) ([]byte, error) {
	return run("", "unshare", append([]string{"--mount", "sh", "-c", chroot, "sh", l.tree}, command...)...)
}

// Dracut of Debian 12 takes the network modules that it finds for wanted; the drivers of
// storage that no virtual machine has make the initrd, which firmware has to hash,
// twice as large.
var dracut = []string{
	"dracut", "--force", "--no-hostonly", "--reproducible", "--compress", "zstd -9",
	"--omit", "i18n plymouth nfs iscsi nbd cifs multipath mdraid lvm dmraid btrfs nvdimm qemu nvmf resume rngd terminfo pollcdrom",
}

// initrds makes both initrds with the sample configuration, or finds them made before
// from the same image, agent and boot files.
func (l *lab) initrds(root string) error {
	key, err := l.contents()
	if err != nil {
		return err
	}
	if l.kernel, err = kernelOf(l.tree); err != nil {
		return err
	}
	release := strings.TrimPrefix(filepath.Base(l.kernel), "vmlinuz-")
	l.initrd, err = cached("initrd", root+key+strings.Join(dracut, " "), func(dir string) error {
		for name, command := range map[string][]string{
			"dracut":          append(dracut, "/boot/e2e", release),
			"initramfs-tools": {"mkinitramfs", "-o", "/boot/e2e", release},
		} {
			if _, err := l.inImage(command...); err != nil {
				return err
			}
			if _, err := run("", "mv", filepath.Join(l.tree, "boot/e2e"), filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// kernelOf is the one kernel of an image.
func kernelOf(root string) (string, error) {
	kernels, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return "", fmt.Errorf("kernels in the image: %v, %w", kernels, err)
	}
	return kernels[0], nil
}

// contents is a digest of what this repository puts into an initrd.
func (l *lab) contents() (string, error) {
	h := sha256.New()
	add := func(name string) error {
		b, err := os.ReadFile(name)
		fmt.Fprintf(h, "%s %d\n%s", name, len(b), b)
		return err
	}
	if err := add(filepath.Join(l.bin, "openskr-agent")); err != nil {
		return "", err
	}
	err := filepath.WalkDir(filepath.Join(l.source, "deploy"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return add(p)
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// overlay is a second archive for the end of an initrd, whose files win: the
// configuration of one machine. It is measured as the rest of the initrd is.
func (s setup) overlay() []byte { return newc(0o644, s.files()) }

// newc is an archive of files, all of one mode, as the kernel unpacks it.
func newc(mode uint32, files map[string]string) []byte {
	var b bytes.Buffer
	dirs := map[string]bool{}
	for name := range files {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	n := 0
	entry := func(name string, mode uint32, data string) {
		n++
		// newc: inode, mode, owner, links, time, size, device numbers, length of the name.
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", n, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + "\x00")
		pad(&b)
		b.WriteString(data)
		pad(&b)
	}
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		entry(name, 0o40755, "")
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entry(name, 0o100000|mode, files[name])
	}
	entry("TRAILER!!!", 0, "")
	return b.Bytes()
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
