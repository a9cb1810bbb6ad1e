package canary_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// surprised starts programs of a user that may lock nothing, while there is no swap, and
// gives what looks at them once there is: serve has ended, before it was asked for
// anything; run has said so, and its COMMAND goes on.
func (p *pressed) surprised() (later func()) {
	p.Helper()
	serve, served := p.begin(func(m *machine) []string {
		socket, config := m.serving()
		if err := os.Chown(filepath.Dir(socket), nobody, nobody); err != nil {
			p.Fatal(err)
		}
		return []string{"serve", "--serve-config", config}
	})
	p.says("serve", served, "serving")
	run, ran := p.begin(func(m *machine) []string {
		m.broker.Material, m.broker.Secrets = []byte(text()), map[string][]string{"s": {text()}}
		return []string{"run", "--secret", "SECRET=default/s", "--", "/init"}
	})
	if _, err := bufio.NewReader(run.stdout).ReadString('\n'); err != nil {
		why, _ := io.ReadAll(ran)
		p.Fatalf("run: %v: %s", err, why)
	}
	return func() {
		p.Helper()
		said := p.says("serve", served, "swap "+p.device+" is not encrypted")
		_, err := io.Copy(io.Discard, served)
		var exit *exec.ExitError
		if err = errors.Join(err, serve.Wait()); !errors.As(err, &exit) || exit.ExitCode() != 2 {
			p.Errorf("serve beside swap that was turned on: %v: %s", err, said)
		}
		p.says("run", ran, "while COMMAND runs: ")
		if err := run.stdin.Close(); err != nil {
			p.Fatal(err)
		}
		if err := run.Wait(); err != nil {
			p.Errorf("COMMAND did not go on: %v", err)
		}
	}
}

// begun is a program that was started, with its streams.
type begun struct {
	*exec.Cmd
	stdin  io.WriteCloser
	stdout io.Reader
}

func (p *pressed) begin(args func(m *machine) []string) (b *begun, stderr *bufio.Reader) {
	p.Helper()
	m := newMachine(p.T)
	h := holder{uid: nobody, program: "openskr-workload", args: args(m)}
	b = &begun{Cmd: p.asks(m, h)}
	b.Env = append(os.Environ(), asCommand+"=1")
	in, err1 := b.StdinPipe()
	out, err2 := b.StdoutPipe()
	errs, err3 := b.StderrPipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		p.Fatal(err)
	}
	b.stdin, b.stdout = in, out
	if err := p.start(h, b.Cmd, b.Start); err != nil {
		p.Fatal(err)
	}
	return b, bufio.NewReader(errs)
}

// says reads lines of a program until one has text.
func (p *pressed) says(name string, lines *bufio.Reader, text string) (said string) {
	p.Helper()
	for !strings.Contains(said, text) {
		line, err := lines.ReadString('\n')
		if said += line; err != nil {
			p.Fatalf("%s: %v after %q, want %q", name, err, said, text)
		}
	}
	return said
}
