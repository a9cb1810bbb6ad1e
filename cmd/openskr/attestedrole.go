package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	v1 "github.com/openskr/openskr/internal/api/v1"
)

func newAttestedRoleCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "attested-role", Short: "Say which machines may read, by what they prove",
		Long: `An attested role gives every machine that its policy allows a role at a scope, without a
stored credential: the machine asks for an access token with ` + "`openskr-agent token`" + `, proves
itself as for the release of a key, and has the roles of every policy that allows it, for
15 minutes and in one vault. Only roles that do nothing but read and release can be given.

The policy is Rego as a release policy is (` + "`openskr policy check`" + ` judges it); its
input.request.key is the URL of the vault, and its input.key is empty. Removing or changing
an attested role ends the tokens that rest on it at once, and so does a denied machine.`,
	})
	cmd.AddCommand(newAttestedRoleAddCmd(a), newAttestedRoleListCmd(a), newAttestedRoleShowCmd(a), newAttestedRoleRemoveCmd(a))
	return cmd
}

const attestedRoles = "/v1/attested-roles"

func attestedRolePath(name string) string { return attestedRoles + "/" + url.PathEscape(name) }

func newAttestedRoleAddCmd(a *app) *cobra.Command {
	var body v1.AttestedRoleBody
	var policy string
	var replace bool
	cmd := &cobra.Command{
		Use: "add NAME --role ROLE --scope SCOPE --policy FILE", Short: "Give machines a role", Args: exactArgs("NAME"),
		Example: `  openskr attested-role add web --role 'Key Vault Secrets User' --scope /vaults/default/secrets/db --policy web.rego`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if body.Role == "" || body.Scope == "" || policy == "" {
				return usagef("%s: --role, --scope and --policy are required", cmd.CommandPath())
			}
			text, err := a.input(policy)
			if err != nil {
				return err
			}
			body.Policy = string(text)
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			if !replace {
				if err := c.absent(cmd, args[0]); err != nil {
					return err
				}
			}
			return a.attestedRole(cmd, c, http.MethodPut, args[0], body)
		},
	}
	cmd.Flags().StringVar(&body.Role, "role", "", "`ROLE` of `openskr role definitions` that only reads and releases (required)")
	cmd.Flags().StringVar(&body.Scope, "scope", "", "`SCOPE`: /, /vaults/NAME, /vaults/NAME/keys[/NAME] or /vaults/NAME/secrets[/NAME] (required)")
	cmd.Flags().StringVar(&policy, "policy", "", "Rego `FILE` that says which machines (- for stdin, required)")
	cmd.Flags().BoolVar(&replace, "replace", false, "also where there is one of that name, which ends its tokens")
	return cmd
}

// absent keeps a new attested role from taking the place of another by mistake.
func (c *client) absent(cmd *cobra.Command, name string) error {
	err := c.call(cmd.Context(), http.MethodGet, attestedRolePath(name), nil, nil)
	var unknown *brokerError
	if errors.As(err, &unknown) && unknown.Status == http.StatusNotFound {
		return nil
	}
	if err == nil {
		return usagef("there is an attested role %s: --replace takes its place", name)
	}
	return err
}

func newAttestedRoleListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List attested roles", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var all v1.AttestedRoleList
			if err := c.call(cmd.Context(), http.MethodGet, attestedRoles, nil, &all); err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, all)
			}
			return a.table("NAME ROLE SCOPE UPDATED", func(line func(...any)) {
				for _, r := range all.Value {
					line(r.Name, r.Role, r.Scope, stamp(r.Updated))
				}
			})
		},
	}
}

func newAttestedRoleShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show an attested role and its policy", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			return a.attestedRole(cmd, c, http.MethodGet, args[0], nil)
		},
	}
}

func newAttestedRoleRemoveCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove an attested role, and with it the tokens that rest on it", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			return a.attestedRole(cmd, c, http.MethodDelete, args[0], nil)
		},
	}
}

// attestedRole makes a request about one and prints what it was about.
func (a *app) attestedRole(cmd *cobra.Command, c *client, method, name string, in any) error {
	var raw []byte
	if err := c.call(cmd.Context(), method, attestedRolePath(name), in, &raw); err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, json.RawMessage(raw))
	}
	var r v1.AttestedRole
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("the broker's answer is not an attested role: %w", err)
	}
	a.fields("attested role", r.Name, "role", r.Role, "scope", r.Scope, "created", stamp(r.Created), "updated", stamp(r.Updated), "log entry", fmt.Sprint(r.Index))
	if method == http.MethodGet {
		fmt.Fprintf(a.stdout, "\n%s\n", printableLines(r.Policy))
	}
	return nil
}
