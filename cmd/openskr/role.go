package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
	"github.com/openskr/openskr/internal/identity"
)

func newRoleCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "role", Short: "Say who may do what, and where",
		Long: `A role assignment gives a principal a role at a scope and everything below it. What no
role allows is refused. Scopes: / is the deployment; /keys, /keys/NAME, /secrets and
/secrets/NAME are of the default vault; /vaults/VAULT, and the same four below it, of a vault
by name. On a vault's own host / is that vault.

The roles are Azure's, docs/roles.md has the table. Every change is a log record, and counts
from the principal's next request on.`,
	})
	cmd.AddCommand(newRoleListCmd(a), newRoleAssignCmd(a), newRoleRemoveCmd(a), newRoleDefinitionsCmd(a))
	return cmd
}

// rolePath is the path of the role API at a scope.
func rolePath(scope, word, id string, query url.Values) (string, error) {
	if !strings.HasPrefix(scope, "/") {
		return "", usagef("scope %q: want / or a path that begins with it, see `openskr role --help`", scope)
	}
	path := strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/" + word
	if id != "" {
		path += "/" + url.PathEscape(id)
	}
	query.Set("api-version", apiVersion)
	return path + "?" + query.Encode(), nil
}

func newRoleListCmd(a *app) *cobra.Command {
	var scope, who string
	var exact bool
	cmd := &cobra.Command{
		Use: "list", Short: "List role assignments at a scope, above and below it", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			query := url.Values{}
			if who != "" {
				id, err := c.principal(cmd.Context(), who)
				if err != nil {
					return err
				}
				query.Set("$filter", "principalId eq '"+id+"'")
			}
			all := []apikeyvault.RoleAssignment{}
			err = c.assignments(cmd.Context(), scope, query, func(r apikeyvault.RoleAssignment) {
				if !exact || r.Properties.Scope == scope {
					all = append(all, r)
				}
			})
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"value": all})
			}
			return a.table("ID ROLE PRINCIPAL SCOPE", func(line func(...any)) {
				for _, r := range all {
					line(r.Name, roleName(r.Properties.Role), r.Properties.Principal, r.Properties.Scope)
				}
			})
		},
	}
	cmd.Flags().StringVar(&scope, "scope", "/", "`SCOPE` to list for")
	cmd.Flags().StringVar(&who, "principal", "", "only those of `PRINCIPAL`, by id or name")
	cmd.Flags().BoolVar(&exact, "exact", false, "only those at the scope itself")
	return cmd
}

// assignments gives every role assignment that is listed at a scope.
func (c *client) assignments(ctx context.Context, scope string, query url.Values, each func(apikeyvault.RoleAssignment)) error {
	path, err := rolePath(scope, "roleAssignments", "", query)
	if err != nil {
		return err
	}
	return c.list(ctx, path, func(raw json.RawMessage) error {
		var r apikeyvault.RoleAssignment
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("the broker's answer is not a role assignment: %w", err)
		}
		each(r)
		return nil
	})
}

// roleName names the role of a definition's path; one that this program does not know
// keeps its id.
func roleName(definition string) string {
	id := definition[strings.LastIndexByte(definition, '/')+1:]
	if r, ok := identity.RoleByID(id); ok {
		return r.Name
	}
	return id
}

