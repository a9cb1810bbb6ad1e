package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const cliManual = "../../docs/cli.md"

// docs/cli.md is what --help says, so that it cannot differ.
func TestManual(t *testing.T) {
	var want bytes.Buffer
	want.WriteString("# openskr\n\nMade from `--help` by a test (`make golden`).\n\n## Exit codes\n\n```\n" + exitCodesHelp + "\n```\n")
	root := newRootCmd(&app{stdout: io.Discard, stderr: io.Discard})
	root.InitDefaultHelpCmd()
	manual(&want, root)
	if *update {
		if err := os.WriteFile(cliManual, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(cliManual)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what --help says: go test ./cmd/openskr -run TestManual -update", cliManual)
	}
}

func manual(w *bytes.Buffer, c *cobra.Command) {
	if c.Hidden || c.IsAdditionalHelpTopicCommand() || c.Name() == "help" {
		return
	}
	var b bytes.Buffer
	c.SetOut(&b)
	_ = c.Help()
	fmt.Fprintf(w, "\n## %s\n\n```\n%s\n```\n", c.CommandPath(), strings.TrimSpace(b.String()))
	for _, sub := range c.Commands() {
		manual(w, sub)
	}
}

// Every command says what it does, and takes no secret as a flag's value.
func TestCommands(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.Hidden && c.Short == "" {
			t.Errorf("%s: no short help", c.CommandPath())
		}
		if c.Args == nil && c.HasParent() && !c.IsAdditionalHelpTopicCommand() {
			t.Errorf("%s: takes any arguments", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRootCmd(&app{}))
}
