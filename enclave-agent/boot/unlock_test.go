package boot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

// refuses wants an unlock to fail with target, without cryptsetup having been run, the
// PCR capped or the disk changed.
func (r *rig) refuses(t *testing.T, target error) error {
	t.Helper()
	before := r.bytes(t)
	trap := filepath.Join(t.TempDir(), "ran")
	r.tool = &cryptsetup{path: script(t, "touch "+trap), dry: true}
	_, err := r.Unlock(t.Context(), "root", r.disk)
	if !errors.Is(err, target) {
		t.Errorf("%v, want %v", err, target)
	}
	if _, err := os.Stat(trap); err == nil {
		t.Error("cryptsetup was run")
	}
	if len(r.capped) > 0 {
		t.Error("the PCR was capped")
	}
	if !bytes.Equal(before, r.bytes(t)) {
		t.Error("the disk was changed")
	}
	if s := r.vault.open; s != nil && s.Bytes() != nil {
		t.Error("the key is still in memory")
	}
	return err
}

// script is a program in place of cryptsetup.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cryptsetup")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// BU-01: what has another shape is refused before a key is asked for.
func TestBU01ShapeBeforeKey(t *testing.T) {
	r := newRig(t)
	b := r.bytes(t)
	copy(b, mutate(t, b[:sealedHeader], set("segments/0", "encryption", "cipher_null-ecb")))
	r.write(t, b)
	asked := len(r.vault.asked)
	r.refuses(t, agent.ErrDisk)
	if len(r.vault.asked) != asked {
		t.Error("a key was asked for")
	}
}

// BU-02: the header of another disk that the same key opens.
func TestBU02HeaderOfAnotherDisk(t *testing.T) {
	r := newRig(t)
	recorded := r.vault.tags[HeaderTag]
	r.seal(t, Seal{Erase: true})
	if r.vault.tags[HeaderTag] == recorded {
		t.Fatal("two disks have one header")
	}
	r.vault.tags[HeaderTag] = recorded
	err := r.refuses(t, agent.ErrDisk)
	if err == nil || !strings.Contains(err.Error(), "openskr key tag disk --version "+testVersion+" luks-header=sha256:") {
		t.Errorf("nobody is told what to do: %v", err)
	}
}

// BU-03: a disk of somebody else, made to look like ours.
func TestBU03DiskOfAnother(t *testing.T) {
	r := newRig(t)
	recorded := r.vault.tags[HeaderTag]
	key := r.vault.material
	r.vault.material = bytes.Repeat([]byte{1}, keySize)
	r.seal(t, Seal{Erase: true})
	r.vault.material, r.vault.tags[HeaderTag] = key, recorded
	r.refuses(t, agent.ErrDisk)
}

