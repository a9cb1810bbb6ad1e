package canary_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/enclave-agent/agenttest"
)

const (
	// swapDevice names a block device that becomes swap, in a machine of its own.
	swapDevice = "OPENSKR_SWAP"
	// asCommand makes this program what `run` starts: it says a variable and waits.
	asCommand = "OPENSKR_TEST_COMMAND"
	// asHog makes it use memory.
	asHog   = "OPENSKR_TEST_HOG"
	cgroups = "/sys/fs/cgroup"
	nobody  = 65534
)

func command() int {
	fmt.Println(os.Getenv("SECRET"))
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}

// How much memory is free when the hog begins, and how much it then uses.
const (
	slack = 8 << 20
	meal  = 24 << 20
)

// hog touches memory, twice: what nobody touches meanwhile is swapped.
func hog() int {
	b := make([]byte, meal)
	for range 2 {
		for i := 0; i < len(b); i += 4096 {
			b[i]++
		}
	}
	return 0
}

// pressed is a machine with plain swap, where programs run in a cgroup that is short of
// memory, or in one below it that may not swap.
type pressed struct {
	*testing.T
	device               string
	group, swapped, kept string
}

// TestSwap is AG-12: what programs hold while all that can be swapped is swapped. It says
// which keys must not be on the swap device and which must, for who can look at the whole
// of it: a test of internal/e2e/boot, once this machine is off.
func TestSwap(t *testing.T) {
	device := os.Getenv(swapDevice)
	if device == "" || os.Getpid() != 1 {
		t.Skip("`make e2e-boot` runs this in a machine of its own")
	}
	group := filepath.Join(cgroups, "pressed")
	p := &pressed{T: t, device: device, group: group, swapped: filepath.Join(group, "swapped"), kept: filepath.Join(group, "kept")}
	p.set(filepath.Join(cgroups, "cgroup.subtree_control"), "+memory")
	for _, dir := range []string{p.group, p.swapped, p.kept} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == p.group {
			p.set(filepath.Join(dir, "cgroup.subtree_control"), "+memory")
		}
	}
	p.set(filepath.Join(p.kept, "memory.swap.max"), "0")

	later := p.surprised()
	if err := swapOn(device); err != nil {
		t.Fatal(err)
	}
	later()
	p.refuses("as a user", holder{uid: nobody})
	p.refuses("with a limit that it could run into", holder{uid: nobody, limit: 1 << 40})
	p.refuses("what it starts", holder{args: []string{"run", "--secret", "SECRET=default/s", "--", "/init"}, program: "openskr-workload"})
	p.serves()
	root := p.hold(holder{})
	limit := p.hold(holder{uid: nobody, limit: unix.RLIM_INFINITY})
	kept := p.hold(holder{uid: nobody, cgroup: p.kept})
	secret, token := p.runs()
	allowed := p.hold(holder{uid: nobody, args: []string{"--allow-swap"}})
	p.press()
	p.report("stays", "as root", root)
	p.report("stays", "with LimitMEMLOCK=infinity", limit)
	p.report("stays", "in a cgroup without swap", kept)
	p.report("stays", "of COMMAND in a cgroup without swap", secret)
	p.report("stays", "of the token it was read with", token)
	p.report("leaks", "with --allow-swap", allowed) // so that a scan which finds none of the others means something
}

func (p *pressed) set(file, text string) {
	p.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
}

func (p *pressed) get(file string) string {
	p.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		p.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// press has more memory used than the programs here may have, locked or not.
func (p *pressed) press() {
	p.Helper()
	used, err := strconv.Atoi(p.get(filepath.Join(p.group, "memory.current")))
	if err != nil {
		p.Fatal(err)
	}
	limit := filepath.Join(p.group, "memory.max")
	p.set(limit, strconv.Itoa(used+slack))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asHog+"=1")
	if err := p.start(holder{}, cmd, cmd.Run); err != nil {
		p.Fatal("the hog: ", err)
	}
	p.set(limit, "max")
}

// report tells who scans the device.
func (p *pressed) report(word, of string, key []byte) {
	fmt.Printf("\nswap: %s %x %s\n", word, key, of)
}

// holder is a program that has a key and cannot get rid of it.
type holder struct {
	uid     uint32
	limit   uint64 // of locked memory
	cgroup  string // "": the one that is swapped
	program string // "": openskr-agent
	args    []string
}

