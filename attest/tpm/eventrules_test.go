package tpm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"reflect"
	"slices"
	"testing"
	"unicode/utf16"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

// Event types of the logs made here.
const (
	noAction     = 3
	separator    = 4
	eventTag     = 6
	crtmContents = 7
	crtmVersion  = 8
	ipl          = 0xd
	driverConfig = 0x80000001
	bootApp      = 0x80000003
	efiAction    = 0x80000007
	authority    = 0x800000e0
)

const (
	globalGUID   = "61dfe48bca93d211aa0d00e098032b8c"
	securityGUID = "cbb219d73a3d9645a3bcdad00e67656f"
	x509GUID     = "a159c0a5e494a74a87b5ab155c2bf072"
	sha256GUID   = "2616c4c14c509240aca941f936934328"
)

func guid(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// variable is a UEFI_VARIABLE_DATA.
func variable(guidHex, name string, data []byte) []byte {
	b := guid(guidHex)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(utf16le(name))/2))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	return append(append(b, utf16le(name)...), data...)
}

// sigList is an EFI_SIGNATURE_LIST with sizes that may lie.
func sigList(typ string, list, header, entry uint32, body []byte) []byte {
	b := guid(typ)
	for _, v := range []uint32{list, header, entry} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, body...)
}

var ownerA = bytes.Repeat([]byte{0xaa}, 16)

// boot is a plain machine with secure boot on: each part can be replaced.
func boot() []tpmtest.Event {
	cert := append(bytes.Clone(ownerA), "certificate"...)
	ev := []tpmtest.Event{
		{PCR: 0, Type: crtmVersion, Data: utf16le("fw 1\x00")},
		{PCR: 7, Type: driverConfig, Data: variable(globalGUID, "SecureBoot", []byte{1})},
		{PCR: 7, Type: driverConfig, Data: variable(securityGUID, "db", sigList(x509GUID, 28+27, 0, 27, cert))},
		{PCR: 7, Type: driverConfig, Data: variable(securityGUID, "dbx", nil)},
		{PCR: 7, Type: driverConfig, Data: variable(globalGUID, "PK", nil)},
		{PCR: 7, Type: driverConfig, Data: variable(globalGUID, "KEK", nil)},
	}
	for i := range uint32(8) {
		ev = append(ev, tpmtest.Event{PCR: i, Type: separator, Data: []byte{0, 0, 0, 0}})
	}
	return append(ev,
		tpmtest.Event{PCR: 7, Type: authority, Data: variable(securityGUID, "db", cert)},
		tpmtest.Event{PCR: 4, Type: bootApp, Data: []byte("path"), Digest: bytes.Repeat([]byte{1}, 32)},
		grub("grub_cmd: ", "set x=1"), grub("grub_cmd: ", "linux /vmlinuz a=1"), grub("kernel_cmdline: ", "/vmlinuz a=1"),
	)
}

func grub(prefix, text string) tpmtest.Event {
	d := sha256.Sum256([]byte(text))
	return tpmtest.Event{PCR: 8, Type: ipl, Data: []byte(prefix + text + "\x00"), Digest: d[:]}
}

// at is the position of the first event of that PCR and type.
func at(ev []tpmtest.Event, pcr, typ uint32) int {
	return slices.IndexFunc(ev, func(e tpmtest.Event) bool { return e.PCR == pcr && e.Type == typ })
}

func insert(before int, e ...tpmtest.Event) func([]tpmtest.Event) []tpmtest.Event {
	return func(ev []tpmtest.Event) []tpmtest.Event { return slices.Insert(ev, before, e...) }
}

func add(e ...tpmtest.Event) func([]tpmtest.Event) []tpmtest.Event {
	return func(ev []tpmtest.Event) []tpmtest.Event { return append(ev, e...) }
}

func relabel(pcr, from, to uint32) func([]tpmtest.Event) []tpmtest.Event {
	return func(ev []tpmtest.Event) []tpmtest.Event {
		ev[at(ev, pcr, from)].Type = to
		return ev
	}
}

func replaceData(pcr, typ uint32, data []byte) func([]tpmtest.Event) []tpmtest.Event {
	return func(ev []tpmtest.Event) []tpmtest.Event {
		ev[at(ev, pcr, typ)].Data = data
		return ev
	}
}

