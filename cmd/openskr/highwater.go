package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/internal/telemetry"
)

// markWarn is how long the high-water mark may be behind before /readyz names it.
const markWarn = 10 * time.Second

// marking has the log keep the high-water mark of the configuration.
func (b *broker) marking(lc *audit.Config) error {
	mark := b.cfg.HighWater
	if mark == "" {
		return nil
	}
	if err := deployment.MarkOutside(mark, b.dir); err != nil {
		return fmt.Errorf("high_water: %w", err)
	}
	if sameDisk(filepath.Dir(mark), b.dir) {
		b.logger.Warn("the high-water mark is on the file system of the store: a snapshot that is put back takes both", "high_water", mark)
	}
	lc.Mark, lc.Marked = mark, b.marked()
	return nil
}

// marked tells the operator when writing begins to fail, and when it is over.
func (b *broker) marked() func(error) {
	failing := false // writes are one after the other
	return func(err error) {
		switch {
		case err != nil && !failing:
			b.logger.Error("the high-water mark cannot be written: a store that is put back to this moment would not be noticed", "error", err.Error())
		case err == nil && failing:
			b.logger.Info("the high-water mark is written again", "high_water", b.cfg.HighWater)
		}
		failing = err != nil
	}
}

// markGauges registers how far the mark is behind.
func (b *broker) markGauges(m *telemetry.Metrics) error {
	if b.cfg.HighWater == "" {
		return nil
	}
	return errors.Join(
		m.Gauge("openskr_high_water_behind_entries", "Entries of the log that are not under its high-water mark.", func() float64 {
			n, _ := b.log.MarkLag()
			return float64(n)
		}),
		m.Gauge("openskr_high_water_behind_seconds", "For how long there have been such entries; alert above 10.", func() float64 {
			_, lasted := b.log.MarkLag()
			return lasted.Seconds()
		}))
}

// sameDisk says whether two paths are on one file system, false when that is unknown.
func sameDisk(x, y string) bool {
	var dev [2]uint64
	for i, path := range []string{x, y} {
		fi, err := os.Stat(path)
		if err != nil {
			return false
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		if !ok {
			return false
		}
		dev[i] = st.Dev
	}
	return dev[0] == dev[1]
}

func newLogAcceptCmd(a *app) *cobra.Command {
	var data, config, mark, identity string
	cmd := &cobra.Command{
		Use: "accept", Short: "Go on with a log that is behind its high-water mark", Args: exactArgs(),
		Long: `A broker with a high-water mark (high_water) does not start when its log has fewer
entries than the mark, or other ones: the store as a whole was put back to an older
state (rollback_detected). Nor does it start when the mark is gone or damaged.

First look for the newest store: what the log lost is lost with it, keys that were
disabled since are enabled again, machines that were denied are as they were, and so
are the nonces of the last minutes. If there is none, this goes on with the store as
it is. It takes a recovery identity, since who put the store back may well have its
root key. Its record, log/accept, is the next one of the log and says what was found;
then the mark is written anew. The broker must be stopped.

Also for the first mark of a deployment that had none.`,
		Example: "  openskr log accept --data /var/lib/openskr --identity recovery-1.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" || identity == "" {
				return usagef("log accept: --data DIR and --identity FILE are needed")
			}
			if err := deployed(data); err != nil {
				return err
			}
			cfg, err := loadConfig(data, config)
			if err != nil {
				return unreadable(err)
			}
			if mark == "" {
				mark = cfg.HighWater
			}
			if mark == "" {
				return usagef("log accept: there is no high_water in the configuration; name the mark's --high-water FILE")
			}
			ids, err := a.identities(identity)
			if err != nil {
				return err
			}
			j, err := deployment.AcceptMark(cmd.Context(), data, mark, deployment.WithIdentities(ids...), time.Now)
			if errors.Is(err, deployment.ErrNothingToAccept) {
				return usagef("log accept: %w", err)
			}
			if err != nil {
				return err
			}
			return a.tellAccepted(mark, j)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&data, "data", "", "data `DIR` of the stopped broker (required)")
	fl.StringVar(&identity, "identity", "", "`FILE` with a recovery identity (age), - for stdin (required)")
	fl.StringVar(&config, "config", "", "configuration `FILE` (default DIR/"+configName+")")
	fl.StringVar(&mark, "high-water", "", "`FILE` of the mark (default: high_water of the configuration)")
	return cmd
}

func (a *app) tellAccepted(mark string, j audit.MarkJudgement) error {
	if a.json {
		return printJSON(a.stdout, map[string]any{"accepted": j.State, "log_size": j.Size, "high_water_size": j.Marked, "high_water": mark})
	}
	was := "unknown"
	if j.Marked > 0 {
		was = fmt.Sprintf("%d entries", j.Marked)
	}
	_, err := fmt.Fprintf(a.stdout, "accepted: the log goes on from %d entries; its high-water mark was %s (%s)\nentry %d says so, and %s is written anew\n",
		j.Size, was, j.State, j.Size, mark)
	return err
}
