package tpm

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/openskr/openskr/attest/eventlog"
)

// Loaders whose measurement of the kernel command line is understood.
const (
	loaderGRUB    = "grub"         // strings in PCR 8
	loaderSystemd = "systemd-stub" // UTF-16 load options in PCR 12, or PCR 8 before systemd 251
)

// commandLine adds the measured kernel command line, when exactly one loader
// measured exactly one and its PCR is explained by the log.
//
// What it proves depends on the loader: an operating system can extend these
// PCRs too, so a policy needs PCR 4 or secure boot beside it.
func (l eventLog) commandLine(boot map[string]any, alg uint16, explained uint32) {
	type found struct{ loader, text string }
	var all []found
	for _, pcr := range []uint32{8, 12} {
		if explained&(1<<pcr) == 0 {
			return // an unread PCR could hold another command line
		}
		events, ok := l.textEvents(pcr)
		if !ok {
			return
		}
		if text, ok := systemdOptions(events, alg); ok {
			all = append(all, found{loaderSystemd, text})
		} else if text, ok := grubCommandLine(events, alg); ok && pcr == 8 {
			all = append(all, found{loaderGRUB, text})
		} else if len(events) > 0 {
			return
		}
	}
	if len(all) == 1 {
		boot["loader"], boot["cmdline"] = all[0].loader, all[0].text
	}
}

// textEvents gives the extending events of a PCR, if all have a type that
// loaders use for text.
func (l eventLog) textEvents(pcr uint32) (events []*eventlog.Event, ok bool) {
	for i := range l {
		e := &l[i]
		if e.PCR != pcr || e.Type == evNoAction {
			continue
		}
		if e.Type != evIPL && e.Type != evEventTag {
			return nil, false
		}
		events = append(events, e)
	}
	return events, true
}

// systemdOptions reads the one event that systemd-stub makes of the load options:
// UTF-16 with its NUL, bare (EV_IPL) or tagged (EV_EVENT_TAG), hashed without the tag.
func systemdOptions(events []*eventlog.Event, alg uint16) (string, bool) {
	if len(events) != 1 {
		return "", false
	}
	text := events[0].Data
	if events[0].Type == evEventTag {
		if len(text) < 8 || uint64(binary.LittleEndian.Uint32(text[4:])) != uint64(len(text)-8) {
			return "", false
		}
		text = text[8:]
	}
	if !events[0].Covers(alg, text) {
		return "", false
	}
	return terminatedUTF16(text)
}

// grubCommandLine reads GRUB's strings. The digest covers a string without its
// prefix and (upstream) NUL, so the prefix is the sender's word; the command line is taken
// only if one string is a "linux" command, one string is its arguments, and
// every other is a string too. Quotes and backslashes are left out of that
// comparison because GRUB adds them to one of the two.
func grubCommandLine(events []*eventlog.Event, alg uint16) (string, bool) {
	var command, line string
	commands, lines := 0, 0
	for _, e := range events {
		prefix, text := grubString(e.Data)
		if e.Type != evIPL || prefix == "" {
			return "", false
		}
		if !e.Covers(alg, text) && !e.Covers(alg, e.Data[len(prefix):]) { // RHEL 8 hashes the NUL too
			return "", false
		}
		if args, ok := linuxCommand(string(text)); ok {
			commands++
			command = args
			continue
		}
		if strings.Contains(prefix, "kernel_cmdline") {
			lines++
			line = string(text)
		}
	}
	if commands != 1 || lines != 1 || unquote(command) != unquote(line) || !utf8.ValidString(line) {
		return "", false
	}
	return terminated(line + "\x00")
}

// grubString splits the description of a GRUB event. The first three prefixes
// are upstream's, the others those of the Fedora and RHEL 8 patches.
func grubString(data []byte) (prefix string, text []byte) {
	data, ok := bytes.CutSuffix(data, []byte{0})
	if !ok || len(data) > maxCmdline {
		return "", nil
	}
	for _, p := range []string{"grub_cmd: ", "kernel_cmdline: ", "module_cmdline: ", "grub_kernel_cmdline ", "grub_cmd "} {
		if text, ok := bytes.CutPrefix(data, []byte(p)); ok {
			return p, text
		}
	}
	return "", nil
}

// linuxCommand recognises every GRUB command that boots a kernel; each counts,
// so that two attempts leave no command line rather than the wrong one.
func linuxCommand(s string) (args string, ok bool) {
	name, args, _ := strings.Cut(s, " ")
	switch name {
	case "linux", "linuxefi", "linux16":
		return args, true
	case "chainloader", "multiboot", "multiboot2", "xen_hypervisor", "kfreebsd", "knetbsd", "kopenbsd",
		"xnu_kernel", "xnu_kernel64", "xnu_resume", "ntldr", "freedos", "plan9", "truecrypt":
		return "", true
	}
	return "", false
}

func unquote(s string) string {
	return strings.NewReplacer(`"`, "", `'`, "", `\`, "").Replace(s)
}

// firmwareVersion reads EV_S_CRTM_VERSION of PCR 0: text in UTF-16, or a GUID.
func (l eventLog) firmwareVersion(boot map[string]any, alg uint16, sep int) {
	var version []byte
	for i := range sep {
		e := &l[i]
		if e.PCR != 0 || e.Type != evSCRTMVersion {
			continue
		}
		if version != nil || !e.Covers(alg, e.Data) {
			return
		}
		version = e.Data
	}
	if len(version) == guidSize {
		boot["firmware"] = guidText(version)
	} else if text, ok := terminatedUTF16(version); ok && text != "" && len(version) <= maxVersion {
		boot["firmware"] = text
	}
}
