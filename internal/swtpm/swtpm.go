// Package swtpm runs a software TPM 2.0 (swtpm, libtpms) with EK certificates of
// its own CA, for tests and for `openskr demo`. It is a real TPM in every respect
// but one: whoever owns the process owns the TPM.
package swtpm

import (
	"context"
	"crypto"
	_ "crypto/sha1" // the sha1 bank
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// Programs that must be installed.
const (
	program      = "swtpm"
	setupProgram = "swtpm_setup"
	caProgram    = "swtpm_localca"
)

// Install is the line that installs what [Available] misses on Debian and Ubuntu.
const Install = "apt-get install -y swtpm swtpm-tools"

// ErrMissing says that a program is not installed.
var ErrMissing = errors.New("program not installed")

// maxSocketPath leaves room for ".ctrl" and the NUL in the 108 bytes of sun_path.
const maxSocketPath = 100

// TPM is a running software TPM. Its state lives in Dir and survives [TPM.Reset].
type TPM struct {
	Socket string // Unix socket that takes TPM commands
	Roots  []byte // PEM: root and issuing CA of the EK certificates
	Dir    string

	sockets string // folder of the socket when Dir is too long for one
	proc    *process
}

// Available says which program is missing and how to install it.
func Available() error {
	for _, name := range []string{program, setupProgram, caProgram} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: %s; install it with: %s", ErrMissing, name, Install)
		}
	}
	return nil
}

// Start makes a TPM in dir, which is created when absent, and starts it: RSA-2048
// and P-384 EKs with certificates, PCR banks sha1, sha256 and sha384. The process
// ends with [TPM.Close], with ctx, or with this program, whatever comes first.
func Start(ctx context.Context, dir string) (*TPM, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := manufacture(ctx, dir); err != nil {
		return nil, err
	}
	t := &TPM{Dir: dir, Socket: filepath.Join(dir, "tpm.sock")}
	for _, name := range []string{"swtpm-localca-rootca-cert.pem", "issuercert.pem"} {
		b, err := os.ReadFile(filepath.Join(dir, "ca", name))
		if err != nil {
			return nil, fmt.Errorf("swtpm CA: %w", err)
		}
		t.Roots = append(t.Roots, b...)
	}
	if len(t.Socket) > maxSocketPath {
		if t.sockets, err = os.MkdirTemp("", "swtpm"); err != nil {
			return nil, err
		}
		t.Socket = filepath.Join(t.sockets, "tpm.sock")
	}
	if t.proc, err = launch(ctx, dir, t.Socket); err != nil {
		return nil, errors.Join(err, os.RemoveAll(t.sockets))
	}
	return t, nil
}

// manufacture makes the CA, the TPM's state and its EK certificates.
func manufacture(ctx context.Context, dir string) error {
	ca, state := filepath.Join(dir, "ca"), filepath.Join(dir, "state")
	for _, d := range []string{ca, state} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	localCA, err := exec.LookPath(caProgram)
	if err != nil {
		return err
	}
	conf, options, setup := filepath.Join(dir, "localca.conf"), filepath.Join(dir, "localca.options"), filepath.Join(dir, "setup.conf")
	files := map[string]string{
		conf:    fmt.Sprintf("statedir = %[1]s\nsigningkey = %[1]s/signkey.pem\nissuercert = %[1]s/issuercert.pem\ncertserial = %[1]s/certserial\n", ca),
		options: "--platform-manufacturer OpenSKR\n--platform-version 1\n--platform-model swtpm\n",
		setup: fmt.Sprintf("create_certs_tool = %s\ncreate_certs_tool_config = %s\ncreate_certs_tool_options = %s\nactive_pcr_banks = sha256\n",
			localCA, conf, options),
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, setupProgram, "--tpm2", "--tpmstate", state, "--config", setup,
		"--create-ek-cert", "--ecc", "--pcr-banks", "sha1,sha256,sha384", "--overwrite")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", setupProgram, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Extend extends one PCR in every bank with the hash of data.
func (t *TPM) Extend(pcr int, data []byte) error {
	e := event{pcr: uint32(pcr)}
	for _, b := range banks {
		h := b.hash.New()
		h.Write(data)
		e.digests = append(e.digests, tpm2.TPMTHA{HashAlg: b.alg, Digest: h.Sum(nil)})
	}
	return t.extend([]event{e})
}

// Boot extends the PCRs as the machine of a real crypto-agile event log did, in
// every bank of the log, so that they equal that machine's. The log must list
// the banks sha1, sha256 and sha384, or some of them.
func (t *TPM) Boot(log []byte) error {
	events, err := parseLog(log)
	if err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	return t.extend(events)
}

func (t *TPM) extend(events []event) error {
	tpm, err := linuxudstpm.Open(t.Socket)
	if err != nil {
		return err
	}
	defer tpm.Close()
	for i, e := range events {
		if e.eventType == evNoAction {
			continue // never extended, TCG PC Client PFP §10.4.5
		}
		_, err := tpm2.PCRExtend{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(e.pcr), Auth: tpm2.PasswordAuth(nil)},
			Digests:   tpm2.TPMLDigestValues{Digests: e.digests},
		}.Execute(tpm)
		if err != nil {
			return fmt.Errorf("event %d, PCR %d: %w", i, e.pcr, err)
		}
	}
	return nil
}

// Reset is a reboot: clean shutdown and start. PCRs are zero again, keys of the
// NULL hierarchy are gone, resetCount grows.
func (t *TPM) Reset(ctx context.Context) error {
	if err := t.proc.stop(t.Socket); err != nil {
		return err
	}
	var err error
	t.proc, err = launch(ctx, t.Dir, t.Socket)
	return err
}

// Close shuts the TPM down cleanly. Its state stays in Dir.
func (t *TPM) Close() error {
	return errors.Join(t.proc.stop(t.Socket), os.RemoveAll(t.sockets)) // "" is no folder
}

type bank struct {
	alg  tpm2.TPMAlgID
	hash crypto.Hash
}

// banks are the active PCR banks.
var banks = []bank{{tpm2.TPMAlgSHA1, crypto.SHA1}, {tpm2.TPMAlgSHA256, crypto.SHA256}, {tpm2.TPMAlgSHA384, crypto.SHA384}}