func newRoleAssignCmd(a *app) *cobra.Command {
	var scope, who string
	cmd := &cobra.Command{
		Use: "assign ROLE --principal PRINCIPAL", Short: "Give a principal a role", Args: exactArgs("ROLE"),
		Long: `Give a principal a role at a scope. PRINCIPAL is an id or a name; the id may be one that
only an external issuer knows. ROLE is a name or an id of ` + "`openskr role definitions`" + `.`,
		Example: `  openskr role assign 'Key Vault Crypto User' --principal web --scope /keys/disk
  openskr role assign 'Managed HSM Policy Administrator' --principal eve --scope /vaults/team-a`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if who == "" {
				return usagef("%s: --principal is needed", cmd.CommandPath())
			}
			role, ok := identity.RoleNamed(args[0])
			if !ok {
				if role, ok = identity.RoleByID(args[0]); !ok {
					return usagef("no role %q; `openskr role definitions` has the list", args[0])
				}
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			id, err := c.principal(cmd.Context(), who)
			if err != nil {
				return err
			}
			path, err := rolePath(scope, "roleAssignments", newUUID(), url.Values{})
			if err != nil {
				return err
			}
			return a.roleRequest(cmd, c, http.MethodPut, path, map[string]any{"properties": map[string]string{"roleDefinitionId": role.ID, "principalId": id}})
		},
	}
	cmd.Flags().StringVar(&scope, "scope", "/", "`SCOPE` where, and below which, it counts")
	cmd.Flags().StringVar(&who, "principal", "", "`PRINCIPAL` who gets it (required)")
	return cmd
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562 §5.4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func newRoleRemoveCmd(a *app) *cobra.Command {
	var scope string
	cmd := &cobra.Command{
		Use: "remove ID", Short: "Take a role assignment away", Args: exactArgs("ID"),
		Long: `Take a role assignment away, by the ID of ` + "`openskr role list`" + `. The last one that lets an
enabled principal of the deployment give rights at / stays.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			path, err := rolePath(scope, "roleAssignments", args[0], url.Values{})
			if err != nil {
				return err
			}
			return a.roleRequest(cmd, c, http.MethodDelete, path, nil)
		},
	}
	cmd.Flags().StringVar(&scope, "scope", "/", "`SCOPE` of the assignment, or one above it where you may take roles away")
	return cmd
}

// roleRequest sends one that is answered with a role assignment.
func (a *app) roleRequest(cmd *cobra.Command, c *client, method, path string, in any) error {
	var r apikeyvault.RoleAssignment
	if err := c.call(cmd.Context(), method, path, in, &r); err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, r)
	}
	a.fields("assignment", r.Name, "role", roleName(r.Properties.Role), "principal", r.Properties.Principal, "scope", r.Properties.Scope)
	return nil
}

func newRoleDefinitionsCmd(a *app) *cobra.Command {
	var scope string
	cmd := &cobra.Command{
		Use: "definitions [ROLE]", Short: "List the roles there are, or what one allows", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			path, err := rolePath(scope, "roleDefinitions", "", url.Values{})
			if err != nil {
				return err
			}
			var all []apikeyvault.RoleDefinition
			if err := c.list(cmd.Context(), path, func(raw json.RawMessage) error {
				var r apikeyvault.RoleDefinition
				if err := json.Unmarshal(raw, &r); err != nil {
					return fmt.Errorf("the broker's answer is not a role: %w", err)
				}
				if len(args) == 0 || slices.Contains(args, r.Name) || slices.Contains(args, r.Properties.RoleName) {
					all = append(all, r)
				}
				return nil
			}); err != nil {
				return err
			}
			return a.definitions(all, args)
		},
	}
	cmd.Flags().StringVar(&scope, "scope", "/", "`SCOPE` at which they can be assigned")
	return cmd
}

func (a *app) definitions(all []apikeyvault.RoleDefinition, named []string) error {
	if len(named) > 0 && len(all) == 0 {
		return usagef("no role %q there", named[0])
	}
	if a.json {
		return printJSON(a.stdout, map[string]any{"value": all})
	}
	if len(named) == 0 {
		return a.table("ROLE ID MAY", func(line func(...any)) {
			for _, r := range all {
				line(r.Properties.RoleName, r.Name, r.Properties.Description)
			}
		})
	}
	for _, p := range all[0].Properties.Permissions {
		for _, action := range p.DataActions {
			fmt.Fprintln(a.stdout, printable(action))
		}
	}
	return nil
}
