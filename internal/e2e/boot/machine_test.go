package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/openskr/openskr/internal/swtpm"
)

// bootLimit bounds one machine, from power on to power off, on a busy host.
const bootLimit = 8 * time.Minute

// machine is what stays the same from boot to boot: a TPM, known to the broker by id.
type machine struct {
	tpm *swtpm.TPM // stopped while a machine runs
	id  string     // "" when the broker never heard of it
}

// start is one boot.
type start struct {
	image   uki
	options string // given to the kernel beside the image; "" boots from the image's disk
	disk    disk
	journal string // file of a disk for what the machine's journal has, "" for none
	// answer is typed when the console shows question.
	question, answer string
}

// console is what a machine wrote on its serial port until it was off.
type console struct {
	text    string
	seconds float64 // from power on to power off
	busy    float64 // seconds of processors of the host
}

// terminal notes when each line of a console began, and sees a question.
type terminal struct {
	began    time.Time
	mu       sync.Mutex
	text     bytes.Buffer
	partial  bool // the last line has no end yet
	question string
	asked    chan struct{}
	raw      io.Writer // what is written while the machine runs, to look at one that hangs
}

func (c *terminal) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.raw.Write(b); err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if !c.partial {
			fmt.Fprintf(&c.text, "%6.1f ", time.Since(c.began).Seconds())
		}
		c.text.Write(line)
		c.partial = !bytes.HasSuffix(line, []byte("\n"))
	}
	if c.question != "" && bytes.Contains(c.text.Bytes(), []byte(c.question)) {
		c.question = ""
		close(c.asked)
	}
	return len(b), nil
}

// boot runs the machine until it powers off.
func (l *lab) boot(ctx context.Context, name string, m *machine, s start) (*console, error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	dir := filepath.Join(l.dir, "vm-"+name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	tpm := exec.CommandContext(ctx, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+filepath.Join(m.tpm.Dir, "state"),
		"--ctrl", "type=unixio,path="+filepath.Join(dir, "tpm"), "--terminate")
	tpm.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := tpm.Start(); err != nil {
		return nil, err
	}
	defer func() { _ = tpm.Process.Kill(); _ = tpm.Wait() }() // it ended with qemu, or never began
	if err := appear(ctx, filepath.Join(dir, "tpm")); err != nil {
		return nil, err
	}
	args, err := l.qemu(dir, s)
	if err != nil {
		return nil, err
	}
	vm := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	vm.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	vm.Env = append(os.Environ(), forwardTo+"=127.0.0.1:"+l.broker.port)
	log := filepath.Join(l.logs, name+".log")
	raw, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	out := &terminal{began: time.Now(), question: s.question, asked: make(chan struct{}), raw: raw}
	vm.Stdout, vm.Stderr = out, out
	stdin, err := vm.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := vm.Start(); err != nil {
		return nil, err
	}
	off := make(chan error, 1)
	go func() { off <- vm.Wait() }()
	select {
	case <-out.asked:
		_, err = io.WriteString(stdin, s.answer+"\n")
		err = errors.Join(err, <-off)
	case err = <-off:
	}
	c := &console{text: plain(out.text.String()), seconds: time.Since(out.began).Seconds()}
	if vm.ProcessState != nil {
		c.busy = (vm.ProcessState.UserTime() + vm.ProcessState.SystemTime()).Seconds()
	}
	err = errors.Join(err, ctx.Err(), os.WriteFile(log, []byte(c.text), 0o644))
	if err != nil {
		return c, fmt.Errorf("%s: %w; the end of its console:\n%s", name, err, tail([]byte(c.text)))
	}
	return c, nil
}

// cpu is all that qemu emulates, but for erms: under TCG the kernel was seen to be twenty
// seconds at clearing one page, in each boot that clears by bytes, and in one of four that
// clears by words.
const cpu = "max,-erms,-fsrm"

// pc is a machine with a console and nothing else. It never uses KVM because /dev/kvm
// exists: that says nothing about whether a guest would run.
func pc() []string {
	accel := os.Getenv("OPENSKR_E2E_ACCEL")
	if accel == "" {
		accel = "tcg,thread=multi"
	}
	return []string{
		"-machine", "q35", "-accel", accel, "-cpu", cpu, "-smp", "2", "-m", "1024",
		"-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none",
	}
}

// qemu is the command line of a machine that reaches nothing but the broker.
func (l *lab) qemu(dir string, s start) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append(pc(),
		"-chardev", "socket,id=tpm,path="+filepath.Join(dir, "tpm"), "-tpmdev", "emulator,id=tpm0,chardev=tpm",
		"-device", "tpm-crb,tpmdev=tpm0", "-device", "virtio-rng-pci",
		"-smbios", "type=11,value=io.systemd.credential:tmpfiles.extra=f /run/obeys-the-host",
		"-fw_cfg", "name=opt/io.systemd.credentials/ssh.authorized_keys.root,string=ssh-ed25519 AAAA host",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+ovmfCode,
		"-drive", "if=pflash,format=raw,unit=1,snapshot=on,file="+filepath.Join(l.dir, "vars.fd"),
		"-netdev", fmt.Sprintf("user,id=n0,restrict=on,guestfwd=tcp:%s:%s-cmd:%s", guestBroker, l.broker.port, self),
		"-device", "virtio-net-pci,netdev=n0,romfile=",
		"-drive", "file="+s.disk.file+",if=none,id=root,format=raw,snapshot=on", "-device", "virtio-blk-pci,drive=root",
	)
	if s.journal != "" {
		args = append(args, "-drive", "file="+s.journal+",if=none,id=journal,format=raw", "-device", "nvme,serial=journal,drive=journal")
	}
	if s.options != "" {
		return append(args, "-kernel", s.image.file, "-append", s.options), nil
	}
	return append(args, "-drive", "file="+s.image.disk+",if=none,id=esp,format=raw,snapshot=on", "-device", "virtio-blk-pci,drive=esp,bootindex=1"), nil
}

// appear waits for a socket of another process, which has no other way to say it.
func appear(ctx context.Context, path string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("swtpm does not start: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;?=]*[A-Za-z]|\x1b.`)

// plain is a console without colours and cursor movements.
func plain(s string) string {
	return strings.ReplaceAll(escapes.ReplaceAllString(s, ""), "\r", "")
}

// line is the first line of a console that holds all the words, "" when none does.
func (c *console) line(words ...string) string {
next:
	for line := range strings.Lines(c.text) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		return strings.TrimSpace(line)
	}
	return ""
}
