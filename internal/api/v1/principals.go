package v1

import (
	"context"
	"net/http"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// maxPrincipal bounds a body with a principal's certificates, in bytes.
const maxPrincipal = 64 << 10

// Access keeps principals. Implemented by *identity.Access.
type Access interface {
	CreatePrincipal(ctx context.Context, name string, secret bool, by identity.Proofs) (*identity.Principal, string, error)
	Principal(ctx context.Context, id string) (*identity.Principal, error)
	Principals(ctx context.Context, after string, limit int) ([]*identity.Principal, string, error)
	Enable(ctx context.Context, id string, enabled bool) (*identity.Principal, error)
	SetProofs(ctx context.Context, id string, by identity.Proofs) (*identity.Principal, error)
	ResetSecret(ctx context.Context, id string) (string, error)
	DeletePrincipal(ctx context.Context, id string) error
}

// Principal is one as an administrator sees it. Its roles are asked of the role API.
type Principal struct {
	ID           string        `json:"id"`
	Name         string        `json:"name"`
	Enabled      bool          `json:"enabled"`
	HasSecret    bool          `json:"has_secret"`
	Created      int64         `json:"created"` // Unix seconds
	Certificates []Certificate `json:"certificates"`
	Federated    []Federated   `json:"federated"`
}

// Certificate proves a principal; exactly one member.
type Certificate struct {
	DER attest.Bytes `json:"der,omitempty"`
	SAN string       `json:"san,omitempty"` // "uri:…" or "dns:…"
}

// Federated is an identity of an external issuer that proves a principal.
type Federated struct {
	Issuer   string `json:"issuer"`
	Subject  string `json:"subject"`
	Audience string `json:"audience"`
}

// PrincipalPage answers GET /v1/principals. Next is the value of ?after= for the
// following page, absent on the last.
type PrincipalPage struct {
	Value []Principal `json:"value"`
	Next  string      `json:"next,omitempty"`
}

// PrincipalCreate is the body of POST /v1/principals.
type PrincipalCreate struct {
	Name         string        `json:"name"`
	NoSecret     bool          `json:"no_secret,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"`
	Federated    []Federated   `json:"federated,omitempty"`
}

// PrincipalCreated answers it, and POST /v1/principals/{id}/secret. The secret is
// kept nowhere.
type PrincipalCreated struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret,omitempty"`
}

// PrincipalPatch is the body of PATCH /v1/principals/{id}: either enabled, or the
// proofs, which replace those there are.
type PrincipalPatch struct {
	Enabled      *bool          `json:"enabled,omitempty"`
	Certificates *[]Certificate `json:"certificates,omitempty"`
	Federated    *[]Federated   `json:"federated,omitempty"`
}

func (d *door) principalRoutes() []*route.Route {
	return []*route.Route{
		{Method: http.MethodGet, Path: "/v1/principals", Name: "principals/list", Access: route.Role, Action: identity.PrincipalsRead, Query: []string{"after", "limit"}, Do: d.listPrincipals},
		{Method: http.MethodGet, Path: "/v1/principals/:id", Name: "principals/get", Access: route.Role, Action: identity.PrincipalsRead, Do: d.getPrincipal},
		{
			Method: http.MethodPost, Path: "/v1/principals", Name: identity.OpCreatePrincipal, Access: route.Role, Action: identity.PrincipalsWrite,
			Body: route.JSON, Limit: maxPrincipal, Do: route.Strict(d.createPrincipal),
		},
		{
			Method: http.MethodPatch, Path: "/v1/principals/:id", Name: "principals/update", Access: route.Role, Action: identity.PrincipalsWrite,
			Body: route.JSON, Limit: maxPrincipal, Do: route.Strict(d.updatePrincipal),
		},
		{Method: http.MethodPost, Path: "/v1/principals/:id/secret", Name: identity.OpResetSecret, Access: route.Role, Action: identity.PrincipalsWrite, Do: d.resetSecret},
		{Method: http.MethodDelete, Path: "/v1/principals/:id", Name: identity.OpDeletePrincipal, Access: route.Role, Action: identity.PrincipalsWrite, Do: d.deletePrincipal},
	}
}

