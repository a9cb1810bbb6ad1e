package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// errNoSecret is what `secret show` finds where there is nothing.
var errNoSecret = errors.New("there is no such secret, or no such version of it")

func newSecretListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List secrets, without values", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.listSecrets(cmd, vaultPath("secrets"))
		},
	}
}

func newSecretVersionsCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "versions NAME", Short: "List the versions of a secret, without values", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.listSecrets(cmd, vaultPath("secrets", args[0], "versions"))
		},
	}
}

func newSecretDeletedCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "deleted", Short: "List deleted secrets that can be recovered", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.listSecrets(cmd, vaultPath("deletedsecrets"))
		},
	}
}

// secrets gets every page of a list.
func (a *app) secrets(cmd *cobra.Command, path string) ([]secretBundle, error) {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return nil, err
	}
	items := []secretBundle{}
	err = c.list(cmd.Context(), path, func(v json.RawMessage) error {
		var s secretBundle
		err := json.Unmarshal(v, &s)
		items = append(items, s)
		return err
	})
	return items, err
}

func (a *app) listSecrets(cmd *cobra.Command, path string) error {
	items, err := a.secrets(cmd, path)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, map[string]any{"value": items})
	}
	return a.table("ID ENABLED NOT-BEFORE EXPIRES UPDATED CONTENT-TYPE PURGED-FROM", func(line func(...any)) {
		for _, s := range items {
			t := s.Attributes
			line(s.ID, t.Enabled == nil || *t.Enabled, stamp(t.NotBefore), stamp(t.Expires), stamp(t.Updated), s.ContentType, stamp(s.ScheduledPurgeDate))
		}
	})
}

// newSecretShowCmd reads lists: Key Vault's get would give the value away.
func newSecretShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME [VERSION]", Short: "Show what is said about a secret; never its value", Args: nameAndVersion,
		RunE: func(cmd *cobra.Command, args []string) error {
			items, err := a.secrets(cmd, vaultPath("secrets", args[0], "versions"))
			if err != nil {
				return err
			}
			for i := len(items) - 1; i >= 0; i-- { // oldest first
				if len(args) == 1 || strings.HasSuffix(items[i].ID, "/"+args[1]) {
					return a.showSecret(items[i])
				}
			}
			return &exitError{codeFailed, errNoSecret}
		},
	}
}

func newSecretEnabledCmd(a *app, verb, short string, enabled bool) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME [VERSION]", Short: short, Args: nameAndVersion,
		Long: short + ". Without VERSION: the latest one.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.secretRequest(cmd, http.MethodPatch, vaultPath("secrets", args...), map[string]any{"attributes": secretAttributes{Enabled: &enabled}})
		},
	}
}

func newSecretDeleteCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a secret, all versions; it can be recovered until it is purged", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.secretRequest(cmd, http.MethodDelete, vaultPath("secrets", args[0]), nil)
		},
	}
}

func newSecretRecoverCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "recover NAME", Short: "Bring a deleted secret back", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.secretRequest(cmd, http.MethodPost, vaultPath("deletedsecrets", args[0], "recover"), nil)
		},
	}
}

func newSecretPurgeCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "purge NAME", Short: "Destroy a deleted secret now; nothing brings it back", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			return c.call(cmd.Context(), http.MethodDelete, vaultPath("deletedsecrets", args[0]), nil, nil)
		},
	}
}
