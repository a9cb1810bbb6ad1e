package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/policies"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// shownDecision is what the broker says about an entry.
type shownDecision struct {
	Index       int64                 `json:"index"`
	Record      json.RawMessage       `json:"record"`
	Input       json.RawMessage       `json:"input"`
	Explanation *policies.Explanation `json:"explanation"`
	Refusal     *release.Refusal      `json:"refusal"`
	Note        string                `json:"note"`
}

func newLogShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show N", Short: "Show an entry, and for a refusal which condition failed", Args: exactArgs("N"),
		Long: `Shows an entry. For a decision of a release policy, the broker evaluates the policy
again on the input it kept and says which conditions failed, and what they saw. With
--json the input document comes along: it is what a policy sees, word for word.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			index, err := indexArg(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var raw []byte
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/log/decisions/"+strconv.FormatInt(index, 10), nil, &raw); err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, json.RawMessage(raw))
			}
			var d shownDecision
			if err := json.Unmarshal(raw, &d); err != nil {
				return fmt.Errorf("the broker's answer is not a decision: %w", err)
			}
			rec, err := receipt.Decode(d.Record)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "entry %d\n", d.Index)
			a.printRecord(rec)
			a.explain(rec, &d)
			return nil
		},
	}
}

// notes of the broker, in words.
var notes = map[string]string{
	"no_input":        "No input was kept: the refusal came before the policy was asked (docs/reasons.md).",
	"policy_replaced": "The key has another policy now, so that this decision cannot be explained again.",
	"key_gone":        "The key is gone, and its policy with it.",
}

// explain prints which conditions failed, what they wanted and what they got.
func (a *app) explain(rec *receipt.Record, d *shownDecision) {
	if rec.Decision != receipt.Deny {
		return
	}
	if r := d.Refusal; r != nil {
		fmt.Fprintf(a.stdout, "\nWhy it was refused:\n  %s: %s\n", printable(string(r.Check)), printable(r.Detail))
		if r.Expected != "" || r.Got != "" {
			fmt.Fprintf(a.stdout, "      expected  %s\n      got       %s\n", printable(r.Expected), printable(r.Got))
		}
		return
	}
	x := d.Explanation
	if x == nil {
		if text := notes[d.Note]; text != "" && rec.Kind == receipt.KindRelease {
			fmt.Fprintf(a.stdout, "\n%s\n", text)
		}
		return
	}
	fmt.Fprintln(a.stdout, "\nWhy the policy refused:")
	if x.Error != "" {
		fmt.Fprintf(a.stdout, "  %s\n", printable(x.Error))
	}
	for _, m := range x.Decision.Messages {
		fmt.Fprintf(a.stdout, "  deny: %s\n", printable(m))
	}
	for _, f := range x.Failures {
		a.printFailure(f)
	}
	if x.Error == "" && len(x.Failures) == 0 && len(x.Decision.Messages) == 0 {
		fmt.Fprintln(a.stdout, "  it does not refuse now: what it decided on may have changed (references)")
	}
}

// printFailure prints a condition that did not hold: what it compared, expected
// and got, as far as the text of the condition says so.
func (a *app) printFailure(f policies.Failure) {
	text := strings.TrimSpace(f.Text)
	fmt.Fprintf(a.stdout, "  %s, line %d: %s\n", printable(f.Rule), f.Row, printable(text))
	for _, v := range f.Values {
		name := printable(v.Name)
		if want := expected(text, v.Name); want != "" {
			fmt.Fprintf(a.stdout, "      expected  %s\n      got       %s\n", printable(want), printable(v.Got))
			continue
		}
		fmt.Fprintf(a.stdout, "      %s got %s\n", name, printable(v.Got))
	}
}

// expected is what a condition wanted name to be: the other side of an equation,
// or true when the condition is the name alone. "" when it is neither.
func expected(condition, name string) string {
	if condition == name {
		return "true"
	}
	if side, ok := strings.CutPrefix(condition, name+" == "); ok {
		return side
	}
	if side, ok := strings.CutSuffix(condition, " == "+name); ok {
		return side
	}
	return ""
}
