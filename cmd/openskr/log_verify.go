package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release/receipt"
)

// verifyFlags are those of `log verify`.
type verifyFlags struct {
	log, receipt, trust, vkey, origin string
	checkpoints                       []string
}

func newLogVerifyCmd(a *app) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use: "verify", Short: "Verify the log, a copy of it, or a receipt", Args: exactArgs(),
		Long: `Three things can be verified, each against a key that you pinned, never one that the
log names. The key comes from --trust (an agent.json) or from --vkey.

  the log of the broker    --trust F [--checkpoint OLD]…
      reads every entry and checks the whole tree against the broker's checkpoint.
      Every older checkpoint you kept must occur in it: else it was rewritten.
  a copy                   --log COPY --checkpoint F
      needs no broker. COPY is entries.jsonl of an export, or a database or backup.
  a receipt                --receipt F
      needs no broker. Prints the record that the receipt proves.

What does not verify ends with exit code 3, and names the first bad entry.`,
		Example: `  openskr log verify --trust agent.json --checkpoint last-month
  openskr log verify --log copy/entries.jsonl --checkpoint copy/checkpoint --vkey log.vkey
  openskr log verify --receipt receipt.json --trust agent.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := a.logKeys(&f)
			if err != nil {
				return err
			}
			switch {
			case f.receipt != "" && f.log != "":
				return usagef("--receipt or --log: give one")
			case f.receipt != "":
				return a.verifyReceipt(f.receipt, keys)
			case f.log != "":
				return a.verifyCopy(cmd.Context(), &f, keys)
			default:
				return a.verifyOnline(cmd.Context(), &f, keys)
			}
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.log, "log", "", "`COPY` of the log")
	fl.StringVar(&f.receipt, "receipt", "", "`FILE` with a receipt")
	fl.StringArrayVar(&f.checkpoints, "checkpoint", nil, "`FILE` with a checkpoint you kept; repeatable for the broker's log")
	fl.StringVar(&f.trust, "trust", "", "agent.json `FILE` with the log's key")
	fl.StringVar(&f.vkey, "vkey", "", "`FILE` with the log's key (c2sp.org/signed-note), instead of --trust")
	fl.StringVar(&f.origin, "origin", "", "`ORIGIN` line of checkpoints, with --vkey (default: the key's name)")
	return cmd
}

// logKeys are the pinned keys of one log; a checkpoint needs to verify with any.
type logKeys struct {
	origin string
	vkeys  []string
}

func (a *app) logKeys(f *verifyFlags) (*logKeys, error) {
	switch {
	case (f.trust == "") == (f.vkey == ""):
		return nil, usagef("which key does the log have? Give --trust agent.json or --vkey FILE")
	case f.trust != "" && f.origin != "":
		return nil, usagef("--origin goes with --vkey; agent.json has its own")
	case f.trust != "":
		t, err := a.readTrust(f.trust)
		if err != nil {
			return nil, err
		}
		if len(t.Log.VKeys) == 0 {
			return nil, usagef("%s names no log key", f.trust)
		}
		return &logKeys{t.Log.Origin, t.Log.VKeys}, nil
	}
	b, err := a.input(f.vkey)
	if err != nil {
		return nil, err
	}
	k := &logKeys{f.origin, strings.Fields(string(b))}
	for _, s := range k.vkeys {
		v, err := note.NewVerifier(s)
		if err != nil {
			return nil, unreadable(fmt.Errorf("--vkey %s: %w", f.vkey, err))
		}
		if k.origin == "" {
			k.origin = v.Name()
		}
	}
	if len(k.vkeys) == 0 {
		return nil, usagef("--vkey %s is empty", f.vkey)
	}
	return k, nil
}

// open verifies a checkpoint and gives the key that did.
func (k *logKeys) open(text []byte) (cp *receipt.Checkpoint, vkey string, err error) {
	var all error
	for _, v := range k.vkeys {
		cp, err := receipt.OpenCheckpoint(text, k.origin, v)
		if err == nil {
			return cp, v, nil
		}
		all = errors.Join(all, err)
	}
	return nil, "", refused(all)
}

func (a *app) verifyReceipt(path string, keys *logKeys) error {
	b, err := a.input(path)
	if err != nil {
		return err
	}
	var r receipt.Receipt
	if err := strict.Unmarshal(b, maxTrust, &r); err != nil {
		return unreadable(fmt.Errorf("%s: %w", path, err))
	}
	cp, vkey, err := keys.open([]byte(r.Checkpoint))
	if err != nil {
		return err
	}
	rec, err := r.Verify(keys.origin, vkey)
	if err != nil {
		return refused(err)
	}
	if a.json {
		return printJSON(a.stdout, map[string]any{"verified": true, "index": r.Index, "size": cp.Size, "origin": cp.Origin, "record": rec})
	}
	fmt.Fprintf(a.stdout, "verified: entry %d of %d in the log %s\n", r.Index, cp.Size, printable(cp.Origin))
	a.printRecord(rec)
	return nil
}

// verifyCopy is offline: a copy, a checkpoint, a key.
func (a *app) verifyCopy(ctx context.Context, f *verifyFlags, keys *logKeys) error {
	if len(f.checkpoints) != 1 {
		return usagef("--log takes one --checkpoint FILE, %d given", len(f.checkpoints))
	}
	text, err := a.input(f.checkpoints[0])
	if err != nil {
		return err
	}
	if _, err := os.Stat(f.log); err != nil {
		return unreadable(err)
	}
	cp, vkey, err := keys.open(text)
	if err != nil {
		return err
	}
	if err := audit.VerifyCopy(ctx, f.log, keys.origin, vkey, text); err != nil {
		return a.badLog(err)
	}
	return a.goodLog(cp)
}

// verifyOnline reads the whole log from the broker. The kept checkpoints are
// verified first: a mistake in them is not the log's fault.
func (a *app) verifyOnline(ctx context.Context, f *verifyFlags, keys *logKeys) error {
	var kept []*receipt.Checkpoint
	for _, path := range f.checkpoints {
		b, err := a.input(path)
		if err != nil {
			return err
		}
		cp, _, err := keys.open(b)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		kept = append(kept, cp)
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	text, _, err := c.checkpoint(ctx)
	if err != nil {
		return err
	}
	now, _, err := keys.open([]byte(text))
	if err != nil {
		return fmt.Errorf("the broker's checkpoint: %w", err)
	}
	if err := receipt.VerifyLog(c.entries(ctx, 0, now.Size), now, kept...); err != nil {
		var entry *receipt.EntryError
		var broker *brokerError
		if errors.As(err, &broker) || !errors.As(err, &entry) && !errors.Is(err, receipt.ErrRoot) {
			return err
		}
		return a.badLog(err)
	}
	return a.goodLog(now)
}

func (a *app) goodLog(cp *receipt.Checkpoint) error {
	if a.json {
		return printJSON(a.stdout, map[string]any{"verified": true, "origin": cp.Origin, "size": cp.Size, "root": cp.Root[:]})
	}
	_, err := fmt.Fprintf(a.stdout, "verified: %d entries of the log %s, root %v\n", cp.Size, printable(cp.Origin), cp.Root)
	return err
}

// badLog says which entry is wrong.
func (a *app) badLog(err error) error {
	if !a.json {
		return refused(fmt.Errorf("the log does not verify: %w", err))
	}
	out := struct {
		Verified bool   `json:"verified"`
		Entry    *int64 `json:"entry,omitempty"`
		Message  string `json:"message"`
	}{Message: err.Error()}
	var entry *receipt.EntryError
	if errors.As(err, &entry) {
		out.Entry = &entry.Index
	}
	if err := printJSON(a.stdout, out); err != nil {
		return err
	}
	return refused(fmt.Errorf("the log does not verify: %w", err))
}

// printRecord prints what a record says, for a person.
func (a *app) printRecord(r *receipt.Record) {
	who := ""
	if r.Caller != nil {
		who = r.Caller.Kind + " " + r.Caller.ID
		if len(r.Caller.Roles) > 0 {
			who += " (" + strings.Join(r.Caller.Roles, ", ") + ")"
		}
	}
	simulation := ""
	if r.Simulation {
		simulation = "true (simulated hardware proves nothing)"
	}
	a.fields("time", milliStamp(r.Time), "simulation", simulation, "kind", r.Kind, "decision", r.Decision, "reason", r.Reason, "operation", r.Operation,
		"caller", who, "door", r.Door, "vault", r.Vault, "object", r.Object, "version", r.Version, "wrap", r.Enc,
		"policy", digestText(r.Policy), "references", digestText(r.References), "input", digestText(r.Input), "recipient", digestText(r.Recipient), "nonce", digestText(r.Nonce),
		"correlation", r.Correlation, "binary", r.Binary)
	if e := r.Evidence; e != nil {
		a.fields("evidence", e.Type, "authority", e.Authority, "freshness", e.Freshness, "evidence hash", digestText(e.Digest), "anchors", digestText(e.Anchors))
	}
	if len(r.Detail) > 0 {
		b, err := json.Marshal(r.Detail)
		if err == nil {
			a.fields("detail", string(b))
		}
	}
}

func digestText(d receipt.Digest) string {
	if d == (receipt.Digest{}) {
		return ""
	}
	return "sha256:" + d.String()
}
