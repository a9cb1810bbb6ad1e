package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/all"
	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/internal/endorser"
)

func newCollateralCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "collateral", Short: "Bring certificates, CRLs and TCB levels to a broker without network",
		Long: `A broker that reaches AMD and Intel gets what verification needs by itself. For one
that does not: fetch on a machine with network, carry the folder over in any way, and
import. Every document is signed by its authority and is checked before it counts, so
neither the machine nor the way has to be trusted.`,
	})
	cmd.AddCommand(newCollateralFetchCmd(a), newCollateralShowCmd(a), newCollateralImportCmd(a))
	return cmd
}

// What became of a document.
const (
	outcomeFetched   = "fetched"
	outcomeImported  = "imported"
	outcomeUnchanged = "unchanged"
	outcomeCurrent   = "current"
	outcomeStale     = "stale"   // past its next update
	outcomeForged    = "invalid" // not what its authority signed
	outcomeOlder     = "older"   // than what is there, which was kept
	outcomeUnknown   = "unknown" // to its authority
	outcomeFailed    = "failed"
)

// documentLine is one document in what the commands print.
type documentLine struct {
	Kind       attest.NeedKind `json:"kind"`
	ID         string          `json:"id"`
	Outcome    string          `json:"outcome"`
	Issued     *time.Time      `json:"issued,omitempty"`
	NextUpdate *time.Time      `json:"next_update,omitempty"`
	Days       int             `json:"days_left"`
	Message    string          `json:"message,omitempty"`
}

// outcomeOf names what happened; done is the name of success.
func outcomeOf(err error, done string) string {
	for _, o := range []struct {
		err  error
		name string
	}{
		{nil, done},
		{endorser.ErrStale, outcomeStale},
		{endorser.ErrInvalid, outcomeForged},
		{endorser.ErrRollback, outcomeOlder},
		{endorser.ErrUnknown, outcomeUnknown},
	} {
		if errors.Is(err, o.err) {
			return o.name
		}
	}
	return outcomeFailed
}

func lineOf(need attest.Need, en endorser.Entry, err error, done string, now time.Time) documentLine {
	l := documentLine{Kind: need.Kind, ID: need.ID, Outcome: outcomeOf(err, done)}
	if err != nil {
		l.Message = err.Error()
	}
	if !en.NextUpdate.IsZero() {
		l.Issued, l.NextUpdate = &en.Issued, &en.NextUpdate
		l.Days = int(en.NextUpdate.Sub(now).Hours() / 24)
	}
	return l
}

// printDocuments prints lines and gives the error that the worst of them is.
func (a *app) printDocuments(lines []documentLine) error {
	if a.json {
		if err := printJSON(a.stdout, map[string]any{"documents": lines}); err != nil {
			return err
		}
	} else if err := a.table("WHAT OUTCOME ISSUED NEXT-UPDATE DAYS-LEFT", func(line func(...any)) {
		for _, l := range lines {
			issued, next, days := "", "", ""
			if l.NextUpdate != nil {
				issued, next, days = l.Issued.UTC().Format(time.DateOnly), l.NextUpdate.UTC().Format(time.DateOnly), fmt.Sprint(l.Days)
			}
			line(string(l.Kind)+" "+shortID(l.ID), l.Outcome, issued, next, days)
		}
	}); err != nil {
		return err
	}
	return worst(lines)
}

// shortID leaves out the middle of a chip's number.
func shortID(id string) string {
	if len(id) <= 80 {
		return id
	}
	return id[:24] + "…" + id[len(id)-52:]
}

// worst is nil when every document is as wanted.
func worst(lines []documentLine) (err error) {
	for _, l := range lines {
		text := fmt.Errorf("%s %s: %s", l.Kind, shortID(l.ID), cmp.Or(l.Message, l.Outcome))
		switch l.Outcome {
		case outcomeFetched, outcomeImported, outcomeUnchanged, outcomeCurrent:
		case outcomeStale, outcomeForged, outcomeOlder:
			return refused(text)
		default:
			err = cmp.Or(err, text)
		}
	}
	return err
}

// collateralTrust makes what checks documents: the vendors' roots, and those of a
// broker's configuration when there is one.
func collateralTrust(cfg *Config) (endorser.Inspect, error) {
	var trust all.Config
	if cfg != nil {
		var err error
		if trust, err = trustOf(cfg); err != nil {
			return nil, unreadable(err)
		}
		trust.Issuers = nil // their keys are not collateral that is carried about
	}
	v, err := all.New(trust)
	if err != nil {
		return nil, err
	}
	return v.Inspect, nil
}

