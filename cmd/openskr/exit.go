package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
)

// Exit codes; `openskr help exit-codes` is their manual.
const (
	codeDone    = 0
	codeFailed  = 1
	codeUsage   = 2
	codeRefused = 3
)

const exitCodesHelp = `Every command ends with one of these codes:

  0  done
  1  failed: the broker could not be reached, a file could not be written, …
  2  wrong usage, or an input that cannot be read
  3  refused: the evidence, log or receipt does not verify, or the broker or a
     policy says no

With --json an error is one JSON object on stderr:
{"error":{"message":"…","reason":"…","correlation_id":"…"},"exit":3}
where reason is a code of docs/reasons.md, when there is one.`

// exitError carries the exit code of an error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usagef is a mistake of whoever typed the command.
func usagef(format string, args ...any) error {
	return &exitError{codeUsage, fmt.Errorf(format, args...)}
}

// unreadable marks an input that cannot be read.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{codeUsage, err}
}

// refused marks a verification that says no.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{codeRefused, err}
}

func exitCode(err error) int {
	var marked *exitError
	var broker *brokerError
	var rejected *attest.Rejection
	switch {
	case err == nil:
		return codeDone
	case errors.As(err, &marked):
		return marked.code
	case errors.As(err, &broker):
		return broker.exit()
	case errors.As(err, &rejected), release.ReasonOf(err) == release.ReasonRollback:
		return codeRefused
	}
	return codeFailed
}

// complain prints err for a person, or for a machine with --json.
func (a *app) complain(err error) {
	if !a.json {
		fmt.Fprintf(a.stderr, "openskr: %v\n", err)
		return
	}
	var out struct {
		Error struct {
			Message     string `json:"message"`
			Reason      string `json:"reason,omitempty"`
			Correlation string `json:"correlation_id,omitempty"`
		} `json:"error"`
		Exit int `json:"exit"`
	}
	out.Error.Message, out.Exit = err.Error(), exitCode(err)
	var broker *brokerError
	if errors.As(err, &broker) {
		out.Error.Reason, out.Error.Correlation = broker.Reason, broker.Correlation
	} else if r := release.ReasonOf(err); r != release.ReasonInternal {
		out.Error.Reason = string(r)
	}
	_ = printJSON(a.stderr, out)
}

// exactArgs names what is missing instead of counting it.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("%s: %s is missing; see `%s --help`", cmd.CommandPath(), names[len(args)], cmd.CommandPath())
		}
		if len(args) > len(names) {
			return usagef("%s: unexpected %q; see `%s --help`", cmd.CommandPath(), args[len(names)], cmd.CommandPath())
		}
		return nil
	}
}