func claimsOf(t *testing.T, change func([]tpmtest.Event) []tpmtest.Event) (attest.Claims, error) {
	t.Helper()
	m := machine(t)
	m.Boot(change(boot()))
	res, err := verify(t, m)
	if err != nil {
		return nil, err
	}
	return res.Claims, nil
}

func eventlogClaim(c attest.Claims, name string) any {
	return c["tpm"].(map[string]any)["eventlog"].(map[string]any)[name]
}

func TestPlainBoot(t *testing.T) {
	c, err := claimsOf(t, func(ev []tpmtest.Event) []tpmtest.Event { return ev })
	if err != nil {
		t.Fatal(err)
	}
	d := sha256.Sum256([]byte("certificate"))
	cert := []any{hex.EncodeToString(d[:])}
	delete(c, "tpm")
	want := attest.Claims{
		"secureboot": true, "secureboot_db": cert, "secureboot_db_hashes": []any{}, "secureboot_dbx_count": int64(0),
		"secureboot_authorities": cert, "secureboot_other_authorities": []any{},
		"boot": map[string]any{"cmdline": "/vmlinuz a=1", "loader": "grub", "firmware": "fw 1"},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("claims %v, want %v", c, want)
	}
}

// TestLogsRefused are logs that replay and yet must not be believed (EV-10, EV-12, EV-13).
func TestLogsRefused(t *testing.T) {
	sep := tpmtest.Event{PCR: 7, Type: separator, Data: []byte{0, 0, 0, 0}}
	off := variable(globalGUID, "SecureBoot", []byte{0})
	fakes := []tpmtest.Event{{PCR: 7, Type: driverConfig, Data: variable(globalGUID, "SecureBoot", []byte{1})}, sep}
	hash := append(bytes.Clone(ownerA), bytes.Repeat([]byte{0xaa}, 32)...)
	db := func(list []byte) func([]tpmtest.Event) []tpmtest.Event {
		return func(ev []tpmtest.Event) []tpmtest.Event {
			ev[2].Data = variable(securityGUID, "db", list)
			return ev
		}
	}
	for name, tc := range map[string]struct {
		change func([]tpmtest.Event) []tpmtest.Event
		want   attest.Check
	}{
		"fakes with a second separator": {func(ev []tpmtest.Event) []tpmtest.Event {
			ev[1].Data = off
			return append(ev, fakes...)
		}, attest.CheckEventLogType},
		"second separator": {add(sep), attest.CheckEventLogType},
		"real separator relabelled as unused": {func(ev []tpmtest.Event) []tpmtest.Event {
			ev[1].Data = off
			ev[at(ev, 7, separator)].Type = 2
			return append(ev, fakes...)
		}, attest.CheckEventLogType},
		"real separator relabelled as a variable": {func(ev []tpmtest.Event) []tpmtest.Event {
			ev[at(ev, 7, separator)].Type = driverConfig
			return append(ev, fakes...)
		}, attest.CheckEventLogType},
		"real separator relabelled, another value appended": {func(ev []tpmtest.Event) []tpmtest.Event {
			ev[at(ev, 7, separator)].Type = efiAction
			return append(ev, tpmtest.Event{PCR: 7, Type: separator, Data: []byte{0xff, 0xff, 0xff, 0xff}})
		}, attest.CheckEventLogType},
		"firmware variable after the separator": {add(fakes[0]), attest.CheckEventLogType},
		"firmware event after the separator":    {add(tpmtest.Event{PCR: 0, Type: crtmVersion, Data: utf16le("fw 2\x00")}), attest.CheckEventLogType},
		"error separator":                       {replaceData(7, separator, []byte{1, 0, 0, 0}), attest.CheckEventLogType},
		"reserved type":                         {relabel(7, driverConfig, 2), attest.CheckEventLogType},
		"header in a signature list":            {db(sigList(sha256GUID, 28+48+48, 48, 48, append(hash, hash...))), attest.CheckEventLog},
		"header eats the list":                  {db(sigList(sha256GUID, 28+48, 49, 48, hash)), attest.CheckEventLog},
		"entry size 0":                          {db(sigList(x509GUID, 28+48, 0, 0, hash)), attest.CheckEventLog},
		"entry size 8":                          {db(sigList(x509GUID, 28+48, 0, 8, hash)), attest.CheckEventLog},
		"entry size 15":                         {db(sigList(x509GUID, 28+48, 0, 15, hash)), attest.CheckEventLog},
		"entry size 16":                         {db(sigList(x509GUID, 28+48, 0, 16, hash)), attest.CheckEventLog},
		"entry size 2^32-1":                     {db(sigList(x509GUID, 28+48, 0, 1<<32-1, hash)), attest.CheckEventLog},
		"list size 0":                           {db(sigList(x509GUID, 0, 0, 48, hash)), attest.CheckEventLog},
		"list size 27":                          {db(sigList(x509GUID, 27, 0, 48, hash)), attest.CheckEventLog},
		"list size 2^32-1":                      {db(sigList(x509GUID, 1<<32-1, 0, 48, hash)), attest.CheckEventLog},
		"header size 2^32-1":                    {db(sigList(x509GUID, 28+48, 1<<32-1, 48, hash)), attest.CheckEventLog},
		"half an entry":                         {db(sigList(x509GUID, 28+47, 0, 48, hash[:47])), attest.CheckEventLog},
		"hash of 33 bytes":                      {db(sigList(sha256GUID, 28+49, 0, 49, append(hash, 1))), attest.CheckEventLog},
		"locality twice": {insert(0, tpmtest.Event{Type: noAction, Data: []byte("StartupLocality\x00\x00")},
			tpmtest.Event{Type: noAction, Data: []byte("StartupLocality\x00\x00")}), attest.CheckEventLog},
		"locality late":    {add(tpmtest.Event{Type: noAction, Data: []byte("StartupLocality\x00\x00")}), attest.CheckEventLog},
		"locality unknown": {insert(0, tpmtest.Event{Type: noAction, Data: []byte("StartupLocality\x00\x09")}), attest.CheckEventLog},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := claimsOf(t, tc.change)
			if err == nil {
				t.Fatalf("accepted with claims %v", c)
			}
			if r := wantCheck(t, err, tc.want); r.Identity == nil {
				t.Error("no identity")
			}
		})
	}
}