// BU-04: what is opened is what was checked, whatever becomes of the disk meanwhile.
func TestBU04ChangedBetweenCheckAndOpen(t *testing.T) {
	r := newRig(t)
	r.Keys = func(context.Context) (Keys, error) {
		b := r.bytes(t)
		clear(b[:sealedHeader])
		r.write(t, b)
		return r.vault, nil
	}
	if _, err := r.Unlock(t.Context(), "root", r.disk); err != nil {
		t.Error(err)
	}
	f, err := sealed([]byte("header"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("H"), 0); err == nil || f.Truncate(1) == nil || f.Truncate(10) == nil {
		t.Error("the header in memory can be changed")
	}
}

// BU-09, BU-10: nothing is formatted, and no key is asked for, where there is no header.
func TestBU09BlankAndPlain(t *testing.T) {
	r := newRig(t)
	real := r.bytes(t)
	asked := len(r.vault.asked)
	for name, change := range map[string]func(b []byte){
		"blank": func(b []byte) { clear(b) },
		"ext4":  func(b []byte) { clear(b); copy(b[0x438:], []byte{0x53, 0xef}) },
		"LUKS1": func(b []byte) { b[7] = 1 },
		"noise": func(b []byte) { copy(b, bytes.Repeat([]byte{0x5a}, 1<<20)) },
	} {
		b := bytes.Clone(real)
		change(b)
		r.write(t, b)
		t.Run(name, func(t *testing.T) { r.refuses(t, agent.ErrDisk) })
	}
	r.write(t, real[:1024])
	t.Run("short", func(t *testing.T) {
		if _, err := r.Unlock(t.Context(), "root", r.disk); err == nil {
			t.Error("opened")
		}
	})
	if len(r.vault.asked) != asked {
		t.Error("a key was asked for")
	}
}

// BU-13: the key goes by a pipe; it is in no argument, no environment and no file.
func TestBU13KeyByPipe(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	r.vault.material = []byte("0123456789ABCDEF0123456789ABCDEF")
	r.seal(t, Seal{Erase: true})
	r.tool = &cryptsetup{path: script(t, fmt.Sprintf("cat /proc/$$/cmdline >%[1]s/args; cat /proc/$$/environ >%[1]s/env; ls -l /proc/$$/fd >%[1]s/fds; cat >%[1]s/stdin", dir))}
	t.Setenv("CANARY", "not for the child")
	if _, err := r.Unlock(t.Context(), "root", r.disk); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range []string{"args", "env", "fds", "stdin"} {
		got[name] = string(read(t, filepath.Join(dir, name)))
	}
	if got["stdin"] != string(r.vault.material) || !strings.Contains(got["fds"], "0 -> pipe:") {
		t.Errorf("stdin: %d bytes\n%s", len(got["stdin"]), got["fds"])
	}
	for _, name := range []string{"args", "env"} {
		for _, form := range []string{string(r.vault.material), hex.EncodeToString(r.vault.material)} {
			if strings.Contains(got[name], form) {
				t.Errorf("the key is in %s", name)
			}
		}
	}
	if strings.Contains(got["env"], "CANARY") {
		t.Error("the child got this program's environment")
	}
	for _, want := range []string{"--header\x00/proc/self/fd/3", "--key-slot\x000\x00", "--keyfile-size\x0032\x00", "--\x00" + r.disk.Device + "\x00root\x00"} {
		if !strings.Contains(got["args"], want) {
			t.Errorf("arguments %q lack %q", got["args"], want)
		}
	}
}

// BU-14: the volume does not stay open when the cap fails, and is capped after it opened.
func TestBU14Cap(t *testing.T) {
	r := newRig(t)
	log := filepath.Join(t.TempDir(), "log")
	r.tool = &cryptsetup{path: script(t, "echo $1 >>"+log)}
	r.Cap = func(context.Context, int, string) error {
		if got := string(read(t, log)); got != "open\n" {
			t.Errorf("capped after %q", got)
		}
		return errors.New("TPM broken")
	}
	if _, err := r.Unlock(t.Context(), "root", r.disk); err == nil || !strings.Contains(err.Error(), "TPM broken") {
		t.Errorf("%v", err)
	}
	if got := string(read(t, log)); got != "open\nclose\n" {
		t.Errorf("cryptsetup was run for %q", got)
	}
	r.Cap = func(context.Context, int, string) error { return fmt.Errorf("%w: none", agent.ErrNoPCR) }
	for _, kind := range []string{"", "tpm", "azure-cvm", "gce", "simulated-azure-cvm", "unheard of"} {
		r.vault.evidence = kind
		if _, err := r.Unlock(t.Context(), "root", r.disk); !errors.Is(err, agent.ErrNoPCR) {
			t.Errorf("a TPM that was there for evidence of type %q is gone for the cap: %v", kind, err)
		}
	}
	r.vault.evidence = "snp"
	if out, err := r.Unlock(t.Context(), "root", r.disk); err != nil || out.Capped || !strings.Contains(r.said.String(), "nothing was capped") {
		t.Errorf("%+v, %v: %s", out, err, r.said.String())
	}
	r.Cap = func(context.Context, int, string) error { panic("capped in spite of no_cap") }
	r.disk.Cap = NoCap
	if out, err := r.Unlock(t.Context(), "root", r.disk); err != nil || out.Capped {
		t.Errorf("%+v, %v", out, err)
	}
}

// A cryptsetup that is killed while it opens the disk may have opened it.
func TestKilledWhileOpening(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	begun := filepath.Join(dir, "begun")
	if err := unix.Mkfifo(begun, 0o600); err != nil {
		t.Fatal(err)
	}
	r.tool = &cryptsetup{path: script(t, fmt.Sprintf("echo $1 >>%[1]s/log; [ $1 != open ] || exec cat %[1]s/begun", dir))}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opened := make(chan error)
	go func() {
		_, err := r.Unlock(ctx, "root", r.disk)
		opened <- err
	}()
	f, err := os.OpenFile(begun, os.O_WRONLY, 0) // waits for the script to read
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // only then would the script end by itself
	cancel()
	if err := <-opened; err == nil {
		t.Error("opened")
	}
	if got := string(read(t, filepath.Join(dir, "log"))); got != "open\nclose\n" {
		t.Errorf("cryptsetup was run for %q", got)
	}
}

// away is a broker that is not reached.
type away struct{ vault }

func (*away) DiskKey(ctx context.Context, _, _ string) (*agent.Released, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("%w: %w", agent.ErrUnreachable, ctx.Err())
}

// BU-15: a broker that is away for ten minutes ends it; there is no other key.
func TestBU15BrokerAway(t *testing.T) {
	r := newRig(t)
	r.Timeout = 0
	r.Keys = func(context.Context) (Keys, error) { return &away{}, nil }
	synctest.Test(t, func(t *testing.T) { r.refuses(t, agent.ErrUnreachable) })
}

// BU-16: the header names the version that opens it, and no other key.
func TestBU16Versions(t *testing.T) {
	other := strings.Repeat("f", 32)
	for url, want := range map[string]error{
		testKey:                     nil,
		testKID:                     nil,
		testKey + "/" + other:       agent.ErrDisk,
		testKey + "2":               agent.ErrDisk,
		"https://evil/keys/disk":    agent.ErrDisk,
		"http://vault.example/keys": agent.ErrConfig,
	} {
		r := newRig(t)
		r.disk.Key = url
		if want != nil {
			r.refuses(t, want)
			continue
		}
		if _, err := r.Unlock(t.Context(), "root", r.disk); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	r := newRig(t)
	r.vault.material = bytes.Repeat([]byte{9}, keySize)
	if _, err := r.Unlock(t.Context(), "root", r.disk); !errors.Is(err, agent.ErrDisk) {
		t.Errorf("another key under the same version: %v", err)
	}
}

func TestUnlockRefuses(t *testing.T) {
	refused := &agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied", Correlation: "c-9"}
	for name, c := range map[string]struct {
		change func(r *rig)
		want   error
	}{
		"denied":           {func(r *rig) { r.vault.err = refused }, refused},
		"no hardware":      {func(r *rig) { r.Keys = func(context.Context) (Keys, error) { return nil, agent.ErrNoHardware } }, agent.ErrNoHardware},
		"no tag":           {func(r *rig) { clear(r.vault.tags) }, agent.ErrDisk},
		"empty tag":        {func(r *rig) { r.vault.tags[HeaderTag] = "" }, agent.ErrDisk},
		"tag of a prefix":  {func(r *rig) { r.vault.tags[HeaderTag] = r.vault.tags[HeaderTag][:70] }, agent.ErrDisk},
		"tag with a space": {func(r *rig) { r.vault.tags[HeaderTag] += ", " }, agent.ErrDisk},
		"four digests": {func(r *rig) {
			d := r.vault.tags[HeaderTag]
			r.vault.tags[HeaderTag] = strings.Join([]string{d, d, d, d}, ",")
		}, agent.ErrDisk},
		"key of 16 bytes": {func(r *rig) { r.vault.material = r.vault.material[:16] }, agent.ErrConfig},
		"RSA key":         {func(r *rig) { r.vault.kty = "RSA" }, agent.ErrConfig},
		"name":            {func(r *rig) { r.disk.Cap = 7 }, agent.ErrConfig},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c.change(r)
			r.refuses(t, c.want)
		})
	}
	r := newRig(t)
	other := "sha256:" + strings.Repeat("0", 64)
	r.vault.tags[HeaderTag] = other + "," + r.vault.tags[HeaderTag]
	if _, err := r.Unlock(t.Context(), "root", r.disk); err != nil {
		t.Errorf("second of two digests: %v", err)
	}
	for _, name := range []string{"", "../x", "a/b", "-x", ".x", strings.Repeat("a", 65)} {
		if _, err := r.Unlock(t.Context(), name, r.disk); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// The device may come late.
func TestWaitsForDevice(t *testing.T) {
	r := newRig(t)
	path := r.disk.Device
	if err := os.Rename(path, path+".later"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := waitFor(ctx, path)
		done <- err
	}()
	if err := os.Rename(path+".later", path); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	cancel()
	if _, err := waitFor(ctx, path+".never"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	for _, no := range []string{"/dev/null", t.TempDir()} {
		if _, err := waitFor(t.Context(), no); err == nil {
			t.Errorf("%s was taken for a disk", no)
		}
	}
}

// The cap of a volume that systemd opened wants an encrypted one: what else may have its
// name comes from the host's disks.
func TestCapAfter(t *testing.T) {
	const uuid = "CRYPT-LUKS2-6616da58da9b480ab2904ece45e3564b-"
	for name, c := range map[string]struct {
		name, uuid string
		want       error
	}{
		"ours":            {"vg-root", uuid + "vg-root", nil},
		"LVM":             {"vg-root", "LVM-Ukz2yQpnnJ8aDPQmEzGkMzSTQG9Mv0zv", agent.ErrDisk},
		"plain":           {"vg-root", "CRYPT-PLAIN-vg-root", agent.ErrDisk},
		"of another name": {"vg-root", uuid + "root", agent.ErrDisk},
		"no identity":     {"vg-root", "", agent.ErrDisk},
		"not there":       {"swap", uuid + "swap", nil},
	} {
		r, sys := newRig(t), t.TempDir()
		dir := filepath.Join(sys, "block/dm-3/dm")
		err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "name"), []byte(c.name+"\n"), 0o600),
			os.WriteFile(filepath.Join(dir, "uuid"), []byte(c.uuid+"\n"), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.capAfter(t.Context(), sys, "vg-root", r.disk)
		if open := name == "ours"; (err == nil) != open || c.want != nil && !errors.Is(err, c.want) || (len(r.capped) == 1) != open {
			t.Errorf("%s: %v, capped %v", name, err, r.capped)
		}
		if name != "ours" {
			continue
		}
		for _, c := range []struct {
			shown    agent.Shown
			pcr      error
			uncapped bool // or what ends the machine
		}{
			{agent.Shown{Type: "snp"}, nil, true},
			{agent.Shown{Type: "snp"}, agent.ErrNoPCR, true},
			{agent.Shown{Type: "tdx", RTMR: true}, nil, true},
			{agent.Shown{Type: "tpm", PCR: true}, agent.ErrNoPCR, false},
			{agent.Shown{PCR: true}, agent.ErrNoPCR, false},
		} {
			r.capErr, r.Shown = c.pcr, func(context.Context) agent.Shown { return c.shown }
			register, err := r.capAfter(t.Context(), sys, "vg-root", r.disk)
			if err == nil || errors.Is(err, ErrUncapped) != c.uncapped || !errors.Is(err, cmp.Or(c.pcr, agent.ErrNoRTMR)) {
				t.Errorf("%+v: %q, %v", c, register, err)
			}
		}
	}
}
