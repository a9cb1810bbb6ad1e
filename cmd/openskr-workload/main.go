// Command openskr-workload is what workloads inside a machine with a TPM or a TEE do
// with keys that are released to it: decrypt and encrypt blobs, run a program with its
// secrets, serve local programs. It stands on package agent as openskr-agent does, and
// may weigh more: what boots a machine is there.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/ageplugin"
)

func main() { os.Exit(program()) }

// program is main with an exit code, for tests that are the program.
func program() int {
	ctx, stop := agent.EndedBySignal()
	defer stop()
	if filepath.Base(os.Args[0]) == ageplugin.Program { // age starts a link to this program
		return ageplugin.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	}
	return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// run is the program; it gives the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		a.report(err)
	}
	if err != nil && !a.requested {
		return agent.ExitUsage
	}
	return exitCode(err)
}

// exitError ends the program with the code of another program, without a message.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exitCode is that of openskr-agent, or what a command passes on.
func exitCode(err error) int {
	var passed exitError
	if errors.As(err, &passed) {
		return int(passed)
	}
	return agent.ExitCode(err)
}
