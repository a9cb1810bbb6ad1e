package v1

import (
	"context"
	"net/http"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/reference"
	"github.com/openskr/openskr/release"
)

// maxReferences bounds a body with reference.MaxBatch entries, in bytes.
const maxReferences = 256 << 10

// ReferenceSets answers GET /v1/references. Next is the value of ?after= for the
// following page, absent on the last.
type ReferenceSets struct {
	Value []reference.Set `json:"value"`
	Next  string          `json:"next,omitempty"`
}

// ReferencePage answers GET /v1/references/{set}, by kind and value.
type ReferencePage struct {
	Value []Reference `json:"value"`
	Next  string      `json:"next,omitempty"`
}

// Reference is an entry of a set. Times are Unix seconds.
type Reference struct {
	Kind    string `json:"kind"`
	Value   string `json:"value"`
	Label   string `json:"label"`
	From    int64  `json:"from,omitempty"`  // in force from this second on
	Until   int64  `json:"until,omitempty"` // and before this one
	State   string `json:"state"`           // "active", "staged" or "retired"
	Created int64  `json:"created,omitempty"`
	Updated int64  `json:"updated,omitempty"`
	Index   int64  `json:"index"` // of the record of the last change
}

// ReferenceAdd is the body of POST /v1/references/{set}.
type ReferenceAdd struct {
	Entries []ReferenceEntry `json:"entries"` // at most 256
	Replace bool             `json:"replace,omitempty"`
}

// ReferenceEntry is one value to add. Times are Unix seconds, 0 or absent: open.
type ReferenceEntry struct {
	Kind  string `json:"kind"`
	Value string `json:"value"` // lower-case hex
	Label string `json:"label,omitempty"`
	From  int64  `json:"from,omitempty"`
	Until int64  `json:"until,omitempty"`
}

// ReferenceRetire is the body of POST /v1/references/{set}/retire.
type ReferenceRetire struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
	At    int64  `json:"at,omitempty"` // Unix seconds; absent: now
}

// References keeps reference values. Implemented by internal/reference.
type References interface {
	Sets(after string, limit int) (sets []reference.Set, more bool)
	List(set, after string, limit int) (entries []reference.Kept, more, found bool)
	Add(ctx context.Context, set string, entries []reference.Entry, replace bool) ([]reference.Kept, error)
	Retire(ctx context.Context, set, kind, value string, at int64) (*reference.Kept, error)
}

func (d *door) referenceRoutes() []*route.Route {
	return []*route.Route{
		{Method: http.MethodGet, Path: "/v1/references", Name: "references/list", Access: route.Role, Action: identity.ReferencesRead, Query: []string{"after", "limit"}, Do: d.listSets},
		{Method: http.MethodGet, Path: "/v1/references/:set", Name: "references/get", Access: route.Role, Action: identity.ReferencesRead, Query: []string{"after", "limit"}, Do: d.listReferences},
		{
			Method: http.MethodPost, Path: "/v1/references/:set", Name: reference.OpAdd, Access: route.Role, Action: identity.ReferencesWrite,
			Body: route.JSON, Limit: maxReferences, Do: route.Strict(d.addReferences),
		},
		{
			Method: http.MethodPost, Path: "/v1/references/:set/retire", Name: reference.OpRetire, Access: route.Role, Action: identity.ReferencesWrite,
			Body: route.JSON, Limit: maxSmall, Do: route.Strict(d.retireReference),
		},
	}
}

func (d *door) listSets(_ context.Context, c *route.Call) (any, error) {
	limit, err := number(c, "limit", 1, MaxPage, MaxPage)
	if err != nil {
		return nil, err
	}
	sets, more := d.References.Sets(c.Query.Get("after"), int(limit))
	page := ReferenceSets{Value: append([]reference.Set{}, sets...)}
	if more {
		page.Next = sets[len(sets)-1].Name
	}
	return page, nil
}

func (d *door) listReferences(_ context.Context, c *route.Call) (any, error) {
	limit, err := number(c, "limit", 1, MaxPage, MaxPage)
	if err != nil {
		return nil, err
	}
	set := c.Params["set"]
	entries, more, found := d.References.List(set, c.Query.Get("after"), int(limit))
	if !found {
		return nil, release.Refuse(release.ReasonNotFound, "no reference set %.64q", set)
	}
	page := ReferencePage{Value: d.references(entries)}
	if more {
		last := entries[len(entries)-1]
		page.Next = last.Kind + "/" + last.Value
	}
	return page, nil
}

func (d *door) addReferences(ctx context.Context, c *route.Call, req *ReferenceAdd) (any, error) {
	entries := make([]reference.Entry, len(req.Entries))
	for i, e := range req.Entries {
		entries[i] = reference.Entry(e)
	}
	kept, err := d.References.Add(ctx, c.Params["set"], entries, req.Replace)
	if err != nil {
		return nil, err
	}
	return ReferencePage{Value: d.references(kept)}, nil
}

func (d *door) retireReference(ctx context.Context, c *route.Call, req *ReferenceRetire) (any, error) {
	if req.At < 0 {
		return nil, release.Refuse(release.ReasonBadRequest, "at is not a time")
	}
	kept, err := d.References.Retire(ctx, c.Params["set"], req.Kind, req.Value, req.At)
	if err != nil {
		return nil, err
	}
	return d.references([]reference.Kept{*kept})[0], nil
}

func (d *door) references(kept []reference.Kept) []Reference {
	out, now := make([]Reference, len(kept)), d.Now().Unix()
	for i, k := range kept {
		out[i] = Reference{
			Kind: k.Kind, Value: k.Value, Label: k.Label, From: k.From, Until: k.Until, State: k.State(now),
			Created: k.Created, Updated: k.Updated, Index: k.Index,
		}
	}
	return out
}
