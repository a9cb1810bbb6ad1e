// Package tokens is the door of the built-in token service: OAuth 2.0 client
// credentials at the paths of Entra ID and of AD FS, the discovery documents that
// Azure's libraries read first, and what `az login` asks besides. It knows no HTTP
// framework.
package tokens

import (
	"context"
	"net/http"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// Operation is the name of asking for a token: its errors have OAuth's form.
const Operation = "token"

// adfs is the tenant that switches instance discovery off in Azure's libraries, which
// else ask Microsoft whether they may talk to this authority.
const adfs = "adfs"

// requestID is a query parameter that MSAL for JavaScript adds; nobody reads it.
const requestID = "client-request-id"

// Config is what the door stands on.
type Config struct {
	Deployment string // the tenant
	Service    Service
}

// Service issues tokens. Implemented by *identity.Service.
type Service interface {
	Token(ctx context.Context, r *identity.TokenRequest) (*identity.Token, error)
	// Issuer is the iss of access tokens, KeySet the keys they are signed with.
	Issuer() string
	KeySet() (*jose.ECKeySet, error)
}

type door struct{ Config }

// Routes is the table of the token service.
func Routes(c Config) []*route.Route {
	d := &door{c}
	var out []*route.Route
	add := func(method, path, op string, cost int, do route.Handler) *route.Route {
		r := &route.Route{Method: method, Path: path, Name: op, Door: release.DoorNative, Access: route.Public, Cost: cost, Do: do}
		out = append(out, r)
		return r
	}
	for _, path := range []string{"/:deployment/oauth2/v2.0/token", "/:deployment/oauth2/token", "/adfs/oauth2/token"} {
		r := add(http.MethodPost, path, Operation, 5, d.token)
		r.Body, r.Limit, r.Query = route.Form, identity.MaxForm, []string{requestID}
	}
	for _, path := range []string{
		"/:deployment/v2.0/.well-known/openid-configuration", "/:deployment/.well-known/openid-configuration",
		"/adfs/.well-known/openid-configuration", "/adfs/adfs/.well-known/openid-configuration",
		"/adfs/adfs/v2.0/.well-known/openid-configuration", // where the Azure CLI learns what to call the tenant
	} {
		r := add(http.MethodGet, path, "token/discovery", 1, d.discovery)
		r.Query = []string{"api-version", requestID}
	}
	for _, path := range []string{"/:deployment/discovery/v2.0/keys", "/adfs/discovery/keys"} {
		add(http.MethodGet, path, "token/keys", 1, d.keys)
	}
	out = append(out, &route.Route{ // the Azure CLI lists them to finish its login
		Method: http.MethodGet, Path: "/subscriptions", Name: "subscriptions/list", Door: release.DoorNative, Access: route.Proven,
		Query: []string{"api-version"}, Do: func(context.Context, *route.Call) (any, error) { return Subscriptions{Value: []struct{}{}}, nil },
	})
	return out
}

// Subscriptions answers GET /subscriptions: there are none.
type Subscriptions struct {
	Value []struct{} `json:"value"`
}

// tenant refuses a path of another deployment. Paths of AD FS name none.
func (d *door) tenant(c *route.Call) (string, error) {
	t, named := c.Params["deployment"]
	if !named {
		return adfs, nil
	}
	if t != d.Deployment {
		return "", release.Refuse(release.ReasonNotFound, "no tenant %.64q here", t)
	}
	return t, nil
}

func (d *door) token(ctx context.Context, c *route.Call) (any, error) {
	if _, err := d.tenant(c); err != nil {
		return nil, err
	}
	form, err := identity.ParseForm(c.Body)
	if err != nil {
		return nil, err
	}
	form.Authority = "https://" + c.Host
	return d.Service.Token(ctx, form)
}

func (d *door) keys(_ context.Context, c *route.Call) (any, error) {
	if _, err := d.tenant(c); err != nil {
		return nil, err
	}
	return d.Service.KeySet()
}

// Discovery is the document of OpenID Connect Discovery 1.0 as far as clients without
// a user read it. Azure's libraries require the endpoints for users, which are refused
// here like any path that does not exist.
type Discovery struct {
	Issuer        string   `json:"issuer"` // of the authority: libraries compare its host
	AccessIssuer  string   `json:"access_token_issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Device        string   `json:"device_authorization_endpoint"`
	Keys          string   `json:"jwks_uri"`
	Grants        []string `json:"grant_types_supported"`
	Methods       []string `json:"token_endpoint_auth_methods_supported"`
	Algorithms    []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	IDTokens      []string `json:"id_token_signing_alg_values_supported"`
}

func (d *door) discovery(_ context.Context, c *route.Call) (any, error) {
	tenant, err := d.tenant(c)
	if err != nil {
		return nil, err
	}
	base := "https://" + c.Host + "/" + tenant
	v := Discovery{
		Issuer: base + "/v2.0", AccessIssuer: d.Service.Issuer(), Authorization: base + "/oauth2/v2.0/authorize", Token: base + "/oauth2/v2.0/token",
		Device: base + "/oauth2/v2.0/devicecode", Keys: base + "/discovery/v2.0/keys", Grants: []string{"client_credentials"},
		Methods: []string{"client_secret_post", "private_key_jwt"}, Algorithms: []string{"RS256", "PS256", "ES256", "ES384"},
		ResponseTypes: []string{"token"}, SubjectTypes: []string{"public"}, IDTokens: []string{"ES256"},
	}
	if tenant == adfs {
		v.Issuer, v.Authorization, v.Token = base, base+"/oauth2/authorize", base+"/oauth2/token"
		v.Device, v.Keys = base+"/oauth2/devicecode", base+"/discovery/keys"
	}
	return v, nil
}
