package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// maxSearch is how many of the newest entries are searched where --since says nothing.
const maxSearch = 10_000

// logFilter says which entries are wanted. The zero value wants every one.
type logFilter struct {
	key, machine, decision, reason, operation, since string

	deny bool      // --deny, the older word for --decision deny
	from time.Time // of since
}

const filterHelp = `
Filters, all of which an entry must pass:
  --key NAME        about that key: releases of it, and operations on it; VAULT/NAME for one vault's
  --machine ID      asked by that machine, or about it; of the id, 8 characters suffice
  --decision WORD   allow or deny
  --reason CODE     refused for that reason (docs/reasons.md)
  --operation NAME  keys/create for example, keys/ for all on keys, release or token
  --since WHEN      not older: 12h, 3d, 2026-11-22 or 2026-11-22T01:00:00Z, in UTC
Without --since the last 10000 entries are looked at, with it as many as it takes.`

func (f *logFilter) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.key, "key", "", "only entries about the key `NAME` or VAULT/NAME")
	fl.StringVar(&f.machine, "machine", "", "only entries of or about the machine `ID`")
	fl.StringVar(&f.decision, "decision", "", "only decisions that are `WORD`: allow or deny")
	fl.StringVar(&f.reason, "reason", "", "only refusals with the reason `CODE`")
	fl.StringVar(&f.operation, "operation", "", "only the operation `NAME`, or all that begin so when it ends with /")
	fl.StringVar(&f.since, "since", "", "only entries since `WHEN`: 12h, 3d, a date or a time")
}

// any says whether some entries may not pass.
func (f *logFilter) any() bool {
	return f.deny || f.key+f.machine+f.decision+f.reason+f.operation+f.since != ""
}

// complete reads the options.
func (f *logFilter) complete(now time.Time) (err error) {
	if f.deny {
		if f.decision == receipt.Allow {
			return usagef("--deny and --decision allow exclude each other")
		}
		f.decision = receipt.Deny
	}
	if f.decision != "" && f.decision != receipt.Allow && f.decision != receipt.Deny {
		return usagef("--decision %q: want allow or deny", f.decision)
	}
	if _, known := release.Reasons()[release.Reason(f.reason)]; f.reason != "" && !known {
		return usagef("--reason %q is none; docs/reasons.md lists them", f.reason)
	}
	if f.since != "" {
		f.from, err = parseSince(f.since, now)
	}
	return err
}

// parseSince reads a duration before now, a date or a time.
func parseSince(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	ago, err := time.ParseDuration(s)
	if n, ok := strings.CutSuffix(s, "d"); ok {
		var days uint64
		days, err = strconv.ParseUint(n, 10, 16)
		ago = time.Duration(days) * 24 * time.Hour
	}
	if err != nil || ago < 0 {
		return time.Time{}, usagef("--since %q: want 12h, 3d, 2026-11-22 or 2026-11-22T01:00:00Z", s)
	}
	return now.Add(-ago), nil
}

// passes says whether an entry is wanted.
func (f *logFilter) passes(r *receipt.Record) bool {
	return (f.decision == "" || r.Decision == f.decision) &&
		(f.reason == "" || r.Reason == f.reason) &&
		(f.key == "" || f.ofKey(r)) &&
		(f.machine == "" || f.ofMachine(r)) &&
		(f.operation == "" || f.ofOperation(r))
}

func (f *logFilter) ofKey(r *receipt.Record) bool {
	if r.Kind != receipt.KindRelease && !strings.HasPrefix(r.Operation, "keys/") {
		return false
	}
	if vault, name, ok := strings.Cut(f.key, "/"); ok {
		return r.Vault == vault && r.Object == name
	}
	return r.Object == f.key
}

func (f *logFilter) ofMachine(r *receipt.Record) bool {
	is := func(id string) bool {
		return id == f.machine || len(f.machine) >= minPrefix && strings.HasPrefix(id, f.machine)
	}
	return r.Caller != nil && r.Caller.Kind == "machine" && is(r.Caller.ID) ||
		r.Evidence != nil && is(r.Evidence.Machine) ||
		strings.HasPrefix(r.Operation, "machines/") && is(r.Object)
}

func (f *logFilter) ofOperation(r *receipt.Record) bool {
	name := r.Operation
	if name == "" { // releases and tokens are kinds of their own
		name = r.Kind
	}
	return name == f.operation || strings.HasSuffix(f.operation, "/") && strings.HasPrefix(name, f.operation)
}

// search gives the newest n entries that pass, the newest first, and reads no page more
// than that takes. older is the index of the first entry that was not looked at because
// the bound was reached, -1 when all were that could pass.
func (c *client) search(ctx context.Context, f *logFilter, n int64) (found []logEntry, older int64, err error) {
	bound := n
	switch {
	case !f.from.IsZero() && f.any():
		bound = math.MaxInt64
	case f.any():
		bound = maxSearch
	}
	looked, last := int64(0), int64(0)
	for e, err := range c.newest(ctx, bound) {
		if err != nil {
			return nil, 0, err
		}
		looked, last = looked+1, e.Index
		if e.Record.Time < f.from.UnixMilli() && !f.from.IsZero() {
			return found, -1, nil // no entry is older than the one before it
		}
		if !f.passes(e.Record) {
			continue
		}
		if found = append(found, e); int64(len(found)) == n {
			return found, -1, nil
		}
	}
	if looked == bound && last > 0 {
		return found, last - 1, nil
	}
	return found, -1, nil
}

// newestOf gives the newest entry that passes.
func (c *client) newestOf(ctx context.Context, f *logFilter) (int64, error) {
	found, older, err := c.search(ctx, f, 1)
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, errors.New(f.nothing(older))
	}
	return found[0].Index, nil
}

// nothing says that no entry passed, and what else there is to look at.
func (f *logFilter) nothing(older int64) string {
	text := "no entry passes"
	if n := len(f.machine); 0 < n && n < minPrefix {
		text += fmt.Sprintf(" (--machine: want an id, or at least its first %d characters)", minPrefix)
	}
	if older >= 0 {
		text += fmt.Sprintf(" of the last %d; --since looks further back", maxSearch)
	}
	return text + ". Refusals of callers that proved nothing are only counted: `openskr log refusals` has the latest"
}
