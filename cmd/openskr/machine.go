package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/release"
)

func newMachineCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "machine", Short: "Approve, label and deny machines",
		Long: `A machine that enrols waits until it is approved: any genuine TPM on earth can enrol,
so that somebody has to say which ones are yours. Compare the hash of its EK with what
the machine, or whoever installed it, says. ID is the one of ` + "`openskr machine list`" + `, or the
first 8 or more characters of it.

Confidential hardware does not enrol. Its id, whole, is the caller that ` + "`openskr log show`" + ` prints
("snp-" and 64 digits): deny or label it by that, before or after it was listed here.`,
	})
	cmd.AddCommand(newMachineListCmd(a), newMachineShowCmd(a),
		newMachineStatusCmd(a, "approve", "Let a machine have its AK certificate", release.MachineApproved),
		newMachineStatusCmd(a, "deny", "Refuse a machine from now on, at once", release.MachineDenied),
		newMachineLabelCmd(a))
	return cmd
}

func newMachineListCmd(a *app) *cobra.Command {
	var only string
	cmd := &cobra.Command{
		Use: "list", Short: "List machines", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			all, err := pages[v1.Machine](cmd.Context(), c, "/v1/machines")
			if err != nil {
				return err
			}
			all = slices.DeleteFunc(all, func(m v1.Machine) bool { return only != "" && m.Status != only })
			if a.json {
				return printJSON(a.stdout, map[string]any{"value": all})
			}
			return a.table("ID STATUS EK-ISSUER UPDATED LABELS", func(line func(...any)) {
				for _, m := range all {
					line(m.ID, m.Status, m.EKIssuer, stamp(m.Updated), labelText(m.Labels))
				}
			})
		},
	}
	cmd.Flags().StringVar(&only, "status", "", "only machines that are `STATUS`: pending, approved or denied")
	return cmd
}

// minPrefix is how much of a machine's id names it, when no other begins so.
const minPrefix = 8

// machineID completes the beginning of an id that the broker answered with
// unknown. A beginning that two machines share names neither.
func (c *client) machineID(ctx context.Context, id string, unknown error) (string, error) {
	if len(id) < minPrefix {
		return "", fmt.Errorf("%w; give the id of `openskr machine list`, or at least its first %d characters", unknown, minPrefix)
	}
	all, err := pages[v1.Machine](ctx, c, "/v1/machines")
	if err != nil {
		return "", err
	}
	var found []string
	for _, m := range all {
		if strings.HasPrefix(m.ID, id) {
			found = append(found, m.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%w; `openskr machine list` has the ids", unknown)
	case 1:
		return found[0], nil
	}
	return "", usagef("%d machines have an id that begins with %s: give more of it", len(found), id)
}

func labelText(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, " ")
}

func newMachineShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a machine", Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.machineRequest(cmd, http.MethodGet, args[0], nil)
		},
	}
}

func newMachineStatusCmd(a *app, verb, short, status string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID", Short: short, Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.machineRequest(cmd, http.MethodPatch, args[0], v1.MachinePatch{Status: status})
		},
	}
}

func newMachineLabelCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "label ID K=V…", Short: "Replace the labels that policies see as input.machine.labels",
		Example: "  openskr machine label 3f2a… role=web site=berlin\n  openskr machine label 3f2a… ''    # none",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("%s: ID and K=V are needed ('' removes all labels)", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			labels := map[string]string{}
			for _, l := range args[1:] {
				k, v, ok := strings.Cut(l, "=")
				if l == "" {
					continue
				}
				if _, twice := labels[k]; !ok || twice {
					return usagef("label %q: want K=V, each K once", l)
				}
				labels[k] = v
			}
			// Not MachinePatch: it leaves an empty map out, which would change nothing.
			return a.machineRequest(cmd, http.MethodPatch, args[0], map[string]any{"labels": labels})
		},
	}
}

func (a *app) machineRequest(cmd *cobra.Command, method, id string, in any) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	var raw []byte
	err = c.call(cmd.Context(), method, "/v1/machines/"+url.PathEscape(id), in, &raw)
	var unknown *brokerError
	if errors.As(err, &unknown) && unknown.Status == http.StatusNotFound {
		if id, err = c.machineID(cmd.Context(), id, err); err == nil {
			err = c.call(cmd.Context(), method, "/v1/machines/"+url.PathEscape(id), in, &raw)
		}
	}
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, json.RawMessage(raw))
	}
	var m v1.Machine
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("the broker's answer is not a machine: %w", err)
	}
	a.fields("machine", m.ID, "status", m.Status, "labels", labelText(m.Labels), "EK sha256", hex.EncodeToString(m.EKHash),
		"EK issuer", m.EKIssuer, "EK serial", m.EKSerial, "enrolled", stamp(m.Created), "updated", stamp(m.Updated), "log entry", fmt.Sprint(m.Index))
	return nil
}

// fields prints names and values in two columns, leaving empty values out.
func (a *app) fields(pairs ...string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(a.stdout, "%-14s %s\n", pairs[i], printable(pairs[i+1]))
		}
	}
}