func (d *door) listPrincipals(ctx context.Context, c *route.Call) (any, error) {
	after := c.Query.Get("after")
	if after != "" && !identity.ValidID(after) {
		return nil, release.Refuse(release.ReasonBadRequest, "after is not a principal's id")
	}
	limit, err := number(c, "limit", 1, MaxPage, MaxPage)
	if err != nil {
		return nil, err
	}
	found, next, err := d.Access.Principals(ctx, after, int(limit))
	if err != nil {
		return nil, err
	}
	page := PrincipalPage{Value: []Principal{}, Next: next}
	for _, p := range found {
		page.Value = append(page.Value, principal(p))
	}
	return page, nil
}

func (d *door) getPrincipal(ctx context.Context, c *route.Call) (any, error) {
	p, err := d.Access.Principal(ctx, c.Params["id"])
	if err != nil {
		return nil, err
	}
	return principal(p), nil
}

func (d *door) createPrincipal(ctx context.Context, _ *route.Call, req *PrincipalCreate) (any, error) {
	p, secret, err := d.Access.CreatePrincipal(ctx, req.Name, !req.NoSecret, proofs(&req.Certificates, &req.Federated))
	if err != nil {
		return nil, err
	}
	return PrincipalCreated{ID: p.ID, Secret: secret}, nil
}

func (d *door) updatePrincipal(ctx context.Context, c *route.Call, req *PrincipalPatch) (any, error) {
	var p *identity.Principal
	var err error
	switch proven := req.Certificates != nil || req.Federated != nil; {
	case proven == (req.Enabled != nil): // each is a record of its own
		return nil, release.Refuse(release.ReasonBadRequest, "give either enabled, or certificates and federated")
	case proven:
		p, err = d.Access.SetProofs(ctx, c.Params["id"], proofs(req.Certificates, req.Federated))
	default:
		p, err = d.Access.Enable(ctx, c.Params["id"], *req.Enabled)
	}
	if err != nil {
		return nil, err
	}
	return principal(p), nil
}

func (d *door) resetSecret(ctx context.Context, c *route.Call) (any, error) {
	secret, err := d.Access.ResetSecret(ctx, c.Params["id"])
	if err != nil {
		return nil, err
	}
	return PrincipalCreated{ID: c.Params["id"], Secret: secret}, nil
}

func (d *door) deletePrincipal(ctx context.Context, c *route.Call) (any, error) {
	if err := d.Access.DeletePrincipal(ctx, c.Params["id"]); err != nil {
		return nil, err
	}
	return PrincipalCreated{ID: c.Params["id"]}, nil
}

// proofs turns the members of a request round; nil leaves what there is.
func proofs(certificates *[]Certificate, federated *[]Federated) identity.Proofs {
	var by identity.Proofs
	if certificates != nil {
		list := make([]identity.Certificate, len(*certificates))
		for i, c := range *certificates {
			list[i] = identity.Certificate{DER: c.DER, SAN: c.SAN}
		}
		by.Certificates = &list
	}
	if federated != nil {
		list := make([]identity.Federated, len(*federated))
		for i, f := range *federated {
			list[i] = identity.Federated(f)
		}
		by.Federated = &list
	}
	return by
}

func principal(p *identity.Principal) Principal {
	out := Principal{
		ID: p.ID, Name: p.Name, Enabled: p.Enabled, HasSecret: len(p.Hash) > 0, Created: p.Created,
		Certificates: []Certificate{}, Federated: []Federated{},
	}
	for _, c := range p.Certificates {
		out.Certificates = append(out.Certificates, Certificate{DER: c.DER, SAN: c.SAN})
	}
	for _, f := range p.Federated {
		out.Federated = append(out.Federated, Federated(f))
	}
	return out
}
