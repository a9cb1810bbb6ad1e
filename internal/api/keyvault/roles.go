package keyvault

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
)

// Access keeps role assignments. Implemented by *identity.Access.
type Access interface {
	Assign(ctx context.Context, by string, h identity.Held) (*identity.Held, error)
	Unassign(ctx context.Context, scope, id string) (*identity.Held, error)
	Assignment(ctx context.Context, scope, id string) (*identity.Held, error)
	Assignments(ctx context.Context, after string, keep func(identity.Held) bool) ([]identity.Held, string, error)
}

// Operations of the role API that are no change.
const (
	opRoleGet     = "roles/get"
	opRoleList    = "roles/list"
	opDefinition  = "roles/definition"
	opDefinitions = "roles/definitions"
)

// Authorization is the provider of the role API: its paths are
// /{scope}/providers/Microsoft.Authorization/{roleAssignments|roleDefinitions}[/{guid}].
// The funnel takes the scope off before routing, into Call.At.
const (
	authorization   = "/providers/Microsoft.Authorization/"
	pathAssignments = authorization + "roleAssignments"
	pathDefinitions = authorization + "roleDefinitions"
)

// maxRoleBody bounds a role assignment in bytes.
const maxRoleBody = 4 << 10

func (d *door) roleRoutes() []*route.Route {
	role := func(method, path, op string, action identity.Action, do route.Handler) *route.Route {
		return &route.Route{Method: method, Path: path, Name: op, Access: route.Role, Action: action, Scoped: true, Do: do}
	}
	assign := role(http.MethodPut, pathAssignments+"/:id", identity.OpAssign, identity.RolesWrite, folded(shapeAssignment(), d.assign))
	assign.Body, assign.Limit = route.JSON, maxRoleBody
	out := []*route.Route{
		assign,
		role(http.MethodGet, pathAssignments, opRoleList, identity.RolesRead, d.listAssignments),
		role(http.MethodGet, pathAssignments+"/:id", opRoleGet, identity.RolesRead, d.getAssignment),
		role(http.MethodDelete, pathAssignments+"/:id", identity.OpUnassign, identity.RolesDelete, d.unassign),
		role(http.MethodGet, pathDefinitions, opDefinitions, identity.DefinitionsRead, d.listDefinitions),
		role(http.MethodGet, pathDefinitions+"/:id", opDefinition, identity.DefinitionsRead, d.getDefinition),
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		out = append(out, &route.Route{Method: method, Path: pathDefinitions + "/:id", Name: "roles/define", Access: route.Anyone, Do: noCustomRoles})
	}
	return out
}

func noCustomRoles(context.Context, *route.Call) (any, error) {
	return nil, release.Refuse(release.ReasonNotOffered, "there are built-in roles only; docs/roles.md has the list")
}

func (d *door) assign(ctx context.Context, c *route.Call, req *roleAssignment) (any, error) {
	id, err := guid(c.Params["id"])
	if err != nil {
		return nil, err
	}
	role, ok := identity.RoleByID(strings.ToLower(definitionID(req.Properties.Role)))
	if !ok {
		return nil, release.Refuse(release.ReasonBadRequest, "roleDefinitionId %.128q names no role; docs/roles.md has the list", req.Properties.Role)
	}
	h := identity.Held{Principal: strings.ToLower(req.Properties.Principal)}
	h.ID, h.Role, h.Scope = id, role.Name, c.At
	held, err := d.Access.Assign(ctx, c.Caller.ID, h)
	if err != nil {
		return nil, err
	}
	body, err := strict.Marshal(assignment(c, *held))
	if err != nil {
		return nil, err
	}
	return &route.Raw{Status: http.StatusCreated, Type: "application/json; charset=utf-8", Body: body}, nil
}

func (d *door) getAssignment(ctx context.Context, c *route.Call) (any, error) {
	return named(ctx, c, d.Access.Assignment)
}

func (d *door) unassign(ctx context.Context, c *route.Call) (any, error) {
	return named(ctx, c, d.Access.Unassign)
}

// named answers with the assignment that the path names, at its scope or below: the
// Azure CLI takes every assignment away at /, wherever it counts.
func named(ctx context.Context, c *route.Call, do func(ctx context.Context, scope, id string) (*identity.Held, error)) (any, error) {
	id, err := guid(c.Params["id"])
	if err != nil {
		return nil, err
	}
	held, err := do(ctx, c.At, id)
	if err != nil {
		return nil, err
	}
	return assignment(c, *held), nil
}

