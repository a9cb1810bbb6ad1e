package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/internal/audit"
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
	var f logFilter
	cmd := &cobra.Command{
		Use: "show [N|CORRELATION]", Short: "Show an entry, and for a refusal why",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && f.any() {
				return nil
			}
			if len(args) == 1 && f.any() {
				return usagef("%s: give an entry, or filters that find it", cmd.CommandPath())
			}
			return exactArgs("N|CORRELATION")(cmd, args)
		},
		Long: `Shows an entry, by its index, by the correlation id that a refused machine shows, or the
newest that passes filters. The correlation id is looked for in the last 10000 entries,
then among the refusals whose callers proved nothing (openskr log refusals).

For a denial by a release policy, the broker evaluates the policy again on the input it
kept and says which conditions failed, and what they saw; for another one, which check
failed. With --json the input document comes along: it is what a policy sees, word for
word.
` + filterHelp,
		Example: "  openskr log show 4711\n  openskr log show --machine 3f2a9c0d --decision deny",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.complete(time.Now()); err != nil {
				return err
			}
			which := ""
			if len(args) == 1 {
				which = args[0]
			}
			index, err := indexArg(which)
			id := correlationForm.MatchString(which)
			if err != nil && !id && !f.any() {
				return usagef("entry %q: want its index, a number from 0, or a correlation id", which)
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var s *audit.Stranger
			switch {
			case id:
				index, s, err = c.find(cmd.Context(), which)
			case f.any():
				index, err = c.newestOf(cmd.Context(), &f)
			}
			if err != nil {
				return err
			}
			if s != nil {
				return a.printStranger(s)
			}
			return a.showEntry(cmd.Context(), c, index)
		},
	}
	f.flags(cmd)
	return cmd
}

// showEntry prints what the broker says about an entry.
func (a *app) showEntry(ctx context.Context, c *client, index int64) error {
	var raw []byte
	if err := c.call(ctx, http.MethodGet, "/v1/log/decisions/"+strconv.FormatInt(index, 10), nil, &raw); err != nil {
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
}

// correlationForm is that of a random UUID, as the broker makes them.
var correlationForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// find gives the index of the newest entry with a correlation id, or the refusal
// of a stranger. A folded record says less than the refusals it counts.
func (c *client) find(ctx context.Context, correlation string) (int64, *audit.Stranger, error) {
	folded := int64(-1)
	for e, err := range c.newest(ctx, maxSearch) {
		switch {
		case err != nil:
			return 0, nil, err
		case e.Record.Correlation != correlation:
			continue
		case e.Record.Folded == nil:
			return e.Index, nil, nil
		}
		folded = e.Index
		break
	}
	list, err := c.refusals(ctx)
	if err != nil {
		return 0, nil, err
	}
	for _, s := range slices.Backward(list) {
		if s.Correlation == correlation {
			return 0, &s, nil
		}
	}
	if folded >= 0 {
		return folded, nil, nil
	}
	return 0, nil, fmt.Errorf("correlation id %s is neither in the last %d entries nor among the refusals of strangers in memory; "+
		"the broker's own output names every refused request by it", correlation, maxSearch)
}

// printStranger prints a refusal that has no entry of its own.
func (a *app) printStranger(s *audit.Stranger) error {
	if a.json {
		return printJSON(a.stdout, map[string]any{"stranger": s})
	}
	when := "before any identity was proven"
	if s.Check.Class() == release.ClassUnavailable {
		when = "without a verdict about the machine"
	}
	fmt.Fprintf(a.stdout, "refused at %s, from %s, %s; the log counts it only\n", milliStamp(s.Time.UnixMilli()), printable(s.Source), when)
	a.printRefusal(&s.Refusal)
	return nil
}

func (a *app) printRefusal(r *release.Refusal) {
	fmt.Fprintf(a.stdout, "\nWhy it was refused:\n  %s: %s\n", printable(string(r.Check)), printable(r.Detail))
	if r.Expected != "" || r.Got != "" {
		fmt.Fprintf(a.stdout, "      expected  %s\n      got       %s\n", printable(r.Expected), printable(r.Got))
	}
}

// notes of the broker, in words.
var notes = map[string]string{
	"no_input":    "Nothing was kept with it beside the reason (docs/reasons.md).",
	"policy_gone": "The policy of this decision was not kept, so that it cannot be explained again.",
}

// explain prints which conditions failed, what they wanted and what they got.
func (a *app) explain(rec *receipt.Record, d *shownDecision) {
	if rec.Decision != receipt.Deny {
		return
	}
	x := d.Explanation
	if x == nil && d.Refusal != nil {
		a.printRefusal(d.Refusal)
		return
	}
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
	if x.Decision.References != rec.References {
		fmt.Fprintln(a.stdout, "  note: the reference values above are those of now; the decision had others")
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
	if known, got := lookup(text, f.Values); known != nil {
		fmt.Fprintf(a.stdout, "      expected  %s\n      got       %s\n", printable(known.Got), printable(got))
		return
	}
	for _, v := range f.Values {
		name := printable(v.Name)
		if want := expected(text, v.Name); want != "" {
			fmt.Fprintf(a.stdout, "      expected  %s\n      got       %s\n", printable(want), printable(v.Got))
			continue
		}
		fmt.Fprintf(a.stdout, "      %s got %s\n", name, printable(v.Got))
	}
}

// lookup reads a condition that is nothing but a look-up of one claim in reference
// values, whose entry is missing: the values in force, and the claim's. nil: another one.
func lookup(condition string, values []policies.Value) (known *policies.Value, got string) {
	entry := false
	for i, v := range values {
		switch {
		case v.Name == condition:
			entry = true
		case strings.HasPrefix(v.Got, "one of "):
			known = &values[i]
		default:
			got = v.Got
		}
	}
	if !entry || known == nil || got == "" || len(values) != 3 {
		return nil, ""
	}
	return known, got
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
	for _, of := range []string{name + " equals ", name + " is "} { // Azure's grammar
		if side, ok := strings.CutPrefix(condition, of); ok {
			return side
		}
	}
	return ""
}
