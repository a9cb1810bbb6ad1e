package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/reference"
	"github.com/openskr/openskr/internal/strict"
)

func newReferenceCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "reference", Short: "Say which measurements a good machine has",
		Long: `Reference values are named sets of measurements that release policies look up as
data.references.SET. Each is of a kind (pcr0 to pcr23, event0 to event23, snp-measurement,
mrtd, rtmr0 to rtmr3, nitro-pcr0 …) and can be in force from one date until another, so
that the next image is staged beside the present one. Every change is a log record.

The broker's part is docs/references.md; dates are like 2027-01-31 (its first second, in
UTC) or 2027-01-31T08:00:00Z.`,
	})
	cmd.AddCommand(newReferenceAddCmd(a), newReferenceListCmd(a), newReferenceShowCmd(a), newReferenceRetireCmd(a),
		newReferenceFromEvidenceCmd(a), newReferenceFromUKICmd(a))
	return cmd
}

// span are the flags of every command that adds values.
type span struct {
	label, from, until string
	replace            bool
}

func (s *span) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.label, "label", "", "`TEXT` for people, which policies and explanations see")
	cmd.Flags().StringVar(&s.from, "from", "", "in force from this `DATE` on (default: at once)")
	cmd.Flags().StringVar(&s.until, "until", "", "in force before this `DATE` (default: until it is retired)")
	cmd.Flags().BoolVar(&s.replace, "replace", false, "also where a value is there with another label or other dates, or was retired")
}

// over gives entries label and dates.
func (s *span) over(entries []v1.ReferenceEntry) error {
	from, err := date("from", s.from)
	if err != nil {
		return err
	}
	until, err := date("until", s.until)
	if err != nil {
		return err
	}
	for i := range entries {
		if entries[i].Label == "" {
			entries[i].Label = s.label
		}
		entries[i].From, entries[i].Until = from, until
	}
	return nil
}

// canonical gives hex its lower case; a command line is text and stays as it is.
func canonical(kind, value string) string {
	if kind == "cmdline" {
		return value
	}
	return strings.ToLower(value)
}

func date(flag, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	t, err := reference.Moment(s)
	if err != nil {
		return 0, usagef("--%s %w", flag, err)
	}
	return t, nil
}

