package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	v1 "github.com/openskr/openskr/internal/api/v1"
)

func newVaultCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "vault", Short: "Make vaults and say how they treat what is deleted",
		Long: `A vault has keys and secrets of its own, sealed under its own key, and roles of its own.
The vault "default" is always there; others are reached as https://VAULT.SUFFIX, for each
suffix in the broker's configuration. A vault is never deleted.

What is deleted in a vault can be recovered until its retention is over. With purge
protection nobody purges it before, whatever the role; that is never taken back.`,
	})
	cmd.AddCommand(newVaultChangeCmd(a, "create", "Make a vault", http.MethodPost), newVaultListCmd(a), newVaultShowCmd(a),
		newVaultChangeCmd(a, "update", "Change the settings of a vault", http.MethodPatch))
	return cmd
}

// newVaultChangeCmd makes create and update: both say settings, and what is not said
// has its default, or stays.
func newVaultChangeCmd(a *app, verb, short, method string) *cobra.Command {
	var days int
	var protect, legacy bool
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Args: exactArgs("NAME"),
		Example: "  openskr vault " + verb + " team-a --retention-days 30 --purge-protection",
		RunE: func(cmd *cobra.Command, args []string) error {
			in, path := map[string]any{}, "/v1/vaults"
			if method == http.MethodPost {
				in["name"] = args[0]
			} else {
				path += "/" + url.PathEscape(args[0])
			}
			for flag, member := range map[string]struct {
				name  string
				value any
			}{
				"retention-days": {"retention_days", days}, "purge-protection": {"purge_protection", protect}, "legacy-algorithms": {"legacy_algorithms", legacy},
			} {
				if cmd.Flags().Changed(flag) {
					in[member.name] = member.value
				}
			}
			if method == http.MethodPatch && len(in) == 0 {
				return usagef("nothing to change: say --retention-days, --purge-protection or --legacy-algorithms")
			}
			return a.vaultRequest(cmd, method, path, in)
		},
	}
	cmd.Flags().IntVar(&days, "retention-days", 90, "`DAYS` for which what is deleted can be recovered, 7 to 90")
	cmd.Flags().BoolVar(&protect, "purge-protection", false, "nobody purges before that; can never be taken back")
	cmd.Flags().BoolVar(&legacy, "legacy-algorithms", false, "allow RSA1_5 and AES-CBC, which are weak (docs/limits.md)")
	return cmd
}

func newVaultShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show the settings of a vault", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.vaultRequest(cmd, http.MethodGet, "/v1/vaults/"+url.PathEscape(args[0]), nil)
		},
	}
}

func (a *app) vaultRequest(cmd *cobra.Command, method, path string, in any) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	var raw []byte
	if err := c.call(cmd.Context(), method, path, in, &raw); err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, json.RawMessage(raw))
	}
	var v v1.Vault
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("the broker's answer is not a vault: %w", err)
	}
	where := v.URL
	if where == "" {
		where = "none: name a suffix as vault_suffixes in the broker's configuration"
	}
	a.fields("vault", v.Name, "url", where, "retention", strconv.Itoa(v.RetentionDays)+" days", "purge", protection(v),
		"legacy", onOff(v.LegacyAlgorithms), "created", stamp(v.Created))
	return nil
}

func protection(v v1.Vault) string {
	if v.PurgeProtection {
		return "protected"
	}
	return "allowed"
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func newVaultListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List vaults", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			all, err := pages[v1.Vault](cmd.Context(), c, "/v1/vaults")
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"value": all})
			}
			return a.table("NAME RETENTION PURGE LEGACY URL", func(line func(...any)) {
				for _, v := range all {
					line(v.Name, strconv.Itoa(v.RetentionDays)+"d", protection(v), onOff(v.LegacyAlgorithms), v.URL)
				}
			})
		},
	}
}
