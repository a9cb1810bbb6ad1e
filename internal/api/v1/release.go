package v1

import (
	"context"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/release"
)

// challenge issues a nonce for a key or a vault of this deployment, whether or not
// there is such a one: it looks nothing up and keeps nothing.
func (d *door) challenge(_ context.Context, _ *route.Call, req *binding.ChallengeRequest) (any, error) {
	url, err := d.named(req)
	if err != nil {
		return nil, err
	}
	nonce, expires, err := d.Issuer.Issue(release.Scope{Purpose: req.Purpose, Key: url})
	if err != nil {
		return nil, err
	}
	return binding.Challenge{Nonce: nonce, Audience: d.Deployment, Expires: expires.Unix()}, nil
}

// named is the URL that a challenge is asked for: of a vault for a token, of a key for
// all else.
func (d *door) named(req *binding.ChallengeRequest) (url string, err error) {
	other := req.Vault
	switch {
	case slices.Contains(binding.KeyPurposes(), req.Purpose):
		url = req.Key
		_, err = d.ParseKID(url)
	case req.Purpose == binding.PurposeToken:
		url, other = req.Vault, req.Key
		_, err = d.Tokens.ParseVault(url)
	default:
		return "", release.Refuse(release.ReasonPurpose, "purpose %.32q, want %s or %s",
			req.Purpose, strings.Join(binding.KeyPurposes(), ", "), binding.PurposeToken)
	}
	if err != nil {
		return "", release.Refuse(release.ReasonBadRequest, "%.256q: %w", url, err)
	}
	if other != "" {
		return "", release.Refuse(release.ReasonBadRequest, "a challenge names a key or a vault, as its purpose wants, not both")
	}
	return url, nil
}

// release hands the evidence to the broker, which records every outcome.
func (d *door) release(ctx context.Context, c *route.Call, req *binding.ReleaseRequest) (any, error) {
	r, err := request(c, req)
	if err != nil {
		return nil, err
	}
	start := d.Now()
	out, err := d.Releaser.Release(ctx, r)
	took := d.Now().Sub(start)
	if err != nil {
		d.Metrics.Release(string(release.DoorNative), string(release.ReasonOf(err)), took)
		return nil, route.Recorded(err)
	}
	d.Metrics.Release(string(release.DoorNative), "", took)
	return binding.ReleaseResponse{Response: out.Response}, nil
}

// token hands the evidence to the broker for an attested access token.
func (d *door) token(ctx context.Context, c *route.Call, req *binding.ReleaseRequest) (any, error) {
	r, err := request(c, req)
	if err != nil {
		return nil, err
	}
	out, err := d.Tokens.Token(ctx, r)
	if err != nil {
		return nil, route.Recorded(err)
	}
	return binding.ReleaseResponse{Response: out.Response}, nil
}

func request(c *route.Call, req *binding.ReleaseRequest) (release.Request, error) {
	typ, err := evidenceType(req.Evidence)
	if err != nil {
		return release.Request{}, err
	}
	return release.Request{
		Door: release.DoorNative, Correlation: c.Correlation, Digest: c.Digest, Source: c.Source,
		Evidence: attest.Evidence{Type: typ, Body: req.Evidence, RuntimeData: req.RuntimeData, Endorsements: req.Endorsements},
	}, nil
}

// evidenceType reads the member "type" and nothing else: the rest is its
// verifier's. Duplicates were refused with the body.
func evidenceType(evidence jsontext.Value) (attest.Type, error) {
	var e struct {
		Type attest.Type `json:"type"`
	}
	if evidence.Kind() != '{' {
		return "", release.Refuse(release.Reason(attest.CheckMalformed), "evidence is not an object")
	}
	if err := json.Unmarshal(evidence, &e); err != nil || e.Type == "" {
		return "", release.Refuse(release.Reason(attest.CheckMalformed), "evidence names no type")
	}
	return e.Type, nil
}

// enroll is both halves of an enrolment.
func (d *door) enroll(ctx context.Context, _ *route.Call, req *EnrollBody) (any, error) {
	switch {
	case req.Begin != nil && req.Finish == nil:
		return d.Enroll.Begin(ctx, *req.Begin)
	case req.Finish != nil && req.Begin == nil:
		return d.Enroll.Finish(ctx, *req.Finish)
	default:
		return nil, release.Refuse(release.ReasonBadRequest, "exactly one of begin and finish")
	}
}