// start has do start a command: as the user, in the cgroup and with the limit of h.
func (p *pressed) start(h holder, cmd *exec.Cmd, do func() error) error {
	if h.cgroup == "" {
		h.cgroup = p.swapped
	}
	dir, err := os.Open(h.cgroup)
	if err != nil {
		return err
	}
	defer dir.Close()
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if h.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: h.uid, Gid: h.uid}
	}
	// What tests make in /tmp is theirs alone; here nobody else is.
	if err := filepath.WalkDir("/tmp", func(path string, d fs.DirEntry, err error) error {
		mode := fs.FileMode(0o755)
		if d.Type() == fs.ModeSocket {
			mode = 0o777
		}
		return errors.Join(err, os.Chmod(path, mode))
	}); err != nil {
		return err
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &was); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: h.limit, Max: h.limit}); err != nil {
		return err
	}
	err = do()
	return errors.Join(err, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &was))
}

// refuses wants a program to end before it asks for anything, and to name the device.
func (p *pressed) refuses(name string, h holder) {
	p.Helper()
	m := newMachine(p.T)
	cmd := p.asks(m, h)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := p.start(h, cmd, cmd.Run)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(said.String(), "swap "+p.device+" is not encrypted") {
		p.Errorf("%s: %v: %s", name, err, said.String())
	}
	if n := m.broker.Challenges; n != 0 {
		p.Errorf("%s: asked the broker %d times", name, n)
	}
}

// asks is a command that gets a key on descriptor 3, unless h says otherwise.
func (p *pressed) asks(m *machine, h holder) *exec.Cmd {
	args := h.args
	if h.program == "" {
		h.program, args = "openskr-agent", append([]string{"key", "get", agenttest.KeyURL, "--fd", "3"}, h.args...)
	} else {
		args = slices.Concat(args[:1], m.options, args[1:])
		return exec.Command(filepath.Join(m.bin, h.program), args...)
	}
	return exec.Command(filepath.Join(m.bin, h.program), append(args, m.options...)...)
}

// hold has openskr-agent get a key for a pipe that is full. It lives until this machine is
// off, so that nothing else comes where it was swapped to.
func (p *pressed) hold(h holder) (key []byte) {
	p.Helper()
	m := newMachine(p.T)
	r, w, err := os.Pipe()
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { r.Close() })
	size, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		p.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		p.Fatal(err)
	}
	cmd := p.asks(m, h)
	var said bytes.Buffer
	cmd.Stderr, cmd.ExtraFiles = &said, []*os.File{w}
	if err := p.start(h, cmd, cmd.Start); err != nil {
		p.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond) // nothing tells that somebody waits for a pipe
	defer tick.Stop()
	for !writing(cmd.Process.Pid) {
		select {
		case err := <-ended:
			p.Fatalf("%v: %s", err, said.String())
		case <-tick.C:
		}
	}
	return m.broker.Material
}

// writing says whether a thread of a process waits in write(3, …).
func writing(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	return err == nil && slices.ContainsFunc(threads, func(file string) bool {
		b, err := os.ReadFile(file)
		return err == nil && strings.HasPrefix(string(b), fmt.Sprintf("%d 0x3 ", unix.SYS_WRITE))
	})
}

// serves asks the local API for a key while it is swapped all the time.
func (p *pressed) serves() {
	p.Helper()
	m := newMachine(p.T)
	socket, config := m.serving()
	cmd := exec.Command(filepath.Join(m.bin, "openskr-workload"), append([]string{"serve", "--serve-config", config}, m.options...)...)
	cmd.Stderr = &m.said
	if err := p.start(holder{}, cmd, cmd.Start); err != nil {
		p.Fatal(err)
	}
	answered := make(chan string)
	go func() {
		defer close(answered)
		for range 3 {
			answered <- m.keyRelease(socket)
		}
	}()
	for n := range 3 {
		if n > 0 { // it has all of its memory
			p.press()
		}
		if got := <-answered; !strings.Contains(got, `"key"`) {
			p.Fatalf("the key was not handed over: %.100s: %s", got, m.said.String())
		}
	}
	p.press()
	p.report("stays", "of serve", m.broker.Material)
}

// runs has a program hold a secret in a cgroup without swap, which openskr-workload takes
// for enough.
func (p *pressed) runs() (value, token []byte) {
	p.Helper()
	m := newMachine(p.T)
	secret := text()
	m.broker.Material, m.broker.Secrets = []byte(text()), map[string][]string{"s": {secret}}
	h := holder{uid: nobody, cgroup: p.kept, program: "openskr-workload", args: []string{"run", "--secret", "SECRET=default/s", "--", "/init"}}
	cmd := p.asks(m, h)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.Stderr = &m.said
	in, err := cmd.StdinPipe()
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { in.Close() })
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.Fatal(err)
	}
	if err := p.start(h, cmd, cmd.Start); err != nil {
		p.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != secret {
		p.Fatalf("%v: %s", err, m.said.String())
	}
	return []byte(secret), m.broker.Material
}