// TestClaimsWithheld are logs that replay, with something in them that this
// verifier cannot judge: the claim is absent, never guessed.
// It is EV-11.
func TestClaimsWithheld(t *testing.T) {
	d := bytes.Repeat([]byte{9}, 32)
	overflowing := variable(globalGUID, "SecureBoot", []byte{1})
	overflowing[16+7] |= 0x80 // twice this length is twice the true one, modulo 2^64
	for name, tc := range map[string]struct {
		change   func([]tpmtest.Event) []tpmtest.Event
		absent   []string
		complete bool
	}{
		"unknown type in PCR 7":         {add(tpmtest.Event{PCR: 7, Type: 0x7777, Data: []byte("x")}), []string{"secureboot", "secureboot_db", "secureboot_authorities"}, false},
		"unknown type in PCR 0":         {add(tpmtest.Event{PCR: 0, Type: 0x7777, Data: []byte("x")}), []string{"boot.firmware"}, false},
		"unknown type in PCR 11":        {add(tpmtest.Event{PCR: 11, Type: 0x7777, Data: []byte("x")}), nil, false},
		"unknown type in PCR 12":        {add(tpmtest.Event{PCR: 12, Type: 0x7777, Data: []byte("x")}), []string{"boot.cmdline"}, false},
		"no separator in PCR 7":         {func(ev []tpmtest.Event) []tpmtest.Event { i := at(ev, 7, separator); return slices.Delete(ev, i, i+1) }, []string{"secureboot", "secureboot_authorities"}, false},
		"separator among S-CRTM":        {insert(0, tpmtest.Event{PCR: 0, Type: crtmContents, Data: []byte{0, 0, 0, 0}}), []string{"boot.firmware"}, false},
		"variable's data not covered":   {func(ev []tpmtest.Event) []tpmtest.Event { ev[1].Digest = d; return ev }, []string{"secureboot", "secureboot_db"}, false},
		"db's data not covered":         {func(ev []tpmtest.Event) []tpmtest.Event { ev[2].Digest = d; return ev }, []string{"secureboot", "secureboot_db"}, false},
		"authority's data not covered":  {func(ev []tpmtest.Event) []tpmtest.Event { ev[at(ev, 7, authority)].Digest = d; return ev }, []string{"secureboot_authorities", "secureboot_other_authorities"}, true},
		"variable relabelled":           {relabel(7, driverConfig, efiAction), []string{"secureboot", "secureboot_db"}, false},
		"debug mode":                    {insert(0, tpmtest.Event{PCR: 7, Type: efiAction, Data: []byte("UEFI Debug Mode")}), []string{"secureboot"}, false},
		"SecureBoot twice":              {insert(0, boot()[1]), []string{"secureboot"}, false},
		"SecureBoot of two bytes":       {replaceData(7, driverConfig, variable(globalGUID, "SecureBoot", []byte{1, 1})), []string{"secureboot"}, true},
		"SecureBoot of another GUID":    {replaceData(7, driverConfig, variable(securityGUID, "SecureBoot", []byte{1})), []string{"secureboot"}, false},
		"name length that overflows":    {replaceData(7, driverConfig, overflowing), []string{"secureboot"}, false},
		"variable with trailing byte":   {replaceData(7, driverConfig, append(variable(globalGUID, "SecureBoot", []byte{1}), 0)), []string{"secureboot"}, false},
		"firmware version not covered":  {func(ev []tpmtest.Event) []tpmtest.Event { ev[0].Digest = d; return ev }, []string{"boot.firmware"}, true},
		"firmware version twice":        {insert(0, boot()[0]), []string{"boot.firmware"}, true},
		"GRUB string not covered":       {add(tpmtest.Event{PCR: 8, Type: ipl, Data: []byte("grub_cmd: x\x00"), Digest: d}), []string{"boot.cmdline"}, true},
		"GRUB string without prefix":    {add(tpmtest.Event{PCR: 8, Type: ipl, Data: []byte("x\x00")}), []string{"boot.cmdline"}, true},
		"second linux command":          {add(grub("grub_cmd: ", "linux /vmlinuz a=1")), []string{"boot.cmdline"}, true},
		"second command line":           {add(grub("kernel_cmdline: ", "/vmlinuz a=1")), []string{"boot.cmdline"}, true},
		"chainloader too":               {add(grub("grub_cmd: ", "chainloader /evil.efi")), []string{"boot.cmdline"}, true},
		"real linux command relabelled": {relabelGRUB("grub_cmd: ", "module_cmdline: "), []string{"boot.cmdline"}, true},
		"real command line relabelled, fake appended": {func(ev []tpmtest.Event) []tpmtest.Event {
			ev[len(ev)-1].Data = append([]byte("grub_cmd: "), ev[len(ev)-1].Data[len("kernel_cmdline: "):]...)
			return append(ev, grub("kernel_cmdline: ", "/vmlinuz good=1"))
		}, []string{"boot.cmdline"}, true},
		"load options in PCR 12 too": {add(tpmtest.Event{PCR: 12, Type: ipl, Data: utf16le("quiet\x00")}), []string{"boot.cmdline"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := claimsOf(t, tc.change)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := c["boot"].(map[string]any)
			flat := maps.Clone(c)
			for k, v := range b {
				flat["boot."+k] = v
			}
			for _, name := range tc.absent {
				if v, ok := flat[name]; ok {
					t.Errorf("%s is %v, want it absent", name, v)
				}
			}
			if got := eventlogClaim(c, "complete"); got != tc.complete {
				t.Errorf("complete is %v, want %v", got, tc.complete)
			}
		})
	}
}