// listAssignments answers with those at the scope, above and below it, as far as the
// caller may read them: with atScope() none below, with principalId eq '…' those of one.
func (d *door) listAssignments(ctx context.Context, c *route.Call) (any, error) {
	_, cursor, err := d.position(c)
	if err != nil {
		return nil, err
	}
	filter, after := c.Query.Get("$filter"), ""
	if cursor != "" {
		parts := strings.Split(cursor, "\n")
		if len(parts) != 3 || parts[0] != c.At || filter != "" && filter != parts[1] {
			return nil, errToken()
		}
		filter, after = parts[1], parts[2]
	}
	keep, err := parseFilter(filter, c.At)
	if err != nil {
		return nil, err
	}
	found, next, err := d.Access.Assignments(ctx, after, func(h identity.Held) bool {
		return keep(h) && identity.Covers(c.Root, h.Scope) && c.Caller.May(identity.RolesRead, h.Scope)
	})
	if err != nil {
		return nil, err
	}
	p := Page[RoleAssignment]{Value: []RoleAssignment{}}
	for _, h := range found {
		p.Value = append(p.Value, assignment(c, h))
	}
	if next != "" {
		link := d.nextLink(c, strings.TrimSuffix(shown(c, c.At), "/")+pathAssignments, pageSize, c.At+"\n"+filter+"\n"+next)
		p.NextLink = &link
	}
	return p, nil
}

// parseFilter reads the filters that Azure's clients send.
func parseFilter(filter, at string) (func(identity.Held) bool, error) {
	switch rest, ok := strings.CutPrefix(filter, "principalId eq "); {
	case filter == "":
		return func(h identity.Held) bool { return identity.Covers(at, h.Scope) || identity.Covers(h.Scope, at) }, nil
	case filter == "atScope()":
		return func(h identity.Held) bool { return identity.Covers(h.Scope, at) }, nil
	case ok:
		principal, err := guid(strings.Trim(rest, "'"))
		if err != nil {
			return nil, err
		}
		return func(h identity.Held) bool {
			return h.Principal == principal && (identity.Covers(at, h.Scope) || identity.Covers(h.Scope, at))
		}, nil
	}
	return nil, release.Refuse(release.ReasonBadRequest, "$filter %.64q: want atScope() or principalId eq 'UUID'", filter)
}

func (d *door) listDefinitions(_ context.Context, c *route.Call) (any, error) {
	if f := c.Query.Get("$filter"); f != "" && f != "atScope()" {
		return nil, release.Refuse(release.ReasonBadRequest, "$filter %.64q: want atScope()", f)
	}
	p := Page[RoleDefinition]{Value: []RoleDefinition{}}
	for _, r := range identity.Roles() {
		if !r.Everywhere || c.At == identity.Everywhere {
			p.Value = append(p.Value, definition(r))
		}
	}
	return p, nil
}

func (d *door) getDefinition(_ context.Context, c *route.Call) (any, error) {
	r, ok := identity.RoleByID(strings.ToLower(c.Params["id"]))
	if !ok {
		return nil, release.Refuse(release.ReasonNotFound, "no role definition %.64q", c.Params["id"])
	}
	return definition(r), nil
}

// guid reads a UUID in either case.
func guid(s string) (string, error) {
	low := strings.ToLower(s)
	if !identity.ValidID(low) {
		return "", release.Refuse(release.ReasonBadRequest, "%.64q is not a UUID", s)
	}
	return low, nil
}

// definitionID is the UUID at the end of the path of a role definition, whatever
// provider or scope clients put in front.
func definitionID(s string) string {
	parts := strings.Split(s, "/")
	if len(parts) > 1 && !strings.EqualFold(parts[len(parts)-2], "roleDefinitions") {
		return ""
	}
	return parts[len(parts)-1]
}

// shown is a scope as the caller names it: on a vault's own host from the vault on,
// on a configured one with the default vault's collections at the top.
func shown(c *route.Call, scope string) string {
	if c.Root != identity.Everywhere {
		return "/" + strings.TrimPrefix(strings.TrimPrefix(scope, c.Root), "/")
	}
	if own := identity.Scope(c.Vault, "", ""); strings.HasPrefix(scope, own+"/") {
		return strings.TrimPrefix(scope, own)
	}
	return scope
}

// scopesOf are where a role may be assigned, in Managed HSM's words and ours.
func scopesOf(r identity.Role) []string {
	if r.Everywhere {
		return []string{"/"}
	}
	out := []string{"/", "/keys"}
	if !r.HSM && slices.Contains(r.Actions, identity.SecretsMetadata) {
		out = append(out, "/secrets")
	}
	return out
}
