package boot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// suite is the Debian that is booted.
const suite = "bookworm"

// packages of the image: both makers of initrds, side by side.
var packages = []string{
	"linux-image-cloud-amd64", "initramfs-tools", "dracut-core", "systemd", "systemd-sysv", "udev", "dbus",
	"cryptsetup-bin", "dmsetup", "kmod", "iproute2", "zstd", "cpio", "busybox",
}

var options = []string{
	"--mode=root", "--variant=minbase", "--skip=check/empty", `--aptopt=Acquire::Languages "none"`,
	"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
}

// cached gives the folder of what make makes for the key, from an earlier run when
// there is one. It appears under its name only when it is whole; one made for another
// key is removed.
func cached(kind, key string, make func(dir string) error) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base = filepath.Join(base, "openskr", "e2e-boot")
	sum := sha256.Sum256([]byte(key))
	dir := filepath.Join(base, kind+"-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	old, err := filepath.Glob(filepath.Join(base, kind+"-*"))
	if err != nil {
		return "", err
	}
	for _, o := range old {
		if err := os.RemoveAll(o); err != nil {
			return "", err
		}
	}
	part := dir + ".part"
	if err := os.MkdirAll(part, 0o755); err != nil {
		return "", err
	}
	if err := make(part); err != nil {
		return "", errors.Join(err, os.RemoveAll(part))
	}
	return dir, os.Rename(part, dir)
}

// debian gives the folder of a Debian as mmdebstrap makes it.
func debian() (string, error) {
	args := append([]string{"--include=" + strings.Join(packages, ",")}, options...)
	sources, err := hostSources()
	if err != nil {
		return "", err
	}
	return cached("root", suite+strings.Join(args, "\n"), func(dir string) error {
		_, err := run("", "mmdebstrap", append(append(args, suite, dir), sources...)...)
		return err
	})
}

// hostSources are the files that name this machine's mirror. None on another
// system: mmdebstrap then takes its own default.
func hostSources() (files []string, err error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil || !strings.Contains(string(release), "VERSION_CODENAME="+suite) {
		return nil, nil
	}
	for _, f := range []string{"/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"} {
		b, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(b), suite) {
			files = append(files, f)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return files, nil
}

// image copies a Debian and installs the programs, their units and boot files and a
// configuration into it, as somebody who makes an image does.
func (l *lab) image(root string) error {
	l.tree = filepath.Join(l.dir, "tree")
	if _, err := run("", "cp", "-a", "--reflink=auto", root, l.tree); err != nil {
		return err
	}
	if _, err := run(l.source, "make", "install", "DESTDIR="+l.tree, "BIN="+l.bin); err != nil {
		return err
	}
	guest := filepath.Join(l.tree, "usr/local/sbin/e2e-guest")
	if _, err := run(l.source, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", guest, "./internal/e2e/boot/guest"); err != nil {
		return err
	}
	if err := write(l.tree, sample.files()); err != nil {
		return err
	}
	if err := write(l.tree, map[string]string{
		"etc/hostname":                         "e2e\n",
		"etc/fstab":                            "/dev/mapper/root / ext4 defaults 0 1\n",
		"etc/systemd/network/50-e2e.network":   network,
		"etc/openskr/initrd.network":           network,
		"etc/systemd/system/e2e-guest.service": guestUnit,
	}); err != nil {
		return err
	}
	if _, err := run("", "systemctl", "--root="+l.tree, "enable", "systemd-networkd.service", "e2e-guest.service"); err != nil {
		return err
	}
	return l.installWorkload()
}

const network = "[Match]\nType=ether\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"

const guestUnit = `[Unit]
Description=Say how this machine came up
After=network.target
[Service]
ExecStart=/usr/local/sbin/e2e-guest
[Install]
WantedBy=multi-user.target
`

// setup is what an image says about its broker and its disk: what an initrd has in it.
type setup struct{ uuid, key, recovery, trust string }

// sample is a setup that is complete and of nobody, so that the initrds made with it
// can be kept.
var sample = setup{"00000000-0000-0000-0000-000000000000", "https://broker.invalid/keys/disk", "off", "{}\n"}

func (s setup) files() map[string]string {
	return map[string]string{
		"etc/openskr/agent.json": s.trust,
		"etc/openskr/disks.json": fmt.Sprintf(`{"v":1,"disks":{"root":{"device":"/dev/disk/by-uuid/%s","key":%q,"recovery":%q}}}`+"\n", s.uuid, s.key, s.recovery),
		"etc/crypttab":           fmt.Sprintf("root UUID=%s /run/openskr/disk.sock luks,header=/run/openskr/root.header,headless=true,tries=1,x-initrd.attach\n", s.uuid),
		"etc/hosts":              "127.0.0.1 localhost\n" + guestBroker + " " + brokerName + "\n",
	}
}

// write writes files below dir.
func write(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
