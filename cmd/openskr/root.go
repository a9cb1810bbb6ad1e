package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is what every command shares.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool   // --json
	credential     string // --credential
}

func newRootCmd(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "openskr",
		Short: "Secure Key Release that you can run yourself",
		Long: `OpenSKR releases keys to machines that prove what they booted, and records
every decision in a log that an auditor verifies without the broker.

Secrets are read from files, from stdin (-) or from an inherited descriptor
(/dev/fd/N), never from the command line or the environment.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	parent(root)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s: %w; see `%s --help`", cmd.CommandPath(), err, cmd.CommandPath())
	})
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON for machines")
	root.PersistentFlags().StringVar(&a.credential, "credential", "",
		"credential `FILE` for this command (- for stdin); default: $OPENSKR_CREDENTIAL names one, else the session of `openskr login`")
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run a broker:"},
		&cobra.Group{ID: "operate", Title: "Operate it:"},
		&cobra.Group{ID: "audit", Title: "Audit and verify:"},
	)
	for id, cmds := range map[string][]*cobra.Command{
		"run":     {newInitCmd(a), newServeCmd(a), newConfigCmd(a), newBackupCmd(a), newRestoreCmd(a), newRecoveryCmd(a), newClockCmd(a), newRotateCmd(a), newDemoCmd(a), newSimulateCmd(a)},
		"operate": {newLoginCmd(a), newLogoutCmd(a), newTokenCmd(a), newVaultCmd(a), newKeyCmd(a), newSecretCmd(a), newPrincipalCmd(a), newRoleCmd(a), newMachineCmd(a), newAttestedRoleCmd(a), newReferenceCmd(a), newPolicyCmd(a), newEncryptCmd(a), newCollateralCmd(a)},
		"audit":   {newLogCmd(a), newEvidenceCmd(a)},
	} {
		for _, c := range cmds {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	root.AddCommand(newVersionCmd(a), newPolicyCompilerCmd(a),
		&cobra.Command{Use: "exit-codes", Short: "What exit codes mean", Long: exitCodesHelp})
	return root
}

// parent makes a command that only holds others say so, instead of ignoring a
// misspelt word.
func parent(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		text := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text += "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return usagef("%s; see `%s --help`", text, cmd.CommandPath())
	}
	return c
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table prints rows under a heading, in columns.
func (a *app) table(head string, rows func(line func(cells ...any))) error {
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(head, " ", "\t"))
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, printable(fmt.Sprint(c)))
		}
		fmt.Fprintln(w)
	})
	return w.Flush()
}

// printable keeps text of others from driving the terminal.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u2066' || r == '\u2067' || r == '\u2068' {
			return '\uFFFD'
		}
		return r
	}, s)
}

// maxInput bounds every file the CLI reads whole.
const maxInput = 64 << 20

// input reads a file, or stdin when path is "-".
func (a *app) input(path string) ([]byte, error) {
	r := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, unreadable(err)
		}
		defer f.Close()
		r = f
	} else if f, ok := r.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintln(a.stderr, "reading from the terminal; end with Ctrl-D")
	}
	b, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, unreadable(fmt.Errorf("%s: %w", path, err))
	}
	if len(b) > maxInput {
		return nil, usagef("%s: more than %d MiB", path, maxInput>>20)
	}
	return b, nil
}

// output writes a new file, or stdout when path is "" or "-". It overwrites nothing.
func (a *app) output(path string, b []byte) error {
	if path == "" || path == "-" {
		_, err := a.stdout.Write(b)
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half of it would be in the way of another try
	}
	return nil
}

// unused refuses a path that output would not write to: before something is made
// whose only copy goes there.
func (a *app) unused(path string) error {
	if path == "" || path == "-" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(path))
}
