package keyvault

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// secretRoutes are those of the collection secrets.
func (d *door) secretRoutes() []*route.Route {
	// Secret on both: no digest of a value that somebody sends, needed or not, is kept.
	change := func(method, path, op string, action identity.Action, do route.Handler) *route.Route {
		return &route.Route{Method: method, Path: path, Name: op, Access: route.Role, Action: action, Body: route.JSON, Limit: maxBody, Secret: true, Do: do}
	}
	read := func(path, op string, action identity.Action, do route.Handler) *route.Route {
		return &route.Route{Method: http.MethodGet, Path: path, Name: op, Access: route.Role, Action: action, Do: do}
	}
	update := unquoted(d.updateSecret)
	return []*route.Route{
		change(http.MethodPut, "/secrets/:name", "secrets/set", identity.SecretsSet, unquoted(d.setSecret)),
		change(http.MethodPatch, "/secrets/:name", "secrets/update", identity.SecretsUpdate, update),
		change(http.MethodPatch, "/secrets/:name/:version", "secrets/update", identity.SecretsUpdate, update),
		read("/secrets", "secrets/list", identity.SecretsMetadata, names(d, "/secrets", d.live(keyvault.Secrets), d.secretItem(false))),
		read("/secrets/:name", "secrets/get", identity.SecretsGet, d.getSecret),
		read("/secrets/:name/versions", "secrets/versions", identity.SecretsMetadata, versions(d, keyvault.Secrets, d.secretItem(true))),
		read("/secrets/:name/:version", "secrets/get", identity.SecretsGet, d.getSecret),
	}
}

// secretBody is the body of set and update.
type secretBody struct {
	Value       jsontext.Value    `json:"value"` // kept raw, so that it can be cleared
	ContentType *string           `json:"contentType"`
	Attributes  *secretTimes      `json:"attributes"`
	Tags        map[string]string `json:"tags"`
	Managed     jsontext.Value    `json:"managed"`
}

// secretTimes are the attributes that an owner sets. Those that the broker sets are
// left out: clients send back what they were answered.
type secretTimes struct {
	Enabled   *bool  `json:"enabled"`
	NotBefore *int64 `json:"nbf"`
	Expires   *int64 `json:"exp"`
}

func shapeSecret() *shape {
	s := &shape{members: leaves("value", "contentType", "managed"), guarded: []string{"value", "contentType", "attributes", "tags"}}
	s.members["attributes"] = &shape{members: leaves("enabled", "nbf", "exp"), guarded: []string{"enabled", "nbf", "exp"}}
	s.members["tags"] = &shape{free: true}
	return s
}

func (r *secretBody) settings() (in keyvault.SecretSettings, err error) {
	if len(r.Managed) > 0 && r.Managed.Kind() != 'n' {
		return in, release.Refuse(release.ReasonReadOnly, "managed is set by the broker, on secrets that belong to a certificate")
	}
	in.ContentType, in.Tags = r.ContentType, r.Tags
	if a := r.Attributes; a != nil {
		in.Enabled, in.NotBefore, in.Expires = a.Enabled, a.NotBefore, a.Expires
	}
	return in, nil
}

// unquoted is folded for bodies that may have a secret in them: what is wrong with
// such a body is told by its code alone, since the text would quote it.
func unquoted(fn func(context.Context, *route.Call, *secretBody) (any, error)) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		defer clear(c.Body)
		var req secretBody
		defer func() { clear(req.Value) }()
		if err := decode(c.Body, shapeSecret(), &req); err != nil {
			return nil, release.Refuse(release.ReasonOf(err),
				`body is not {"value":"…","contentType":"…","attributes":{…},"tags":{…}}; what it is instead is not repeated, the value may be in it`)
		}
		return fn(ctx, c, &req)
	}
}

func (d *door) setSecret(ctx context.Context, c *route.Call, req *secretBody) (any, error) {
	name, _, err := target(c)
	if err != nil {
		return nil, err
	}
	in, err := req.settings()
	if err != nil {
		return nil, err
	}
	if req.Value.Kind() != '"' {
		return nil, release.Refuse(release.ReasonBadRequest, "member value is required, and a string")
	}
	value, err := jsontext.AppendUnquote(nil, req.Value)
	if err != nil {
		return nil, release.Refuse(release.ReasonBadRequest, "member value is not a string of Unicode text")
	}
	row, err := d.Service.SetSecret(ctx, c.Vault, name, value, in)
	if err != nil {
		clear(value)
		return nil, err
	}
	return d.secretBundle(c, row, value), nil
}

func (d *door) getSecret(ctx context.Context, c *route.Call) (any, error) {
	name, version, err := target(c)
	if err != nil {
		return nil, err
	}
	row, value, err := d.Service.GetSecret(ctx, c.Vault, name, version)
	if errors.Is(err, keyvault.ErrRecorded) {
		err = route.Recorded(err)
	}
	if err != nil {
		return nil, err
	}
	if err := converted(c, row); err != nil {
		clear(value)
		return nil, err
	}
	return d.secretBundle(c, row, value), nil
}

// converted refuses a conversion that is asked for: Key Vault makes PEM of the PFX of
// a certificate, and there are no certificates here.
func converted(c *route.Call, row *keyvault.Row) error {
	to := c.Query.Get("outContentType")
	if to == "" || !since(c, "2025-07-01") || strings.EqualFold(to, row.ContentType) {
		return nil
	}
	return release.Refuse(release.ReasonBadRequest, "outContentType converts the secret of a certificate; this one is none, read it as it is")
}

// since says whether the request is of that api-version, a date, or of a later one.
func since(c *route.Call, date string) bool {
	v := c.Query.Get("api-version")
	return strings.HasPrefix(v, "20") && v >= date
}

func (d *door) updateSecret(ctx context.Context, c *route.Call, req *secretBody) (any, error) {
	name, version, err := target(c)
	if err != nil {
		return nil, err
	}
	in, err := req.settings()
	if err != nil {
		return nil, err
	}
	if len(req.Value) > 0 && req.Value.Kind() != 'n' {
		return nil, release.Refuse(release.ReasonReadOnly, "an update does not change the value; set the secret: that makes a new version")
	}
	row, err := d.Service.UpdateSecret(ctx, c.Vault, name, version, in)
	if err != nil {
		return nil, err
	}
	return d.secretBundle(c, row, nil), nil
}