func newReferenceAddCmd(a *app) *cobra.Command {
	var s span
	var kind, value, file string
	cmd := &cobra.Command{
		Use: "add SET", Short: "Add reference values to a set", Args: exactArgs("SET"),
		Long: `Adds one value, or those of a FILE as ` + "`openskr reference show SET --json`" + ` prints them,
label and dates included. A set begins with its first value.`,
		Example: `  openskr reference add web --kind pcr11 --value 1f3a9c… --label "image 42" --from 2027-02-01
  openskr reference add web --file staging.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			entries := []v1.ReferenceEntry{{Kind: kind, Value: canonical(kind, value)}}
			var err error
			switch {
			case file != "" && kind+value+s.label+s.from+s.until != "":
				return usagef("%s: --file holds kinds, values, labels and dates: give one or the other", cmd.CommandPath())
			case file != "":
				entries, err = a.referenceFile(file)
			case kind == "" || value == "":
				return usagef("%s: --kind and --value are needed, or --file", cmd.CommandPath())
			default:
				err = s.over(entries)
			}
			if err != nil {
				return err
			}
			return a.addReferences(cmd.Context(), args[0], entries, s.replace)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&kind, "kind", "", "`KIND` of the value; docs/references.md has the list")
	cmd.Flags().StringVar(&value, "value", "", "the value, in `HEX`; of a cmdline its text")
	cmd.Flags().StringVar(&file, "file", "", "JSON `FILE` with values (- for stdin)")
	return cmd
}

func (a *app) referenceFile(path string) ([]v1.ReferenceEntry, error) {
	b, err := a.input(path)
	if err != nil {
		return nil, err
	}
	var page v1.ReferencePage
	if err := strict.Unmarshal(b, maxInput, &page); err != nil {
		return nil, unreadable(fmt.Errorf("%s: %w", path, err))
	}
	out := make([]v1.ReferenceEntry, len(page.Value))
	for i, r := range page.Value {
		out[i] = v1.ReferenceEntry{Kind: r.Kind, Value: r.Value, Label: r.Label, From: r.From, Until: r.Until}
	}
	return out, nil
}

// addReferences adds entries, in as many requests as they need, and prints them.
func (a *app) addReferences(ctx context.Context, set string, entries []v1.ReferenceEntry, replace bool) error {
	// The broker checks each request as a whole; this checks them all before the first.
	for _, e := range entries {
		if err := (*reference.Entry)(&e).Check(); err != nil {
			return usagef("%w", err)
		}
	}
	if err := reference.CheckSet(set); err != nil {
		return usagef("%w", err)
	}
	if len(entries) == 0 {
		return usagef("nothing to add")
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	all := []v1.Reference{}
	for i := 0; i < len(entries); i += reference.MaxBatch {
		var page v1.ReferencePage
		in := v1.ReferenceAdd{Entries: entries[i:min(i+reference.MaxBatch, len(entries))], Replace: replace}
		if err := c.call(ctx, http.MethodPost, "/v1/references/"+url.PathEscape(set), in, &page); err != nil {
			if i > 0 {
				return fmt.Errorf("%w; the %d values before are added", err, i)
			}
			return err
		}
		all = append(all, page.Value...)
	}
	return a.printReferences(all)
}

func (a *app) printReferences(list []v1.Reference) error {
	if a.json {
		return printJSON(a.stdout, map[string]any{"value": list})
	}
	return a.table("KIND VALUE STATE FROM UNTIL LABEL", func(line func(...any)) {
		for _, r := range list {
			line(r.Kind, r.Value, r.State, stamp(r.From), stamp(r.Until), r.Label)
		}
	})
}

func newReferenceListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List sets of reference values", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			all, err := pages[reference.Set](cmd.Context(), c, "/v1/references")
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"value": all})
			}
			return a.table("SET ACTIVE STAGED RETIRED KEPT-IN", func(line func(...any)) {
				for _, s := range all {
					kept := map[bool]string{true: "file", false: "broker"}[s.File]
					line(s.Name, s.Active, s.Staged, s.Retired, kept)
				}
			})
		},
	}
}

func newReferenceShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show SET", Short: "Show the values of a set", Args: exactArgs("SET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			all, err := pages[v1.Reference](cmd.Context(), c, "/v1/references/"+url.PathEscape(args[0]))
			if err != nil {
				return err
			}
			return a.printReferences(all)
		},
	}
}

func newReferenceRetireCmd(a *app) *cobra.Command {
	var in v1.ReferenceRetire
	var at string
	cmd := &cobra.Command{
		Use: "retire SET", Short: "End a reference value, now or on a date", Args: exactArgs("SET"),
		Example: "  openskr reference retire web --kind pcr11 --value 9c4e… --at 2027-03-01",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if in.Kind == "" || in.Value == "" {
				return usagef("%s: --kind and --value are needed", cmd.CommandPath())
			}
			if in.At, err = date("at", at); err != nil {
				return err
			}
			in.Value = canonical(in.Kind, in.Value)
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var raw []byte
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/references/"+url.PathEscape(args[0])+"/retire", in, &raw); err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, json.RawMessage(raw))
			}
			var r v1.Reference
			if err := json.Unmarshal(raw, &r); err != nil {
				return fmt.Errorf("the broker's answer is not a reference value: %w", err)
			}
			return a.printReferences([]v1.Reference{r})
		},
	}
	cmd.Flags().StringVar(&in.Kind, "kind", "", "`KIND` of the value")
	cmd.Flags().StringVar(&in.Value, "value", "", "the value, in `HEX`")
	cmd.Flags().StringVar(&at, "at", "", "not in force from this `DATE` on (default: now)")
	return cmd
}
