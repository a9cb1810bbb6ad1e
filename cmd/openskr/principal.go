package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/identity"
)

const principals = "/v1/principals"

func newPrincipalCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "principal", Short: "Say who can log in",
		Long: `A principal is a person or a program that logs in. A new one may do nothing: give it roles
with ` + "`openskr role assign`" + `. Its secret is made by the broker, shown once and kept nowhere.

PRINCIPAL is its id or its name, where no other has that. Every change is a log record, and
counts from the principal's next request on.`,
	})
	cmd.AddCommand(newPrincipalCreateCmd(a), newPrincipalListCmd(a), newPrincipalShowCmd(a),
		newPrincipalEnabledCmd(a, "enable", "Let a principal in again", true),
		newPrincipalEnabledCmd(a, "disable", "Let a principal in no longer, at once", false),
		newPrincipalProofsCmd(a), newPrincipalResetCmd(a), newPrincipalDeleteCmd(a))
	return cmd
}

func newPrincipalCreateCmd(a *app) *cobra.Command {
	var body v1.PrincipalCreate
	var by proofs
	var out string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a principal, without rights", Args: exactArgs("NAME"),
		Example: `  openskr principal create web --out web.json    # a credential for openskr login
  openskr role assign 'Key Vault Secrets User' --principal web --scope /secrets/db`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if body.Name = args[0]; body.NoSecret && out != "" {
				return usagef("--out is for the secret that --no-secret does not make: leave one of them out")
			}
			if body.Certificates, body.Federated, err = by.read(a); err != nil {
				return err
			}
			return a.newSecret(cmd, principals, body, out)
		},
	}
	by.flags(cmd)
	cmd.Flags().BoolVar(&body.NoSecret, "no-secret", false, "make none: it is proven otherwise")
	cmd.Flags().StringVar(&out, "out", "", "new `FILE` for id and secret, as a credential for openskr login")
	return cmd
}

func newPrincipalResetCmd(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "reset-secret PRINCIPAL", Short: "Replace a principal's secret; the one before ends at once", Args: exactArgs("PRINCIPAL"),
		Long: `Replace a principal's secret. The one before gets no token any more; tokens that it got end
within the hour, or at once when the principal is disabled.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			id, err := c.principal(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.newSecret(cmd, principals+"/"+id+"/secret", nil, out)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "new `FILE` for id and secret, as a credential for openskr login")
	return cmd
}

// newSecret posts what makes a secret, and shows the secret or writes it to a file.
func (a *app) newSecret(cmd *cobra.Command, path string, body any, out string) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	if err := a.unused(out); err != nil {
		return err
	}
	var made v1.PrincipalCreated
	if err := c.call(cmd.Context(), http.MethodPost, path, body, &made); err != nil {
		return err
	}
	if out != "" && made.Secret != "" {
		b, err := json.MarshalIndent(credential{Broker: c.base, ClientID: made.ID, ClientSecret: made.Secret, CA: c.ca}, "", "  ")
		if err != nil {
			return err
		}
		if err := a.output(out, append(b, '\n')); err != nil {
			return fmt.Errorf("principal %s was made, its secret is lost (`openskr principal reset-secret`): %w", made.ID, err)
		}
		made.Secret = ""
	}
	if a.json {
		return printJSON(a.stdout, made)
	}
	a.fields("client_id", made.ID, "client_secret", made.Secret)
	return nil
}

func newPrincipalListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List principals", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			all, err := pages[v1.Principal](cmd.Context(), c, principals)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"value": all})
			}
			return a.table("ID NAME ENABLED PROVEN-BY CREATED", func(line func(...any)) {
				for _, p := range all {
					line(p.ID, p.Name, p.Enabled, provenBy(p), stamp(p.Created))
				}
			})
		},
	}
}

func provenBy(p v1.Principal) string {
	var by []string
	for what, n := range map[string]int{"certificate": len(p.Certificates), "federation": len(p.Federated)} {
		if n > 0 {
			by = append(by, fmt.Sprintf("%d×%s", n, what))
		}
	}
	if p.HasSecret {
		by = append(by, "secret")
	}
	slices.Sort(by)
	return strings.Join(by, " ")
}

func newPrincipalShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show PRINCIPAL", Short: "Show a principal", Args: exactArgs("PRINCIPAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.principalRequest(cmd, http.MethodGet, args[0], nil)
		},
	}
}

func newPrincipalEnabledCmd(a *app, verb, short string, enabled bool) *cobra.Command {
	return &cobra.Command{
		Use: verb + " PRINCIPAL", Short: short, Args: exactArgs("PRINCIPAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.principalRequest(cmd, http.MethodPatch, args[0], v1.PrincipalPatch{Enabled: &enabled})
		},
	}
}

func newPrincipalDeleteCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "delete PRINCIPAL", Short: "Take a principal's roles away and end it for ever", Args: exactArgs("PRINCIPAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			id, err := c.principal(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodDelete, principals+"/"+id, nil, nil); err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]string{"deleted": id})
			}
			_, err = fmt.Fprintf(a.stdout, "deleted %s\n", id)
			return err
		},
	}
}

func (a *app) principalRequest(cmd *cobra.Command, method, name string, in any) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	id, err := c.principal(cmd.Context(), name)
	if err != nil {
		return err
	}
	var p v1.Principal
	if err := c.call(cmd.Context(), method, principals+"/"+id, in, &p); err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, p)
	}
	a.fields("id", p.ID, "name", p.Name, "enabled", fmt.Sprint(p.Enabled), "proven by", provenBy(p), "created", stamp(p.Created))
	return nil
}

// principal gives the id of a principal that was named by it, or by its name.
func (c *client) principal(ctx context.Context, name string) (string, error) {
	if identity.ValidID(name) {
		return name, nil
	}
	all, err := pages[v1.Principal](ctx, c, principals)
	if err != nil {
		return "", err
	}
	var found []string
	for _, p := range all {
		if p.Name == name {
			found = append(found, p.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", usagef("no principal is called %q; `openskr principal list` has those there are", name)
	case 1:
		return found[0], nil
	}
	return "", usagef("%d principals are called %q: give the id", len(found), name)
}
