package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-eventlog/testdata"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/openskr/openskr/internal/swtpm"
)

// demo is one run of the main job with real programs: a software TPM that booted
// what a real machine booted, a broker, an agent, an operator and an auditor.
type demo struct {
	out    io.Writer
	json   bool
	colour bool
	dir    string
	self   string // this program
	agent  string // openskr-agent beside it
	url    string
	tpm    *swtpm.TPM
	serve  *exec.Cmd
	start  time.Time
	step   int
}

// demoResult is one line of `openskr demo --json`.
type demoResult struct {
	Step   int    `json:"step"`
	Title  string `json:"title"`
	OK     bool   `json:"ok"`
	Millis int64  `json:"ms"`
	Output string `json:"output,omitempty"`
	Error  string `json:"error,omitempty"`
}

func runDemo(ctx context.Context, out io.Writer, asJSON, colour bool) (err error) {
	if err := swtpm.Available(); err != nil {
		return err
	}
	d := &demo{out: out, json: asJSON, colour: colour, start: time.Now()}
	if d.self, err = os.Executable(); err != nil {
		return err
	}
	d.agent = filepath.Join(filepath.Dir(d.self), "openskr-agent")
	if _, err := os.Stat(d.agent); err != nil {
		return fmt.Errorf("%w: build it with `make build`", err)
	}
	if d.dir, err = os.MkdirTemp("", "openskr-demo-"); err != nil {
		return err
	}
	defer d.cleanup()
	for _, s := range []struct {
		title string
		run   func(context.Context) (string, error)
	}{
		{"A machine with a TPM boots; its firmware, loader and kernel are measured into the PCRs", d.bootMachine},
		{"The operator sets up a deployment and starts the broker", d.startBroker},
		{"The machine enrols: its EK certificate is checked, and it waits for approval", d.enroll},
		{"The operator approves it", d.approve},
		{"The operator encrypts a file; its key is released only to this boot state", d.encrypt},
		{"The machine proves what it booted, gets the key, decrypts the file", d.decrypt},
		{"An auditor verifies the log entry offline, with the pinned log key alone", d.audit},
		{"Somebody tampers: one PCR changes. The machine is refused and learns nothing", d.tamper},
		{"The operator sees why", d.explain},
		{"Somebody edits a copy of the log; verification finds the entry", d.forge},
	} {
		if err := d.do(ctx, s.title, s.run); err != nil {
			return err
		}
	}
	if !d.json {
		fmt.Fprintf(d.out, "\n%s in %.1f s. Next: README.md (three ways in), docs/operations.md (a real deployment), docs/policies.md.\n",
			d.paint("32;1", "Done"), time.Since(d.start).Seconds())
	}
	return nil
}

func (d *demo) do(ctx context.Context, title string, run func(context.Context) (string, error)) error {
	d.step++
	if !d.json {
		fmt.Fprintf(d.out, "\n%s %s\n", d.paint("36;1", fmt.Sprintf("%2d.", d.step)), d.paint("1", title))
	}
	t := time.Now()
	text, err := run(ctx)
	if d.json {
		r := demoResult{Step: d.step, Title: title, OK: err == nil, Millis: time.Since(t).Milliseconds(), Output: text}
		if err != nil {
			r.Error = err.Error()
		}
		if err := json.NewEncoder(d.out).Encode(r); err != nil {
			return err
		}
	} else {
		for line := range strings.Lines(text) {
			fmt.Fprint(d.out, "    ", strings.TrimRight(line, "\n"), "\n")
		}
		fmt.Fprintln(d.out, "   ", d.paint("2", fmt.Sprintf("%d ms", time.Since(t).Milliseconds())))
	}
	if err != nil {
		return fmt.Errorf("step %d: %w", d.step, err)
	}
	return nil
}

func (d *demo) paint(code, s string) string {
	if !d.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (d *demo) path(elem ...string) string {
	return filepath.Join(append([]string{d.dir}, elem...)...)
}

// run starts one of our programs and checks its exit code. The text is the
// command as typed and what it printed.
func (d *demo) run(ctx context.Context, wantExit int, prog string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, prog, args...)
	cmd.Env = append(os.Environ(), "OPENSKR_CREDENTIAL="+d.path("admin.json"), "XDG_STATE_HOME="+d.path("state"))
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	text := d.paint("33", "$ "+filepath.Base(prog)+" "+strings.ReplaceAll(strings.Join(args, " "), d.dir, "…")) + "\n" + strings.ReplaceAll(b.String(), d.dir, "…")
	if got := cmd.ProcessState.ExitCode(); got != wantExit {
		return text, fmt.Errorf("%s exited %d, want %d", filepath.Base(prog), got, wantExit)
	}
	return text, nil
}

func (d *demo) cleanup() {
	if d.serve != nil && d.serve.Process != nil {
		_ = d.serve.Process.Signal(syscall.SIGTERM)
		_ = d.serve.Wait()
	}
	if d.tpm != nil {
		_ = d.tpm.Close()
	}
	_ = os.RemoveAll(d.dir)
}

func (d *demo) bootMachine(ctx context.Context) (string, error) {
	var err error
	if d.tpm, err = swtpm.Start(ctx, d.path("tpm")); err != nil {
		return "", err
	}
	log := testdata.Rhel8EventLog
	if err := d.tpm.Boot(log); err != nil {
		return "", err
	}
	return "Event log of a real RHEL 8 machine with Secure Boot, replayed into a software TPM.\n",
		errors.Join(os.WriteFile(d.path("eventlog"), log, 0o600), os.WriteFile(d.path("tpm-roots.pem"), d.tpm.Roots, 0o600))
}

func (d *demo) startBroker(ctx context.Context) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	_ = l.Close()
	d.url = "https://" + addr
	text, err := d.run(ctx, 0, d.self, "init", "--data", d.path("broker"), "--kek", d.path("kek", "root.key"), "--listen", addr,
		"--ek-roots", d.path("tpm-roots.pem"), "--admin-credential", d.path("admin.json"))
	if err != nil {
		return text, err
	}
	d.serve = exec.CommandContext(ctx, d.self, "serve", "--data", d.path("broker"))
	d.serve.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	logFile, err := os.Create(d.path("broker.log"))
	if err != nil {
		return text, err
	}
	defer logFile.Close()
	d.serve.Stdout, d.serve.Stderr = logFile, logFile
	if err := d.serve.Start(); err != nil {
		return text, err
	}
	text += d.paint("33", "$ openskr serve --data …/broker &") + "\n"
	return text, d.ready(ctx)
}

// ready waits until the broker answers.
func (d *demo) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	client, err := trustClient(d.path("broker", "agent.json"))
	if err != nil {
		return err
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			b, _ := os.ReadFile(d.path("broker.log"))
			return fmt.Errorf("the broker did not become ready: %w\n%s", ctx.Err(), b)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func newDemoCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Watch a key being released to a TPM, refused to a tampered one, and audited",
		Long: `Run the main job in a temporary folder, with a software TPM (swtpm) that booted
what a real machine booted, a broker, an agent and an auditor: real programs,
real evidence, nothing simulated. It trusts the software TPM's own CA as a
manufacturer. Everything is removed at the end.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, ok := a.stdout.(*os.File)
			return runDemo(cmd.Context(), a.stdout, a.json, ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "")
		},
	}
}
