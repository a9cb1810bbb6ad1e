package v1

import (
	"net/http"

	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// Body limits in bytes.
const (
	maxSmall   = 4 << 10
	maxEnroll  = 64 << 10
	maxRelease = 1 << 20 // an event log is most of it
)

// MaxPage bounds the entries of one page of anything.
const MaxPage = 256

type door struct{ Config }

// EnrollBody is the body of POST /v1/enroll: exactly one member.
type EnrollBody struct {
	Begin  *format.EnrollRequest `json:"begin,omitempty"`
	Finish *format.EnrollProof   `json:"finish,omitempty"`
}

// Routes is the table of the native door.
func Routes(c Config) []*route.Route {
	d := &door{c}
	out := []*route.Route{
		{Method: http.MethodGet, Path: "/healthz", Name: "healthz", Access: route.Public, Cost: 1, Do: d.health},
		{Method: http.MethodGet, Path: "/readyz", Name: "readyz", Access: route.Public, Cost: 1, Do: d.ready},
		{Method: http.MethodGet, Path: "/.well-known/openskr", Name: "discovery", Access: route.Public, Cost: 1, Do: d.discovery},
		{Method: http.MethodGet, Path: "/.well-known/openapi.json", Name: "openapi", Access: route.Public, Cost: 1, Do: d.openAPI},
		{Method: http.MethodGet, Path: "/metrics", Name: "metrics", Access: route.Role, Action: identity.MetricsRead, Do: d.metrics},

		{
			Method: http.MethodPost, Path: "/v1/challenge", Name: "challenge", Access: route.Public, Cost: 1,
			Body: route.JSON, Limit: maxSmall, Do: route.Strict(d.challenge),
		},
		{
			Method: http.MethodPost, Path: "/v1/enroll", Name: "enroll", Access: route.Public, Cost: 2,
			Body: route.JSON, Limit: maxEnroll, Queue: route.Deciding, Do: route.Strict(d.enroll),
		},
		{
			Method: http.MethodPost, Path: "/v1/release", Name: "release", Access: route.Public, Cost: 1,
			Body: route.JSON, Limit: maxRelease, Queue: route.Deciding, Do: route.Strict(d.release),
		},

		{Method: http.MethodGet, Path: "/v1/machines", Name: "machines/list", Access: route.Role, Action: identity.MachinesRead, Query: []string{"after", "limit"}, Do: d.listMachines},
		{Method: http.MethodGet, Path: "/v1/machines/:id", Name: "machines/get", Access: route.Role, Action: identity.MachinesRead, Do: d.getMachine},
		{
			Method: http.MethodPatch, Path: "/v1/machines/:id", Name: "machines/update", Access: route.Role, Action: identity.MachinesWrite,
			Body: route.JSON, Limit: maxEnroll, Do: route.Strict(d.updateMachine),
		},

		{Method: http.MethodGet, Path: "/v1/log/checkpoint", Name: "log/checkpoint", Do: d.checkpoint},
		{Method: http.MethodGet, Path: "/v1/log/entries", Name: "log/entries", Query: []string{"start", "limit"}, Do: d.entries},
		{Method: http.MethodGet, Path: "/v1/log/proof", Name: "log/proof", Query: []string{"index", "size"}, Do: d.proof},
		{Method: http.MethodGet, Path: "/v1/log/decisions/:index", Name: "log/decision", Access: route.Role, Action: identity.DecisionsRead, Do: d.decision},
		{Method: http.MethodGet, Path: "/v1/log/refusals", Name: "log/refusals", Access: route.Role, Action: identity.DecisionsRead, Do: d.refusals},

		{
			Method: http.MethodPost, Path: "/v1/clock/accept", Name: "clock/accept", Access: route.Role, Action: identity.ClockAccept,
			Body: route.JSON, Optional: true, Limit: maxSmall, Do: route.Strict(d.acceptClock),
		},
		{Method: http.MethodGet, Path: "/v1/recovery", Name: "recovery/status", Access: route.Role, Action: identity.RecoveryRead, Do: d.recovery},
		{
			Method: http.MethodPost, Path: "/v1/recovery/drill", Name: "recovery/drill", Access: route.Role, Action: identity.RecoveryDrill,
			Body: route.JSON, Limit: maxSmall, Do: route.Strict(d.drill),
		},
	}
	out = append(out, d.referenceRoutes()...)
	out = append(out, d.vaultRoutes()...)
	out = append(out, d.principalRoutes()...)
	out = append(append(out, d.attestedRoutes()...), d.formatRoutes()...)
	for _, r := range out {
		r.Door = release.DoorNative
		if r.Access == route.Nobody { // the log, open to auditors and, if so configured, to anybody
			r.Access, r.Action = route.Role, identity.LogRead
			if c.PublicLog {
				r.Access, r.Action, r.Cost = route.Public, "", 1
			}
		}
	}
	return out
}
