package main

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/release/receipt"
)

// logEntry is an entry as `log tail --json` prints it.
type logEntry struct {
	Index  int64           `json:"index"`
	Record *receipt.Record `json:"record"`
}

// newest gives the last n entries, the newest first.
func (c *client) newest(ctx context.Context, n int64) iter.Seq2[logEntry, error] {
	return func(yield func(logEntry, error) bool) {
		_, size, err := c.checkpoint(ctx)
		if err != nil {
			yield(logEntry{}, err)
			return
		}
		for end, stop := size, max(0, size-n); end > stop; {
			start := max(stop, end-v1.MaxPage)
			page, err := c.decoded(ctx, start, end)
			if err != nil {
				yield(logEntry{}, err)
				return
			}
			for _, e := range slices.Backward(page) {
				if !yield(e, nil) {
					return
				}
			}
			end = start
		}
	}
}

// decoded gives the entries [start, end) in order.
func (c *client) decoded(ctx context.Context, start, end int64) ([]logEntry, error) {
	var out []logEntry
	for e, err := range c.entries(ctx, start, end) {
		if err != nil {
			return nil, err
		}
		rec, err := receipt.Decode(e.Leaf)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Index, err)
		}
		out = append(out, logEntry{e.Index, rec})
	}
	return out, nil
}

// refusals gives the refusals before an identity was proven, oldest first.
func (c *client) refusals(ctx context.Context) ([]audit.Stranger, error) {
	var got struct {
		Value []audit.Stranger `json:"value"`
	}
	err := c.call(ctx, http.MethodGet, "/v1/log/refusals", nil, &got)
	return got.Value, err
}

func newLogTailCmd(a *app) *cobra.Command {
	var n int64
	var f logFilter
	cmd := &cobra.Command{
		Use: "tail", Short: "Print the newest entries", Args: exactArgs(),
		Long: "Prints the newest entries that pass, the oldest of them first.\n" + filterHelp,
		Example: "  openskr log tail --decision deny --since 12h\n" +
			"  openskr log tail --key disk --machine 3f2a9c0d --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 1 {
				return usagef("-n %d: want at least 1", n)
			}
			if err := f.complete(time.Now()); err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			list, older, err := c.search(cmd.Context(), &f, n)
			if err != nil {
				return err
			}
			slices.Reverse(list)
			if len(list) == 0 && f.any() && !a.json {
				_, err := fmt.Fprintln(a.stderr, f.nothing(older))
				return err
			}
			if err := a.printEntries(list); err != nil || older < 0 || !f.any() || a.json {
				return err
			}
			_, err = fmt.Fprintf(a.stderr, "these are of the last %d entries; --since looks further back\n", maxSearch)
			return err
		},
	}
	cmd.Flags().Int64VarP(&n, "lines", "n", 20, "how `MANY`")
	cmd.Flags().BoolVar(&f.deny, "deny", false, "only refusals, as --decision deny")
	f.flags(cmd)
	return cmd
}

func (a *app) printEntries(list []logEntry) error {
	if a.json {
		for _, e := range list {
			if err := printJSON(a.stdout, e); err != nil {
				return err
			}
		}
		return nil
	}
	return a.table("INDEX TIME KIND DECISION WHAT OBJECT CALLER CORRELATION", func(line func(...any)) {
		for _, e := range list {
			r, who := e.Record, ""
			if r.Caller != nil {
				who = r.Caller.Kind + ":" + r.Caller.ID
			}
			what := r.Operation
			if r.Reason != "" {
				what = strings.TrimSpace(what + " " + r.Reason)
			}
			if r.Folded != nil {
				what = fmt.Sprintf("%d × %s", r.Folded.Count, r.Reason)
			}
			line(e.Index, milliStamp(r.Time), r.Kind, r.Decision, what, r.Object, who, r.Correlation)
		}
	})
}

func milliStamp(unixMilli int64) string {
	return time.UnixMilli(unixMilli).UTC().Format("2006-01-02T15:04:05.000Z")
}

func newLogRefusalsCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "refusals", Short: "Print refusals of callers who proved nothing, in full", Args: exactArgs(),
		Long: `Prints the latest refusals whose caller had proven no identity, the newest last. The log
only counts them, so that strangers cannot fill it; the broker keeps the last 1024 in
memory, until it stops.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			list, err := c.refusals(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				for _, s := range list {
					if err := printJSON(a.stdout, s); err != nil {
						return err
					}
				}
				return nil
			}
			return a.table("TIME REASON SOURCE CORRELATION DETAIL", func(line func(...any)) {
				for _, s := range list {
					line(milliStamp(s.Time.UnixMilli()), s.Check, s.Source, s.Correlation, s.Detail)
				}
			})
		},
	}
}
