package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/attest/all"
	"github.com/openskr/openskr/policies"
	"github.com/openskr/openskr/release"
)

func newPolicyCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "policy", Short: "Check, test and read release policies",
		Long: `Release policies are Rego, or Azure's JSON grammar (docs/policies.md). These commands
run what the broker runs, and need none, except for ` + "`policy show KEY`" + `.`,
	})
	cmd.AddCommand(newPolicyCheckCmd(a), newPolicyTestCmd(a), newPolicyListCmd(a), newPolicyShowCmd(a))
	return cmd
}

// newPolicyCompilerCmd is the child process that compiles strangers' policies.
func newPolicyCompilerCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "policy-compiler", Hidden: true, Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			if code := policies.CompilerMain(a.stdin, a.stdout); code != 0 {
				return &exitError{code, errors.New("policy compiler stopped")}
			}
			return nil
		},
	}
}

// compilerArgv starts this program as a policy compiler.
func compilerArgv() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return []string{self, "policy-compiler"}, nil
}

func newPolicyCheckCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Say whether the broker would take a policy", Args: exactArgs("FILE"),
		Long: `Compiles a policy as the broker does at upload: in a process of its own with bounded
memory and time, against the schema of the input, so that a misspelt claim is found.
A file that ends in .json, or begins with {, is in Azure's grammar.
Remarks are printed as FILE:ROW:COLUMN: message [code].`,
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := a.input(args[0])
			if err != nil {
				return err
			}
			argv, err := compilerArgv()
			if err != nil {
				return err
			}
			e, err := policies.New(policies.Config{Compiler: argv, ClaimsSchema: all.Schema()})
			if err != nil {
				return err
			}
			remarks, err := e.Inspect(cmd.Context(), release.ReleasePolicy{ContentType: policyType(args[0], src), Data: src, Digest: sha256.Sum256(src)})
			return a.printCheck(args[0], remarks, err)
		},
	}
}

func (a *app) printCheck(file string, remarks []policies.Diagnostic, err error) error {
	var bad *policies.CheckError
	if errors.As(err, &bad) {
		remarks = bad.Diagnostics
	}
	for i := range remarks {
		remarks[i].File = file
	}
	switch {
	case a.json && (err == nil || bad != nil):
		if remarks == nil {
			remarks = []policies.Diagnostic{}
		}
		if err := printJSON(a.stdout, map[string]any{"ok": err == nil, "diagnostics": remarks}); err != nil {
			return err
		}
	case !a.json:
		for _, d := range remarks {
			fmt.Fprintln(a.stdout, d)
		}
		if err == nil {
			fmt.Fprintf(a.stdout, "%s: ok\n", file)
		}
	}
	if bad != nil {
		return refused(fmt.Errorf("%s: the broker would refuse this policy", file))
	}
	return err
}

func newPolicyTestCmd(a *app) *cobra.Command {
	var filter string
	cmd := &cobra.Command{
		Use: "test DIR", Short: "Run the tests of policies", Args: exactArgs("DIR"),
		Long: `Runs the rules named test_… of every X_test.rego below DIR against the X.rego beside
it, on the engine that the broker runs, with its bounds.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := regoFiles(args[0])
			if err != nil {
				return err
			}
			argv, err := compilerArgv()
			if err != nil {
				return err
			}
			r, err := policies.Test(cmd.Context(), files, policies.TestOptions{Compiler: argv, ClaimsSchema: all.Schema(), Filter: filter})
			if err != nil {
				return err
			}
			return a.printTests(r)
		},
	}
	cmd.Flags().StringVar(&filter, "run", "", "only tests whose name contains `TEXT`")
	return cmd
}

// regoFiles reads the policies and tests below dir, by their path.
func regoFiles(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".rego" || hidden(path) {
			return err
		}
		files[filepath.ToSlash(path)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		return nil, unreadable(err)
	}
	if len(files) == 0 {
		return nil, usagef("%s: no .rego file below it", dir)
	}
	return files, nil
}

// hidden leaves out hostile samples, as the Go tool leaves out testdata.
func hidden(path string) bool {
	return strings.Contains("/"+filepath.ToSlash(path), "/testdata/")
}

func (a *app) printTests(r *policies.TestReport) error {
	ran, bad := 0, 0
	for _, t := range r.Tests {
		ran++
		if t.Outcome == "fail" || t.Outcome == "error" {
			bad++
		}
	}
	if a.json {
		if err := printJSON(a.stdout, r); err != nil {
			return err
		}
	} else {
		for _, d := range r.Diagnostics {
			fmt.Fprintln(a.stdout, d)
		}
		for _, t := range r.Tests {
			if t.Outcome != "pass" {
				fmt.Fprintf(a.stdout, "%s:%d: %s %s %s\n", t.File, t.Row, t.Outcome, t.Name, t.Message)
			}
		}
		for _, c := range r.Coverage {
			if c.Percent < 100 {
				fmt.Fprintf(a.stdout, "%s: %.0f %% covered, not rows %v\n", c.File, c.Percent, c.NotCovered)
			}
		}
		fmt.Fprintf(a.stdout, "%d tests, %d failed\n", ran, bad)
	}
	switch {
	case !r.OK():
		return &exitError{codeFailed, fmt.Errorf("%d of %d policy tests failed, %d remarks", bad, ran, len(r.Diagnostics))}
	case ran == 0:
		return usagef("no test found: a test is a rule test_… in X_test.rego beside X.rego")
	}
	return nil
}

func newPolicyListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the ready policies", Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			type item struct {
				Name   string `json:"name"`
				Title  string `json:"title"`
				Threat string `json:"threat"`
				Digest string `json:"sha256"`
			}
			items := []item{}
			for _, p := range policies.Library() {
				items = append(items, item{p.Name, p.Title, p.Threat, fmt.Sprintf("%x", p.Digest)})
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"value": items})
			}
			for _, i := range items {
				fmt.Fprintf(a.stdout, "%s\n    %s\n    answers: %s\n", i.Name, i.Title, i.Threat)
			}
			return nil
		},
	}
}
