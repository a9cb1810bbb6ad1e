package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/enclave-agent/agenttest"
)

// subject is a program that tests run. It says what comes to it, with the secret that it
// finds then, and does what it is told. SIGTERM ends it unless it is stubborn.
func subject() {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	lines := make(chan string)
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	fmt.Println("ready", found())
	for {
		select {
		case s := <-signals:
			if s != unix.SIGURG && s != unix.SIGCHLD { // its own
				fmt.Println("signal", s, found())
			}
			if s == unix.SIGTERM && os.Getenv("STUBBORN") == "" {
				os.Exit(15)
			}
		case line := <-lines:
			switch line {
			case "exit":
				os.Exit(9)
			case "die":
				signal.Reset(unix.SIGTERM)
				_ = unix.Kill(os.Getpid(), unix.SIGTERM)
			case "orphan": // a child of a child that ends when nobody waits for it
				fmt.Println("orphaned", exec.Command("sh", "-c", "exec <&- >&- 2>&-; true &").Run())
			default:
				fmt.Println("what is", line)
			}
		}
	}
}

// found is the secret, as it is now.
func found() string {
	if path := os.Getenv("SECRET_FILE"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	return os.Getenv("SECRET")
}

// bed is a broker with the secret "s", and a machine.
type bed struct {
	*testing.T
	b      *agenttest.Broker
	common []string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	t.Parallel() // most of what follows is waiting
	b := agenttest.Start(t)
	b.Change(func() { b.Secrets = map[string][]string{"s": {"one"}} })
	b.Trust.VaultSuffixes = []string{"example"} // that of agenttest.VaultURL
	hw := play(t, "snp")
	return &bed{t, b, []string{"--config", b.TrustFile(t), "--platform", "simulated-snp", "--simulator", hw}}
}

// set gives the secret a new version.
func (m *bed) set(value string) {
	m.b.Change(func() { m.b.Secrets["s"] = append(m.b.Secrets["s"], value) })
}

// running is a supervisor and what its program says.
type running struct {
	*bed
	cmd            *exec.Cmd
	stdin          io.Writer
	stdout, stderr *bufio.Reader
}

// run starts `openskr-workload run ARGS… -- workload`.
func (m *bed) run(change func(*exec.Cmd), args ...string) *running {
	m.Helper()
	cmd := exec.Command("openskr-workload", append(append(append([]string{"run"}, m.common...), args...), "--", "workload")...)
	if change != nil {
		change(cmd)
	}
	r := &running{bed: m, cmd: cmd}
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.Fatal(err)
	}
	r.stdout = bufio.NewReader(out)
	if cmd.Stdin == nil {
		if r.stdin, err = cmd.StdinPipe(); err != nil {
			m.Fatal(err)
		}
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		m.Fatal(err)
	}
	r.stderr = bufio.NewReader(errs)
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return r
}

// says wants this as the program's next line.
func (r *running) says(want string) {
	r.Helper()
	line, err := r.stdout.ReadString('\n')
	if got := strings.TrimSpace(line); got != want || err != nil {
		_ = r.cmd.Process.Kill()
		rest, _ := io.ReadAll(r.stderr)
		r.Fatalf("it says %q (%v), want %q; %s", got, err, want, rest)
	}
}

// notes wants a note of the supervisor, perhaps after others.
func (r *running) notes(want string) {
	r.Helper()
	var all strings.Builder
	for {
		line, err := r.stderr.ReadString('\n')
		if strings.Contains(line, want) {
			return
		}
		if all.WriteString(line); err != nil {
			r.Fatalf("no note %q in\n%s", want, all.String())
		}
	}
}

func (r *running) tell(line string) {
	r.Helper()
	if _, err := fmt.Fprintln(r.stdin, line); err != nil {
		r.Fatal(err)
	}
}

func (r *running) signal(s syscall.Signal) {
	r.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.Fatal(err)
	}
}

// ends wants the supervisor to end so.
func (r *running) ends(want string) {
	r.Helper()
	_, _ = io.Copy(io.Discard, r.stdout)
	err := r.cmd.Wait()
	if got := r.cmd.ProcessState.String(); got != want {
		r.Fatalf("it ended with %s (%v), want %s", got, err, want)
	}
}

func TestRunSignals(t *testing.T) {
	r := newBed(t).run(nil, "--secret", "SECRET=default/s")
	r.says("ready one")
	for _, s := range []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT, unix.SIGWINCH, unix.SIGPWR, 37, 64} {
		r.signal(s)
		r.says("signal " + s.String() + " one")
	}
	r.signal(unix.SIGTERM)
	r.says("signal terminated one")
	r.ends("exit status 15")
}

func TestRunEnds(t *testing.T) {
	m := newBed(t)
	for command, want := range map[string]string{"exit": "exit status 9", "die": "signal: terminated"} {
		r := m.run(nil, "--secret", "SECRET=default/s")
		r.says("ready one")
		r.tell(command)
		r.ends(want)
	}
}

