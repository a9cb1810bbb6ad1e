package api

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"slices"

	"github.com/openskr/openskr/internal/api/attestation"
	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/api/tokens"
	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/telemetry"
	"github.com/openskr/openskr/release"
)

// OpenAPI is the description of every route, served at /.well-known/openapi.json.
//
//go:embed openapi.json
var openAPI []byte

// Operations of this package; those of the doors are named by them.
const (
	opToken   = tokens.Operation
	opUnknown = "unknown"
	opRelease = "keys/release"
)

// publicRoutes is the only list of what answers without identity, by method and
// path. A route that says Public and is not here does not start.
var publicRoutes = []string{
	"GET /healthz",
	"GET /readyz",
	"GET /.well-known/openskr",
	"GET /.well-known/openapi.json",
	"POST /v1/challenge",
	"POST /v1/enroll",
	"POST /v1/release",
	"POST /v1/token",
	"POST /:deployment/oauth2/v2.0/token",
	"POST /:deployment/oauth2/token",
	"POST /adfs/oauth2/token",
	"GET /:deployment/v2.0/.well-known/openid-configuration",
	"GET /:deployment/.well-known/openid-configuration",
	"GET /adfs/.well-known/openid-configuration",
	"GET /adfs/adfs/.well-known/openid-configuration",
	"GET /adfs/adfs/v2.0/.well-known/openid-configuration",
	"GET /:deployment/discovery/v2.0/keys",
	"GET /adfs/discovery/keys",
	"GET /.well-known/openid-configuration",
	"GET /certs",
	"POST /attest/SevSnpVm",
	"POST /attest/TdxVm",
	"POST /attest/SgxEnclave",
	"POST /attest/AzureGuest",
}

// publicLog are public as well when the configuration says so.
var publicLog = []string{"GET /v1/log/checkpoint", "GET /v1/log/entries", "GET /v1/log/proof"}

// probes are asked by address, by machines that know no name of ours.
var probes = []string{"/healthz", "/readyz", "/metrics"}

// checkRoute refuses a table that lets in more than its lists say.
func checkRoute(r *route.Route, logIsPublic bool) error {
	key := r.Method + " " + r.Path
	listed := slices.Contains(publicRoutes, key) || logIsPublic && slices.Contains(publicLog, key)
	switch {
	case r.Name == "" || r.Door == "" || r.Do == nil:
		return fmt.Errorf("api: route %s is incomplete", key)
	case r.Body != route.NoBody && r.Limit <= 0:
		return fmt.Errorf("api: route %s has no body limit", key)
	case r.Access == route.Nobody, (r.Access == route.Public) != listed:
		return fmt.Errorf("api: route %s: access does not match the list of public routes", key)
	case r.Access == route.Public && r.Cost <= 0:
		return fmt.Errorf("api: public route %s has no cost", key)
	case (r.Access == route.Role) != (r.Action != ""):
		return fmt.Errorf("api: route %s: an action goes with a role", key)
	}
	return nil
}

// routes is the whole table.
func (f *funnel) routes() []*route.Route {
	if f.PageKey == [32]byte{} {
		rand.Read(f.PageKey[:])
	}
	out := v1.Routes(v1.Config{
		Deployment: f.Deployment, Issuer: f.Issuer, ParseKID: f.Keys.ParseKID, Releaser: f.Broker, Tokens: f.Tokens, Attested: f.Attested, Formats: f.Keys, Enroll: f.Enroll, Log: f.Log,
		Objects: f.Objects, Access: f.Access, References: f.References, Vaults: f.Keys, Policies: f.Policies, Clock: f.Clock, Recovery: f.Recovery, Record: f.Record, Now: f.Now,
		Warnings: f.Warnings, OpenAPI: openAPI, Metrics: f.Metrics, PublicLog: f.PublicLog,
	})
	out = append(out, apikeyvault.Routes(apikeyvault.Config{
		Service: f.Keys, Access: f.Access, Releaser: f.Broker, Answers: f.Answers, Metrics: f.Metrics, Now: f.Now, PageKey: f.PageKey,
	})...)
	out = append(out, attestation.Routes(f.Attestation)...)
	return append(out, tokens.Routes(tokens.Config{Deployment: f.Deployment, Service: f.Identity})...)
}

// refusing makes a route for any principal that does nothing.
func refusing(op string, reason release.Reason, text string) *route.Route {
	return &route.Route{
		Name: op, Door: release.DoorNative, Access: route.Anyone,
		Do: func(context.Context, *route.Call) (any, error) { return nil, release.Refuse(reason, "%s", text) },
	}
}

// Names are the closed lists that the labels of the API's metrics come from.
func Names() telemetry.Names {
	n := telemetry.Names{Doors: []string{string(release.DoorNative), string(release.DoorKeyVault)}, Routes: []string{opUnknown}}
	for _, r := range slices.Concat(v1.Routes(v1.Config{}), apikeyvault.Routes(apikeyvault.Config{}), attestation.Routes(nil), tokens.Routes(tokens.Config{})) {
		n.Routes = append(n.Routes, r.Name)
	}
	for r := range release.Reasons() {
		n.Reasons = append(n.Reasons, string(r))
	}
	return n
}

// Records makes Config.Record (and keyvault.Config.Record) of the members that
// every record has: deployment, simulation, configuration digest, binary.
func Records(base func() *release.Record) func(ctx context.Context, op string) *release.Record {
	return route.Records(base)
}

// Right is what goes to keyvault.Config.Right: the state that a caller's right rests on.
func Right(ctx context.Context) []release.ObjectState { return route.Right(ctx) }
