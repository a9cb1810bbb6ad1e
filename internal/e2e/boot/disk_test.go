package boot

import (
	"crypto/aes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/xts"
)

// disk is a LUKS2 disk that was sealed to a key, with a file system in it.
type disk struct {
	file, uuid string
	key        string // URL
	secret     string // what only an opened root can say
	recovery   string // file of the recovery key
	material   []byte // the key itself, which nobody else is to show
}

// fileSystem makes an ext4 file system of a folder in a file. Blocks of LUKS' sector
// size: smaller ones do not mount.
func fileSystem(dir, file string, size int64) error {
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(file, size); err != nil {
		return err
	}
	_, err := run("", "mke2fs", "-q", "-b", "4096", "-t", "ext4", "-d", dir, "-E", "root_owner=0:0", file)
	return err
}

var headerDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// seal makes a LUKS2 disk of that size for a file system, with a key that the operator
// imports, as the machine that builds images, and has the operator record its header. The
// key has the policy of the boot from the beginning: what lets the builder have it is the
// operator's grant, once (BU-10).
func (l *lab) seal(name string, size int64) (disk, error) {
	d := disk{
		file: filepath.Join(l.dir, name+".luks"), key: l.broker.url + "/keys/" + name,
		secret: "only " + name + " says this", recovery: filepath.Join(l.dir, name+".recovery"), material: make([]byte, 32),
	}
	_, _ = rand.Read(d.material)
	imported := filepath.Join(l.dir, name+".bin")
	if err := os.WriteFile(imported, d.material, 0o600); err != nil {
		return d, err
	}
	if _, err := l.openskr("key", "import", name, "--file", imported, "--policy", filepath.Join(l.source, "policies/library/boot-uki.rego")); err != nil {
		return d, err
	}
	if err := os.WriteFile(d.file, nil, 0o600); err != nil {
		return d, err
	}
	if err := os.Truncate(d.file, size+16<<20); err != nil {
		return d, err
	}
	seal := []string{"seal-disk", d.file, "--key", d.key, "--recovery-out", d.recovery}
	if err := l.ungranted(seal); err != nil {
		return d, err
	}
	if _, err := l.openskr("key", "grant-format", name, "--machine", l.builderID); err != nil {
		return d, err
	}
	out, err := l.agent(l.builder, seal...)
	if err != nil {
		return d, err
	}
	if err := l.ungranted([]string{"seal-disk", d.file, "--key", d.key, "--no-recovery", "--erase"}); err != nil {
		return d, err
	}
	digest := headerDigest.Find(out)
	if digest == nil {
		return d, fmt.Errorf("seal-disk printed no digest: %s", out)
	}
	if _, err := l.openskr("key", "tag", name, "luks-header="+string(digest)); err != nil {
		return d, err
	}
	uuid, err := run("", "cryptsetup", "luksUUID", d.file)
	d.uuid = strings.TrimSpace(string(uuid))
	return d, err
}

// exitRefused is the agent's exit code when the broker refuses.
const exitRefused = 3

// ungranted wants no disk to be made just now, and a record of that.
func (l *lab) ungranted(seal []string) error {
	_, err := l.agent(l.builder, seal...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitRefused || !strings.Contains(err.Error(), "openskr key grant-format") {
		return fmt.Errorf("a disk is made without a grant, or nobody is told what to do: %w", err)
	}
	all, err := l.entries(0)
	if err != nil {
		return err
	}
	if last := all[len(all)-1].Record; last.Reason != "format_not_granted" || last.Detail["purpose"] != "format" {
		return fmt.Errorf("the last record is %s %s of %v", last.Decision, last.Reason, last.Detail)
	}
	return nil
}

// fill encrypts a file system into the disk. There may be no device mapper here, so it
// is done as dm-crypt would: aes-xts-plain64, whose tweak counts 512 byte sectors
// whatever the size of a sector is.
func (d disk) fill(plain string) error {
	offset, sector, err := d.segment()
	if err != nil {
		return err
	}
	vk := d.file + ".vk"
	defer os.Remove(vk)
	if _, err := run("", "cryptsetup", "luksDump", "-q", "--dump-volume-key", "--key-file", d.recovery, "--volume-key-file", vk, d.file); err != nil {
		return err
	}
	key, err := os.ReadFile(vk)
	if err != nil {
		return err
	}
	cipher, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		return err
	}
	in, err := os.Open(plain)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(d.file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := out.Seek(offset, io.SeekStart); err != nil {
		return errors.Join(err, out.Close())
	}
	buf := make([]byte, 1<<20)
	for at := uint64(0); ; {
		n, err := io.ReadFull(in, buf)
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil || n%sector != 0 {
			return errors.Join(fmt.Errorf("%d bytes: %w", n, err), out.Close())
		}
		for s := 0; s < n; s += sector {
			cipher.Encrypt(buf[s:s+sector], buf[s:s+sector], at)
			at += uint64(sector / 512)
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return errors.Join(err, out.Close())
		}
	}
}

// segment is where the payload begins, and the size of its sectors.
func (d disk) segment() (offset int64, sector int, err error) {
	out, err := run("", "cryptsetup", "luksDump", "--dump-json-metadata", d.file)
	if err != nil {
		return 0, 0, err
	}
	var meta struct {
		Segments map[string]struct {
			Offset     string `json:"offset"`
			SectorSize int    `json:"sector_size"`
		} `json:"segments"`
	}
	if err := json.Unmarshal(out, &meta); err != nil {
		return 0, 0, err
	}
	offset, err = strconv.ParseInt(meta.Segments["0"].Offset, 10, 64)
	return offset, meta.Segments["0"].SectorSize, err
}

// withExtraSlot is a copy whose header the host changed: one more passphrase opens it.
func (d disk) withExtraSlot() (disk, error) {
	evil := d
	evil.file += ".evil"
	if _, err := run("", "cp", "--sparse=always", d.file, evil.file); err != nil {
		return evil, err
	}
	pass := evil.file + ".pass"
	if err := os.WriteFile(pass, []byte("known to the host"), 0o600); err != nil {
		return evil, err
	}
	_, err := run("", "cryptsetup", "luksAddKey", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", d.recovery, evil.file, pass)
	return evil, err
}