// A program does not outlive its supervisor unnoticed.
func TestRunSupervisorKilled(t *testing.T) {
	r := newBed(t).run(nil, "--secret", "SECRET=default/s")
	r.says("ready one")
	r.signal(unix.SIGKILL)
	r.says("signal terminated one")
	r.ends("signal: killed")
}

// What is told to end before the program runs is not run.
func TestRunEndedWhileReading(t *testing.T) {
	m := newBed(t)
	asked := make(chan bool)
	m.b.Change(func() { m.b.Intercept = m.hang("/v1/challenge", asked) })
	r := m.run(nil, "--secret", "SECRET=default/s")
	<-asked
	r.signal(unix.SIGTERM)
	r.notes("terminated signal received")
	r.ends("exit status 5")
}

func TestRunRestart(t *testing.T) {
	m := newBed(t)
	r := m.run(nil, "--secret", "SECRET=default/s", "--watch", "1s")
	r.says("ready one")
	m.set("two")
	r.notes("a new version of SECRET: the program is restarted")
	r.says("signal terminated one")
	r.says("ready two")
	m.set("three")
	r.says("signal terminated two")
	r.says("ready three")
	r.signal(unix.SIGTERM)
	r.ends("exit status 15")
}

func TestRunStubborn(t *testing.T) {
	m := newBed(t)
	stubborn := func(c *exec.Cmd) { c.Env = append(os.Environ(), "STUBBORN=1") }
	r := m.run(stubborn, "--secret", "SECRET=default/s", "--watch", "1s", "--stop-timeout", "10ms")
	r.says("ready one")
	m.set("two")
	r.says("signal terminated one")
	r.notes("it is killed")
	r.says("ready two")
	// Told to end by somebody else while it restarts, it is not started again.
	m.set("three")
	r.says("signal terminated two")
	r.signal(unix.SIGKILL)

	r = m.run(stubborn, "--secret", "SECRET=default/s", "--watch", "1s", "--stop-timeout", "1s")
	r.says("ready three")
	m.set("four")
	r.says("signal terminated three")
	r.signal(unix.SIGTERM)
	r.says("signal terminated three")
	r.notes("it is killed")
	r.ends("signal: killed")
}

func TestRunExitOnChange(t *testing.T) {
	m := newBed(t)
	r := m.run(nil, "--secret-fd", "SECRET=default/s", "--watch", "1s", "--on-change", "exit")
	r.says("ready one")
	m.set("two")
	r.notes("a new version of SECRET: the program is ended")
	r.says("signal terminated one")
	r.ends("exit status 15")
}

// A program that does not end is killed, however often there would be a look meanwhile.
func TestRunExitStubborn(t *testing.T) {
	m := newBed(t)
	stubborn := func(c *exec.Cmd) { c.Env = append(os.Environ(), "STUBBORN=1") }
	r := m.run(stubborn, "--secret", "SECRET=default/s", "--watch", "1s", "--on-change", "exit", "--stop-timeout", "3s")
	r.says("ready one")
	m.set("two")
	r.says("signal terminated one")
	if line, _ := r.stdout.ReadString('\n'); line != "" {
		t.Fatalf("it says %q: it was told to end twice", line)
	}
	r.notes("it is killed")
	r.ends("signal: killed")
}

func TestRunSignalOnChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts, which needs root")
	}
	m := newBed(t)
	dir := filepath.Join(t.TempDir(), "secrets")
	r := m.run(nil, "--secret-file", "SECRET=default/s", "--watch", "1s", "--on-change", "signal=HUP", "--secret-dir", dir)
	r.says("ready one")
	for _, value := range []string{"two", "three"} {
		m.set(value)
		r.notes("its files are replaced")
		r.says("signal hangup " + value)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("others see %v, %v", left, err)
	}
	r.tell("exit")
	r.ends("exit status 9")
}

// AG-15: while a secret cannot be read, the program keeps what it has and looks come
// slower; a secret that was taken away is no different.
func TestRunKeepsWhatItHas(t *testing.T) {
	m := newBed(t)
	r := m.run(nil, "--secret", "SECRET=default/s", "--watch", "1s")
	r.says("ready one")
	m.b.Change(func() { delete(m.b.Secrets, "s") })
	r.notes("not_found")
	r.notes("looking for new versions failed (the reader ended with exit code 3): the program keeps the secrets that it has; next look in 2s")
	m.b.Change(func() { m.b.Secrets["s"] = []string{"one", "two"} })
	r.says("signal terminated one")
	r.says("ready two")
	r.signal(unix.SIGTERM)
	r.ends("exit status 15")
}

// hang answers path when the caller has gone.
func (m *bed) hang(path string, asked chan<- bool) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body) // only then the server sees that the caller has gone
		select {
		case asked <- true:
			<-r.Context().Done()
		case <-r.Context().Done(): // who asks a second time is not waited for
		}
		return true
	}
}
