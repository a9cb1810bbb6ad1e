package uki

import (
	"crypto"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/openskr/openskr/internal/swtpm"
)

// Of Debian's systemd and systemd-boot-efi: scripts/deps.sh ci installs them.
const (
	measure  = "/usr/lib/systemd/systemd-measure"
	realStub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
)

var banks = map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384}

// oracle asks systemd-measure for PCR 11, by bank and phase path.
func oracle(t *testing.T, parts []part) map[string]map[string]string {
	t.Helper()
	if _, err := os.Stat(measure); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	args := []string{"calculate", "--bank=sha256", "--bank=sha384", "--json=short", "--phase=:"}
	for i := range Phases() {
		args = append(args, "--phase="+strings.Join(Phases()[:i+1], ":"))
	}
	for _, p := range parts {
		path := filepath.Join(dir, p.name)
		if err := os.WriteFile(path, p.data, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--"+p.name[1:]+"="+path)
	}
	out, err := exec.Command(measure, args...).Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	var answer map[string][]struct{ Phase, Hash string }
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	values := map[string]map[string]string{}
	for bank, list := range answer {
		values[bank] = map[string]string{}
		for _, v := range list {
			values[bank][v.Phase] = v.Hash
		}
	}
	return values
}

// compare holds PCR 11 of every bank and phase against systemd-measure.
func compare(t *testing.T, i *Image, parts []part) {
	t.Helper()
	want := oracle(t, parts)
	for bank, h := range banks {
		for n := range len(Phases()) + 1 {
			phase := strings.Join(Phases()[:n], ":")
			theirs := want[bank][phase]
			if n == 0 && theirs == "" {
				theirs = want[bank][":"]
			}
			if got := hex.EncodeToString(Replay(h, i.PCR11(h, Phases()[:n]...))); got != theirs || theirs == "" {
				t.Errorf("%s %q: %s, systemd-measure says %q", bank, phase, got, theirs)
			}
		}
	}
}

func TestSystemdMeasure(t *testing.T) {
	b, parts := sample(t, "252.39")
	compare(t, parse(t, b), parts)
	few := []part{{".linux", kernel(t)}, {".cmdline", []byte("quiet")}}
	compare(t, parse(t, build(t, sdmagic("252"), few[1], few[0])), few)

	help, err := exec.Command(measure, "--help").Output()
	if err != nil || !strings.Contains(string(help), "--sbat") || !strings.Contains(string(help), "--ucode") {
		t.Log("this systemd-measure knows the sections of 252 only")
		return
	}
	b, parts = sample(t, "257.7", part{".ucode", []byte("micro")}, part{".uname", []byte("6.1")}, part{".sbat", []byte("sbat,1")})
	compare(t, parse(t, b), parts)
}

// TestRealStub puts an image together around the stub that is installed, with
// objcopy, and measures it.
func TestRealStub(t *testing.T) {
	if _, err := os.Stat(realStub); err != nil {
		t.Skip(err)
	}
	objcopy, err := exec.LookPath("objcopy")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	parts := []part{{".osrel", []byte("ID=debian\nVERSION_ID=12\n")}, {".cmdline", []byte("root=/dev/mapper/root rw")}, {".initrd", make([]byte, 5000)}, {".linux", kernel(t)}}
	var args []string
	at := 0x1000000
	for _, p := range parts {
		path := filepath.Join(dir, p.name)
		if err := os.WriteFile(path, p.data, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--add-section", p.name+"="+path, "--change-section-vma", fmt.Sprintf("%s=%#x", p.name, at))
		at += 0x100000
	}
	image := filepath.Join(dir, "uki.efi")
	if out, err := exec.Command(objcopy, append(args, realStub, image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	i := parse(t, b)
	t.Log("systemd-stub", i.Stub)
	if i.major != 252 { // later ones measure the stub's own .sbat, which the recipe does not give to systemd-measure
		sbat, err := i.pe.content(".sbat")
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part{".sbat", sbat})
	}
	compare(t, i, parts)
	if _, err := i.PCR4(crypto.SHA256, false); err != nil {
		t.Error(err)
	}
}

// TestTPM gives a software TPM what firmware and stub give to a real one, and
// compares with what it then has. It hashes sections itself (TPM2_PCR_Event); of
// programs it gets the digests.
func TestTPM(t *testing.T) {
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	s, err := swtpm.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	link, err := linuxudstpm.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	_, parts := sample(t, "252.39")
	parts[len(parts)-1].data = parts[len(parts)-1].data[:900] // what fits into one command
	b := build(t, append([]part{sdmagic("252.39")}, parts...)...)
	i := parse(t, b)
	event := func(pcr uint32, data []byte) {
		t.Helper()
		cmd := tpm2.PCREvent{PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)}, EventData: tpm2.TPM2BEvent{Buffer: data}}
		if _, err := cmd.Execute(link); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range measured(252) {
		for _, p := range parts {
			if p.name == name {
				event(11, append([]byte(name), 0))
				event(11, p.data)
			}
		}
	}
	event(11, []byte("enter-initrd"))
	event(4, []byte("Calling EFI Application from Boot Option"))
	event(4, make([]byte, 4))
	image256, _ := Authenticode(b, crypto.SHA256)
	image384, _ := Authenticode(b, crypto.SHA384)
	extend := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: 4, Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: image256}, {HashAlg: tpm2.TPMAlgSHA384, Digest: image384}}},
	}
	if _, err := extend.Execute(link); err != nil {
		t.Fatal(err)
	}
	for alg, h := range map[tpm2.TPMAlgID]crypto.Hash{tpm2.TPMAlgSHA256: crypto.SHA256, tpm2.TPMAlgSHA384: crypto.SHA384} {
		boot, err := i.PCR4(h, true)
		if err != nil {
			t.Fatal(err)
		}
		for pcr, events := range map[uint][]Event{4: boot, 11: i.PCR11(h, "enter-initrd")} {
			if got, want := hex.EncodeToString(Replay(h, events)), read(t, link, alg, pcr); got != want {
				t.Errorf("PCR %d: %s, the TPM has %s", pcr, got, want)
			}
		}
	}
}

func read(t *testing.T, link transport.TPM, alg tpm2.TPMAlgID, pcr uint) string {
	t.Helper()
	r, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: alg, PCRSelect: tpm2.PCClientCompatible.PCRs(pcr),
	}}}}.Execute(link)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.PCRValues.Digests) != 1 {
		t.Fatalf("bank %v is off", alg)
	}
	return hex.EncodeToString(r.PCRValues.Digests[0].Buffer)
}
