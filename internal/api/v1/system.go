package v1

import (
	"context"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/release"
)

// Discovery answers GET /.well-known/openskr.
type Discovery struct {
	Deployment string            `json:"deployment"`
	Doors      map[string]string `json:"doors"`
	Token      string            `json:"token_endpoint"`
	OpenAPI    string            `json:"openapi"`
	Docs       string            `json:"docs"`
}

// Ready answers GET /readyz.
type Ready struct {
	Status   string   `json:"status"` // "ready"
	Warnings []string `json:"warnings"`
}

// DrillBody is the body of POST /v1/recovery/drill: the opened test message.
type DrillBody struct {
	Proof attest.Bytes `json:"proof"`
}

// done answers a change that has nothing to say.
type done struct {
	Status string `json:"status"`
}

func (d *door) health(context.Context, *route.Call) (any, error) { return done{"ok"}, nil }

func (d *door) ready(ctx context.Context, _ *route.Call) (any, error) {
	warnings, err := d.Warnings(ctx)
	if err != nil { // 503 whatever it is; probes are not refusals worth counting
		if release.ReasonOf(err).Class() != release.ClassUnavailable {
			err = release.Refuse(release.ReasonOverloaded, "not ready: %w", err)
		}
		return nil, route.Recorded(err)
	}
	if warnings == nil {
		warnings = []string{}
	}
	return Ready{Status: "ready", Warnings: warnings}, nil
}

func (d *door) discovery(_ context.Context, c *route.Call) (any, error) {
	base := "https://" + c.Host
	return Discovery{
		Deployment: d.Deployment, Doors: map[string]string{"native": base + "/v1", "keyvault": base},
		Token: base + "/" + d.Deployment + "/oauth2/v2.0/token", OpenAPI: base + "/.well-known/openapi.json",
		Docs: "https://github.com/openskr/openskr/tree/main/docs",
	}, nil
}

func (d *door) openAPI(context.Context, *route.Call) (any, error) {
	return &route.Raw{Type: "application/json; charset=utf-8", Body: d.OpenAPI}, nil
}

func (d *door) metrics(context.Context, *route.Call) (any, error) {
	body, mediaType, err := d.Metrics.Text()
	return &route.Raw{Type: mediaType, Body: body}, err
}

func (d *door) acceptClock(ctx context.Context, c *route.Call, _ *struct{}) (any, error) {
	if err := d.Clock.Accept(ctx, d.Record(ctx, c.Operation)); err != nil {
		return nil, err
	}
	return done{"accepted"}, nil
}

func (d *door) recovery(ctx context.Context, _ *route.Call) (any, error) {
	return d.Recovery.Status(ctx)
}

func (d *door) drill(ctx context.Context, c *route.Call, req *DrillBody) (any, error) {
	if err := d.Recovery.Drill(ctx, d.Record(ctx, c.Operation), req.Proof); err != nil {
		return nil, err
	}
	return done{"drilled"}, nil
}
