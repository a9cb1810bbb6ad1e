package v1

import (
	"context"
	"net/http"
	"time"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// FormatGrants keeps the grants to make a disk. Implemented by release/keyvault.
type FormatGrants interface {
	GrantFormat(ctx context.Context, vault, name, version, machine string, life time.Duration) (*release.FormatGrant, error)
	RevokeFormat(ctx context.Context, vault, name, version string) (*release.FormatGrant, error)
	FormatGrants(ctx context.Context, vault, after string, limit int) (page []*release.FormatGrant, next string, err error)
}

// FormatGrant lets a disk be made with a key version once (docs/disks.md).
type FormatGrant struct {
	Key     string `json:"key"` // name
	Version string `json:"version"`
	Machine string `json:"machine,omitempty"` // absent: any that the release policy allows
	State   string `json:"state"`             // "open", "spent", "revoked" or "ended"
	Granted int64  `json:"granted"`           // Unix seconds
	Until   int64  `json:"until"`             // Unix seconds
	SpentBy *int64 `json:"spent_by,omitempty"`
	Index   int64  `json:"index"` // of the record of the last change
}

// formatEnded is the state of an open grant whose time is over.
const formatEnded = "ended"

// FormatGrantPage answers GET /v1/format-grants. Next is the value of ?after= for the
// following page, absent on the last.
type FormatGrantPage struct {
	Value []FormatGrant `json:"value"`
	Next  string        `json:"next,omitempty"`
}

// FormatGrantBody is the body of PUT /v1/format-grants/{name}.
type FormatGrantBody struct {
	Version string `json:"version,omitempty"` // absent: the latest
	Machine string `json:"machine,omitempty"`
	Seconds int64  `json:"seconds"` // how long it stays open: 60 to 2592000
}

// formatRoutes need the right to change the key: who has it can have the disk's key
// released to whom he likes anyway.
func (d *door) formatRoutes() []*route.Route {
	const list, one = "/v1/format-grants", "/v1/format-grants/:name"
	out := []*route.Route{
		{Method: http.MethodGet, Path: list, Name: "format-grants/list", Action: identity.KeysRead, Query: []string{"after", "limit"}, Do: d.listFormatGrants},
		{
			Method: http.MethodPut, Path: one, Name: "keys/grantformat", Action: identity.KeysUpdate,
			Body: route.JSON, Limit: maxSmall, Do: route.Strict(d.grantFormat),
		},
		{Method: http.MethodDelete, Path: one, Name: "keys/revokeformat", Action: identity.KeysUpdate, Query: []string{"version"}, Do: d.revokeFormat},
	}
	for _, r := range out {
		r.Access, r.Collection, r.InVault = route.Role, string(release.CollectionKeys), true
	}
	return out
}

func (d *door) listFormatGrants(ctx context.Context, c *route.Call) (any, error) {
	limit, err := number(c, "limit", 1, MaxPage, MaxPage)
	if err != nil {
		return nil, err
	}
	list, next, err := d.Formats.FormatGrants(ctx, c.Vault, c.Query.Get("after"), int(limit))
	if err != nil {
		return nil, err
	}
	page := FormatGrantPage{Value: []FormatGrant{}, Next: next}
	for _, g := range list {
		page.Value = append(page.Value, d.formatGrant(g))
	}
	return page, nil
}

func (d *door) grantFormat(ctx context.Context, c *route.Call, req *FormatGrantBody) (any, error) {
	if req.Machine != "" && !machineID.MatchString(req.Machine) {
		return nil, release.Refuse(release.ReasonBadRequest, "machine %.128q is no machine's id", req.Machine)
	}
	if req.Seconds < 0 || req.Seconds > maxFormatSeconds {
		return nil, release.Refuse(release.ReasonBadRequest, "%d seconds, limit %d", req.Seconds, maxFormatSeconds)
	}
	return d.formatGrantOf(d.Formats.GrantFormat(ctx, c.Vault, c.Params["name"], req.Version, req.Machine, time.Duration(req.Seconds)*time.Second))
}

// maxFormatSeconds keeps what is a duration from running over; the vault has the bounds.
const maxFormatSeconds = 1 << 30

func (d *door) revokeFormat(ctx context.Context, c *route.Call) (any, error) {
	return d.formatGrantOf(d.Formats.RevokeFormat(ctx, c.Vault, c.Params["name"], c.Query.Get("version")))
}

func (d *door) formatGrantOf(g *release.FormatGrant, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return d.formatGrant(g), nil
}

func (d *door) formatGrant(g *release.FormatGrant) FormatGrant {
	out := FormatGrant{
		Key: g.Key, Version: g.Version, Machine: g.Machine, State: g.State, Granted: g.Granted, Until: g.Until, Index: g.Index,
	}
	switch {
	case g.State == release.FormatSpent:
		out.SpentBy = &g.SpentBy
	case g.State == release.FormatOpen && d.Now().Unix() >= g.Until:
		out.State = formatEnded
	}
	return out
}
