package v1

import (
	"context"
	"net/http"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// maxAttested bounds the body with an attested role's policy, in bytes.
const maxAttested = 128 << 10

// AttestedRole is a mapping from claims to a role: machines that the policy allows have
// the role at the scope, by an attested access token.
type AttestedRole struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Scope   string `json:"scope"`
	Policy  string `json:"policy"`  // Rego, as a release policy
	Created int64  `json:"created"` // Unix seconds
	Updated int64  `json:"updated"`
	Index   int64  `json:"index"` // of the record of the last change
}

// AttestedRoleList answers GET /v1/attested-roles, by name. It has no further pages.
type AttestedRoleList struct {
	Value []AttestedRole `json:"value"`
}

// AttestedRoleBody is the body of PUT /v1/attested-roles/{name}.
type AttestedRoleBody struct {
	Role   string `json:"role"`
	Scope  string `json:"scope"`
	Policy string `json:"policy"`
}

// AttestedRoles keeps them. Implemented by *identity.Attested.
type AttestedRoles interface {
	List(ctx context.Context) ([]identity.KeptRole, error)
	Get(ctx context.Context, name string) (*identity.KeptRole, error)
	Put(ctx context.Context, rec *release.Record, r identity.AttestedRole) (*identity.KeptRole, error)
	Remove(ctx context.Context, rec *release.Record, name string) (*identity.KeptRole, error)
}

// Operations on attested roles, in records and metrics.
const (
	opAttestedPut    = "attested-roles/put"
	opAttestedRemove = "attested-roles/remove"
)

// attestedRoutes are the request for a token, and who may have one: that gives and
// takes rights, and needs those of the role API.
func (d *door) attestedRoutes() []*route.Route {
	const list, one = "/v1/attested-roles", "/v1/attested-roles/:name"
	return []*route.Route{
		{
			Method: http.MethodPost, Path: "/v1/token", Name: "attested-token", Access: route.Public, Cost: 1,
			Body: route.JSON, Limit: maxRelease, Queue: route.Deciding, Do: route.Strict(d.token),
		},
		{Method: http.MethodGet, Path: list, Name: "attested-roles/list", Access: route.Role, Action: identity.RolesRead, Do: d.listAttested},
		{Method: http.MethodGet, Path: one, Name: "attested-roles/get", Access: route.Role, Action: identity.RolesRead, Do: d.getAttested},
		{
			Method: http.MethodPut, Path: one, Name: opAttestedPut, Access: route.Role, Action: identity.RolesWrite,
			Body: route.JSON, Limit: maxAttested, Do: route.Strict(d.putAttested),
		},
		{Method: http.MethodDelete, Path: one, Name: opAttestedRemove, Access: route.Role, Action: identity.RolesDelete, Do: d.removeAttested},
	}
}

func (d *door) listAttested(ctx context.Context, _ *route.Call) (any, error) {
	all, err := d.Attested.List(ctx)
	if err != nil {
		return nil, err
	}
	out := AttestedRoleList{Value: []AttestedRole{}}
	for i := range all {
		out.Value = append(out.Value, *attestedRole(&all[i]))
	}
	return out, nil
}

func (d *door) getAttested(ctx context.Context, c *route.Call) (any, error) {
	r, err := d.Attested.Get(ctx, c.Params["name"])
	if err != nil {
		return nil, err
	}
	return attestedRole(r), nil
}

func (d *door) putAttested(ctx context.Context, c *route.Call, req *AttestedRoleBody) (any, error) {
	r, err := d.Attested.Put(ctx, d.Record(ctx, opAttestedPut), identity.AttestedRole{
		Name: c.Params["name"], Role: req.Role, Scope: req.Scope, Policy: req.Policy,
	})
	if err != nil {
		return nil, err
	}
	return attestedRole(r), nil
}

func (d *door) removeAttested(ctx context.Context, c *route.Call) (any, error) {
	r, err := d.Attested.Remove(ctx, d.Record(ctx, opAttestedRemove), c.Params["name"])
	if err != nil {
		return nil, err
	}
	return attestedRole(r), nil
}

func attestedRole(r *identity.KeptRole) *AttestedRole {
	return &AttestedRole{
		Name: r.Name, Role: r.Role, Scope: r.Scope, Policy: r.Policy, Created: r.Created, Updated: r.Updated, Index: r.Index,
	}
}