// trustIn is collateralTrust of the broker in data; "" for none.
func trustIn(data string) (endorser.Inspect, error) {
	if data == "" {
		return collateralTrust(nil)
	}
	cfg, err := loadConfig(data, "")
	if err != nil {
		return nil, unreadable(err)
	}
	return collateralTrust(cfg)
}

func sortedNeeds[V any](m map[attest.Need]V) []attest.Need {
	var out []attest.Need
	for need := range m {
		out = append(out, need)
	}
	slices.SortFunc(out, func(a, b attest.Need) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// loadCollateral reads files of the operator's.
func loadCollateral(paths ...string) (endorser.Static, error) {
	s, err := endorser.Load(paths)
	return s, unreadable(err)
}

func newCollateralShowCmd(a *app) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use: "show [DIR]", Short: "List documents and when they end", Args: cobra.MaximumNArgs(1),
		Long: `Lists the documents of a folder, or of a broker's store with --data, each checked by
its signature. Exit code 3 says that one is forged or past its next update.`,
		Example: "  openskr collateral show --data /srv/openskr/data",
		RunE: func(_ *cobra.Command, args []string) error {
			if (len(args) == 0) == (data == "") {
				return usagef("show what? Give a folder of documents, or --data DIR of a broker")
			}
			dir := filepath.Join(data, collateralDir)
			if len(args) > 0 {
				dir = args[0]
			}
			if data != "" {
				if _, err := os.Stat(filepath.Join(data, deployment.Database)); err != nil {
					return unreadable(err)
				}
			}
			trust, err := trustIn(data)
			if err != nil {
				return err
			}
			if held, err := os.ReadDir(dir); data != "" && len(held) == 0 && (err == nil || errors.Is(err, os.ErrNotExist)) {
				fmt.Fprintln(a.stderr, "nothing yet: the broker asks for documents when evidence needs them, or takes those of `openskr collateral import`")
				return a.printDocuments([]documentLine{})
			}
			docs, err := loadCollateral(dir)
			if err != nil {
				return err
			}
			return a.showCollateral(docs, trust, time.Now)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "`DIR` of a broker, whose private roots count too")
	return cmd
}

func (a *app) showCollateral(docs endorser.Static, trust endorser.Inspect, now func() time.Time) error {
	e, err := endorser.New(endorser.Config{Offline: true, Inspect: trust, Now: now})
	if err != nil {
		return err
	}
	var lines []documentLine
	for _, need := range sortedNeeds(docs) {
		en, err := e.Examine(need, docs[need])
		lines = append(lines, lineOf(need, en, err, outcomeCurrent, now()))
	}
	return a.printDocuments(lines)
}

func newCollateralImportCmd(a *app) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use: "import DIR", Short: "Put documents into a broker's store", Args: exactArgs("DIR"),
		Long: `Checks every document of DIR by its signature, and puts those into the broker's store
that are in time and no older than what is there. What is forged or older is refused,
named, and the exit code is 3; the others count all the same. A running broker takes
them in within a minute, or when it needs them.

DIR is what fetch wrote, or holds documents as AMD and Intel serve them (CRLs and
VCEKs in DER or PEM, TCB info and QE identities in JSON, issuer chains in PEM).
Run it as the user that the broker runs as.`,
		Example: "  openskr collateral import /media/usb/collateral --data /srv/openskr/data",
		RunE: func(_ *cobra.Command, args []string) error {
			if data == "" {
				return usagef("--data DIR of the broker is needed")
			}
			if _, err := os.Stat(filepath.Join(data, deployment.Database)); err != nil {
				return unreadable(err)
			}
			docs, err := loadCollateral(args[0])
			if err != nil {
				return err
			}
			trust, err := trustIn(data)
			if err != nil {
				return err
			}
			return a.importCollateral(docs, filepath.Join(data, collateralDir), trust, time.Now)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "`DIR` of the broker")
	return cmd
}

func (a *app) importCollateral(docs endorser.Static, dir string, trust endorser.Inspect, now func() time.Time) error {
	e, err := endorser.New(endorser.Config{Dir: dir, Offline: true, Inspect: trust, Now: now, Chips: max(4096, len(docs))})
	if err != nil {
		return err
	}
	var lines []documentLine
	for _, need := range sortedNeeds(docs) {
		en, changed, err := e.Import(need, docs[need])
		done := outcomeUnchanged
		if changed {
			done = outcomeImported
		}
		lines = append(lines, lineOf(need, en, err, done, now()))
	}
	return a.printDocuments(lines)
}
