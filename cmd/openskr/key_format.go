package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/openskr/openskr/internal/api/v1"
)

const formatGrants = "/v1/format-grants"

func formatGrantPath(name, version string) string {
	p := formatGrants + "/" + url.PathEscape(name)
	if version != "" {
		p += "?version=" + url.QueryEscape(version)
	}
	return p
}

// newKeyFormatCmds are the commands about making a disk with a key.
func newKeyFormatCmds(a *app) []*cobra.Command {
	return []*cobra.Command{newGrantFormatCmd(a), newGrantsCmd(a)}
}

func newGrantFormatCmd(a *app) *cobra.Command {
	var body v1.FormatGrantBody
	var life time.Duration
	cmd := &cobra.Command{
		Use: "grant-format NAME", Short: "Let a disk be made with a key, once", Args: exactArgs("NAME"),
		Long: `Lets openskr-agent seal-disk have the key once, on a machine that its release policy allows:
the latest version of the key, or --version, for --for. The release spends the grant in the same
transaction as its record; it also ends by itself, and takes the place of one that was there.

From the first grant on, the version has the tag luks-only: it is released to open its disk and,
with a grant, to make one, and to nobody who does not say which.`,
		Example: "  openskr key grant-format disk --machine 8d2f0c6e --for 30m",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			body.Seconds = int64(life / time.Second)
			if body.Machine, err = a.wholeMachine(cmd.Context(), body.Machine); err != nil {
				return err
			}
			return a.formatGrant(cmd, http.MethodPut, formatGrantPath(args[0], ""), body)
		},
	}
	cmd.Flags().StringVar(&body.Version, "version", "", "`VERSION` of the key (default: the latest)")
	cmd.Flags().StringVar(&body.Machine, "machine", "", "this machine alone: its `ID`, or the first 8 characters of an enrolled one (default: any that the policy allows)")
	cmd.Flags().DurationVar(&life, "for", time.Hour, "how long it stays open, 1m to 720h (`DURATION`)")
	return cmd
}

func newGrantsCmd(a *app) *cobra.Command {
	var revoke, version string
	cmd := &cobra.Command{
		Use: "grants", Short: "List or revoke grants to make a disk with a key", Args: exactArgs(),
		Long:    "Lists the grants to make a disk with a key of this vault, spent and ended ones too. With --revoke it\nends the one about the latest version of a key, or about --version.",
		Example: "  openskr key grants\n  openskr key grants --revoke disk",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if revoke != "" {
				return a.formatGrant(cmd, http.MethodDelete, formatGrantPath(revoke, version), nil)
			}
			if version != "" {
				return usagef("--version goes with --revoke NAME")
			}
			return a.listGrants(cmd)
		},
	}
	cmd.Flags().StringVar(&revoke, "revoke", "", "end the grant about this key (`NAME`)")
	cmd.Flags().StringVar(&version, "version", "", "`VERSION` of the key (default: the latest)")
	return cmd
}

func (a *app) listGrants(cmd *cobra.Command) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	all, err := pages[v1.FormatGrant](cmd.Context(), c, formatGrants)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, v1.FormatGrantPage{Value: all})
	}
	return a.table("KEY VERSION MACHINE STATE GRANTED UNTIL", func(line func(...any)) {
		for _, g := range all {
			line(g.Key, g.Version, machineOf(g), stateOf(g), stamp(g.Granted), stamp(g.Until))
		}
	})
}

// wholeMachine completes the beginning of an enrolled machine's id: a grant compares whole
// ones, and one for a beginning would let nobody make the disk. Who never enrolled is in
// no list, and named by "<type>-<64 hex digits>" ([attest.Identify]).
func (a *app) wholeMachine(ctx context.Context, id string) (string, error) {
	hash, whole := id, 2*16
	if i := strings.LastIndexByte(id, '-'); i >= 0 {
		hash, whole = id[i+1:], 2*sha256.Size
	}
	if id == "" || len(hash) >= whole {
		return id, nil
	}
	c, err := a.connect(ctx)
	if err != nil {
		return "", err
	}
	return c.machineID(ctx, id, usagef("--machine %q is no whole id, which a machine that never enrolled needs (its entries in `openskr log tail` have it)", id))
}

// formatGrant makes a request about one and prints what it was about.
func (a *app) formatGrant(cmd *cobra.Command, method, path string, in any) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	var raw []byte
	err = c.call(cmd.Context(), method, path, in, &raw)
	var unknown *brokerError
	if method == http.MethodDelete && errors.As(err, &unknown) && unknown.Status == http.StatusNotFound {
		return fmt.Errorf("no open grant is about that key version (`openskr key grants` lists all): %w", err)
	}
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, json.RawMessage(raw))
	}
	var g v1.FormatGrant
	if err := json.Unmarshal(raw, &g); err != nil {
		return fmt.Errorf("the broker's answer is not a grant: %w", err)
	}
	a.fields("key", g.Key, "version", g.Version, "machine", machineOf(g), "state", stateOf(g), "until", stamp(g.Until), "log entry", strconv.FormatInt(g.Index, 10))
	return nil
}

func machineOf(g v1.FormatGrant) string {
	if g.Machine == "" {
		return "any that the policy allows"
	}
	return g.Machine
}

func stateOf(g v1.FormatGrant) string {
	if g.SpentBy != nil {
		return fmt.Sprintf("%s by log entry %d", g.State, *g.SpentBy)
	}
	return g.State
}