// relabelGRUB gives the linux command a prefix that hides it, and adds another.
func relabelGRUB(from, to string) func([]tpmtest.Event) []tpmtest.Event {
	return func(ev []tpmtest.Event) []tpmtest.Event {
		i := slices.IndexFunc(ev, func(e tpmtest.Event) bool { return bytes.Contains(e.Data, []byte("linux /")) })
		ev[i].Data = append([]byte(to), bytes.TrimPrefix(ev[i].Data, []byte(from))...)
		return append(ev, grub("grub_cmd: ", "linux /vmlinuz good=1"))
	}
}

func TestSystemdStub(t *testing.T) {
	options := utf16le("root=/dev/sda quiet\x00")
	d := sha256.Sum256(options)
	tag := binary.LittleEndian.AppendUint32([]byte{0x75, 0xa0, 0xc9, 0x13}, uint32(len(options)))
	withoutGRUB := func(e tpmtest.Event) func([]tpmtest.Event) []tpmtest.Event {
		return func(ev []tpmtest.Event) []tpmtest.Event {
			return append(slices.DeleteFunc(ev, func(e tpmtest.Event) bool { return e.PCR == 8 }), e)
		}
	}
	for name, e := range map[string]tpmtest.Event{
		"bare":   {PCR: 12, Type: ipl, Data: options},
		"tagged": {PCR: 12, Type: eventTag, Data: append(tag, options...), Digest: d[:]},
	} {
		c, err := claimsOf(t, withoutGRUB(e))
		if err != nil {
			t.Fatal(err)
		}
		b := c["boot"].(map[string]any)
		if b["cmdline"] != "root=/dev/sda quiet" || b["loader"] != "systemd-stub" {
			t.Errorf("%s: boot %v", name, b)
		}
	}
}

