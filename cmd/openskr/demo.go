package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/openskr/openskr/internal/swtpm"
)

// demo is one run of the main job with real programs: hardware, a broker, an agent, an
// operator and an auditor.
type demo struct {
	out      io.Writer
	json     bool
	colour   bool
	dir      string
	self     string // this program
	agent    string // openskr-agent beside it
	workload string // openskr-workload, the same
	url      string
	tee      *demoTEE // nil: the machine has a TPM and nothing else
	tpm      *swtpm.TPM
	machine  *exec.Cmd // that plays the hardware of tee
	serve    *exec.Cmd
	start    time.Time
	step     int
}

// demoStep is one thing that happens, and what to show of it.
type demoStep struct {
	title string
	run   func(context.Context) (string, error)
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

func runDemo(ctx context.Context, out io.Writer, asJSON, colour bool, tee *demoTEE) (err error) {
	d := &demo{out: out, json: asJSON, colour: colour, tee: tee, start: time.Now()}
	if d.vTPM() {
		if err := swtpm.Available(); err != nil {
			return err
		}
	}
	if d.self, err = os.Executable(); err != nil {
		return err
	}
	d.agent, d.workload = filepath.Join(filepath.Dir(d.self), "openskr-agent"), filepath.Join(filepath.Dir(d.self), "openskr-workload")
	for _, program := range []string{d.agent, d.workload} {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%w: build it with `make build`", err)
		}
	}
	if d.dir, err = os.MkdirTemp("", "openskr-demo-"); err != nil {
		return err
	}
	defer d.cleanup()
	steps := d.tpmSteps()
	if tee != nil {
		steps = d.teeSteps()
	}
	for _, s := range steps {
		if err := d.do(ctx, s.title, s.run); err != nil {
			return err
		}
	}
	if !d.json {
		next := "README.md (ways in), docs/operations.md (a real deployment), docs/policies.md"
		if tee != nil {
			next = "docs/agent.md (real hardware), docs/references.md, policies/library (ready policies)"
		}
		fmt.Fprintf(d.out, "\n%s in %.1f s. Next: %s.\n", d.paint("32;1", "Done"), time.Since(d.start).Seconds(), next)
	}
	return nil
}

// vTPM says whether a software TPM belongs to the machine.
func (d *demo) vTPM() bool { return d.tee == nil || d.tee.vTPM }

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
	text := d.typed(prog, args) + "\n" + d.shown(b.String())
	if got := cmd.ProcessState.ExitCode(); got != wantExit {
		return text, fmt.Errorf("%s exited %d, want %d", filepath.Base(prog), got, wantExit)
	}
	return text, nil
}

// typed is a command as one would type it.
func (d *demo) typed(prog string, args []string) string {
	return d.paint("33", "$ "+filepath.Base(prog)+" "+d.shown(strings.Join(args, " ")))
}

// shown is s without the name of the temporary folder.
func (d *demo) shown(s string) string { return strings.ReplaceAll(s, d.dir, "…") }

// ask runs one of our programs, which must succeed, and gives the command as typed and
// what it printed.
func (d *demo) ask(ctx context.Context, prog string, args ...string) (typed, printed string, err error) {
	text, err := d.run(ctx, 0, prog, args...)
	if err != nil {
		return "", "", fmt.Errorf("%w\n%s", err, text)
	}
	typed, printed, _ = strings.Cut(text, "\n")
	return typed, printed, nil
}

// background starts this program and lets it run.
func (d *demo) background(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.self, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

func stop(cmd *exec.Cmd) {
	if cmd != nil && cmd.Process != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
}

func (d *demo) cleanup() {
	stop(d.serve)
	stop(d.machine)
	if d.tpm != nil {
		_ = d.tpm.Close()
	}
	_ = os.RemoveAll(d.dir)
}

func newDemoCmd(a *app) *cobra.Command {
	var name string
	names := slices.Sorted(maps.Keys(demoTEEs()))
	cmd := &cobra.Command{
		Use: "demo", Short: "Watch a key being released to a TPM, refused to a tampered one, and audited",
		Long: `Run the main job in a temporary folder, with a software TPM (swtpm) that booted
what a real machine booted, a broker, an agent and an auditor: real programs,
real evidence, nothing simulated. It trusts the software TPM's own CA as a
manufacturer. Everything is removed at the end.

With --tee it is a confidential machine whose hardware is simulated (openskr simulate),
in a deployment that is a simulation and says so in every record. All else is as real.`,
		Example: "  openskr demo\n  openskr demo --tee tdx",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var tee *demoTEE
			if name != "" {
				t, ok := demoTEEs()[name]
				if !ok {
					return usagef("--tee %.32q: want %s", name, strings.Join(names, ", "))
				}
				tee = &t
			}
			f, ok := a.stdout.(*os.File)
			return runDemo(cmd.Context(), a.stdout, a.json, ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "", tee)
		},
	}
	cmd.Flags().StringVar(&name, "tee", "", "simulated `HARDWARE` instead of the TPM: "+strings.Join(names, ", "))
	return cmd
}
