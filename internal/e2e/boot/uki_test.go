package boot

import (
	"debug/pe"
	"fmt"
	"os"
	"path/filepath"
)

// uki is a unified kernel image: the file, and a disk that firmware boots it from.
type uki struct{ file, disk string }

// uki puts an image together: systemd-stub, kernel, initrd of one kind with the
// configuration s, command line.
func (l *lab) uki(name, kind string, s setup, cmdline string) (uki, error) {
	u := uki{filepath.Join(l.dir, name+".efi"), filepath.Join(l.dir, name+".esp")}
	initrd, err := os.ReadFile(filepath.Join(l.initrd, kind))
	if err != nil {
		return u, err
	}
	for len(initrd)%4 != 0 {
		initrd = append(initrd, 0)
	}
	initrd = append(initrd, s.overlay()...)
	parts := filepath.Join(l.dir, name+".parts")
	if err := write(parts, map[string]string{"initrd": string(initrd), "cmdline": cmdline}); err != nil {
		return u, err
	}
	defer os.RemoveAll(parts)
	sections := []struct{ name, file string }{
		{".osrel", filepath.Join(l.tree, "usr/lib/os-release")},
		{".cmdline", filepath.Join(parts, "cmdline")},
		{".initrd", filepath.Join(parts, "initrd")},
		{".linux", l.kernel},
	}
	at, align, err := end(stub)
	if err != nil {
		return u, err
	}
	var args []string
	for _, s := range sections {
		fi, err := os.Stat(s.file)
		if err != nil {
			return u, err
		}
		at = (at + align - 1) / align * align
		args = append(args, "--add-section", s.name+"="+s.file, "--change-section-vma", fmt.Sprintf("%s=%#x", s.name, at))
		at += uint64(fi.Size())
	}
	if _, err := run("", "objcopy", append(args, stub, u.file)...); err != nil {
		return u, err
	}
	return u, u.esp()
}

// end is the address behind the last section of a PE file, and how sections are aligned.
func end(file string) (addr, align uint64, err error) {
	f, err := pe.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	h, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		return 0, 0, fmt.Errorf("%s: not a PE32+ file", file)
	}
	for _, s := range f.Sections {
		addr = max(addr, h.ImageBase+uint64(s.VirtualAddress)+uint64(s.VirtualSize))
	}
	return addr, uint64(h.SectionAlignment), nil
}

// esp makes a FAT32 disk without partitions that firmware boots the image from.
func (u uki) esp() error {
	fi, err := os.Stat(u.file)
	if err != nil {
		return err
	}
	const mib = 1 << 20
	size := max(fi.Size()/mib+6, 48) * mib // FAT32 has a least size
	if err := os.WriteFile(u.disk, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(u.disk, size); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"mformat", "-i", u.disk, "-F", "-T", fmt.Sprint(size / 512), "-h", "64", "-s", "32", "::"},
		{"mmd", "-i", u.disk, "::EFI", "::EFI/BOOT"},
		{"mcopy", "-i", u.disk, u.file, "::EFI/BOOT/BOOTX64.EFI"},
	} {
		if _, err := run("", args[0], args[1:]...); err != nil {
			return err
		}
	}
	return nil
}