func TestSystemdStubNotCovered(t *testing.T) {
	e := tpmtest.Event{PCR: 12, Type: ipl, Data: utf16le("quiet\x00"), Digest: bytes.Repeat([]byte{9}, 32)}
	c, err := claimsOf(t, func(ev []tpmtest.Event) []tpmtest.Event {
		return append(slices.DeleteFunc(ev, func(e tpmtest.Event) bool { return e.PCR == 8 }), e)
	})
	if err != nil {
		t.Fatal(err)
	}
	if b := c["boot"].(map[string]any); b["cmdline"] != nil {
		t.Errorf("boot %v", b)
	}
}

func TestReplay(t *testing.T) {
	m := booted(t, testdata.Ubuntu2404AmdSevSnpEventLog, tpm2.TPMAlgSHA256)
	t.Run("PCR 10 extended by IMA", func(t *testing.T) {
		m := *m
		m.PCRs = maps.Clone(m.PCRs)
		m.PCRs[10] = bytes.Repeat([]byte{1}, 32)
		m.PCRs[23] = bytes.Repeat([]byte{1}, 32)
		res, err := verify(t, &m)
		if err != nil {
			t.Fatal(err)
		}
		if got := eventlogClaim(res.Claims, "unexplained"); !reflect.DeepEqual(got, []any{int64(10), int64(23)}) {
			t.Errorf("unexplained %v", got)
		}
	})
	t.Run("PCR 8 extended later", func(t *testing.T) {
		m := *m
		m.PCRs = maps.Clone(m.PCRs)
		m.PCRs[8] = bytes.Repeat([]byte{1}, 32)
		res, err := verify(t, &m)
		if err != nil {
			t.Fatal(err)
		}
		if b := res.Claims["boot"].(map[string]any); b["cmdline"] != nil {
			t.Errorf("boot %v", b)
		}
	})
	for i := range 8 {
		m := *m
		m.PCRs = maps.Clone(m.PCRs)
		m.PCRs[i] = bytes.Repeat([]byte{1}, 32)
		_, err := verify(t, &m)
		wantCheck(t, err, attest.CheckEventLogReplay)
	}
	t.Run("PCRs 0 to 7 not all quoted", func(t *testing.T) {
		m := *m
		m.PCRs = maps.Clone(m.PCRs)
		delete(m.PCRs, 2)
		res, err := verify(t, &m)
		if err != nil {
			t.Fatal(err)
		}
		if res.Claims["secureboot"] != nil || res.Claims["boot"] != nil || eventlogClaim(res.Claims, "complete") != false {
			t.Errorf("claims %v", res.Claims)
		}
	})
	t.Run("log cut at an event", func(t *testing.T) {
		plain := machine(t)
		plain.Boot(boot())
		short := machine(t)
		short.Boot(boot()[:3])
		plain.Log = short.Log
		_, err := verify(t, plain)
		wantCheck(t, err, attest.CheckEventLogReplay)
	})
	t.Run("bank not in the log", func(t *testing.T) {
		m := machine(t)
		m.Boot(boot())
		other := machine(t)
		other.Bank = tpm2.TPMAlgSHA384
		other.Boot(nil)
		m.Log = other.Log
		_, err := verify(t, m)
		wantCheck(t, err, attest.CheckEventLog)
	})
	t.Run("SHA-1 log", func(t *testing.T) {
		m := machine(t)
		m.Log = testdata.Debian10EventLog
		_, err := verify(t, m)
		wantCheck(t, err, attest.CheckEventLog)
	})
}
