package keyvault

import (
	"context"
	"slices"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/wrap"
)

// Releaser decides on releases. Implemented by *release.Broker.
type Releaser interface {
	ReleaseOnToken(ctx context.Context, req release.TokenRequest) (*release.Wrapped, error)
}

// Answers signs what a release through this door is answered with, under a certificate
// for the authority that the client used. Implemented by internal/deployment.
type Answers interface {
	SignFor(host string, payload []byte) (jws string, err error)
}

// releaseKey is the body of POST /keys/{name}[/{version}]/release.
type releaseKey struct {
	Target string `json:"target"`
	Nonce  string `json:"nonce"` // the client's own, repeated in the answer
	Enc    string `json:"enc"`
}

func shapeRelease() *shape {
	return &shape{members: leaves("target", "nonce", "enc"), guarded: []string{"target", "enc"}, flat: true}
}

// maxNonce bounds the client's nonce in bytes.
const maxNonce = 1 << 10

// Released is the answer; its JWS has the payload of wire format §3.2.
type Released struct {
	Value string `json:"value"`
}

func (d *door) release(ctx context.Context, c *route.Call, req *releaseKey) (any, error) {
	name, version, err := target(c)
	if err != nil {
		return nil, err
	}
	if err := req.complete(); err != nil {
		return nil, err
	}
	url := "https://" + c.Host + "/keys/" + name
	if version != "" {
		url += "/" + version
	}
	start := d.Now()
	out, err := d.Releaser.ReleaseOnToken(ctx, release.TokenRequest{
		Caller: release.InputCaller{Kind: c.Caller.Kind(), ID: c.Caller.ID, Roles: c.Caller.Roles()}, Right: c.Caller.State,
		Key: release.KeyRef{Vault: c.Vault, Name: name, Version: version}, URL: url,
		Enc: req.Enc, Token: req.Target, Correlation: c.Correlation, Source: c.Source, Digest: c.Digest,
	})
	took := d.Now().Sub(start)
	if err != nil {
		d.Metrics.Release(string(release.DoorKeyVault), string(release.ReasonOf(err)), took)
		return nil, route.Recorded(err)
	}
	d.Metrics.Release(string(release.DoorKeyVault), "", took)
	return d.envelope(ctx, c, url, req, out)
}

func (r *releaseKey) complete() error {
	if r.Enc == "" {
		r.Enc = wrap.EncRSASHA1 // Key Vault's default
	}
	switch {
	case r.Target == "":
		return release.Refuse(release.ReasonBadRequest, "member target is required: the token of an attestation service")
	case !slices.Contains([]string{wrap.EncRSASHA1, wrap.EncRSA256, wrap.EncRSA384}, r.Enc):
		return release.Refuse(release.ReasonWrapAlg, "enc %.48q, want %s, %s or %s", r.Enc, wrap.EncRSASHA1, wrap.EncRSA256, wrap.EncRSA384)
	case len(r.Nonce) > maxNonce:
		return release.Refuse(release.ReasonBadRequest, "nonce of %d bytes, limit %d", len(r.Nonce), maxNonce)
	}
	return nil
}

// answer is the payload of the JWS, its members in the order of Azure's. Receipt is
// ours: it proves that the decision is in the log, and the signature covers it.
type answer struct {
	Request struct {
		Version string `json:"api-version"`
		Enc     string `json:"enc"`
		KID     string `json:"kid"` // as requested
		Nonce   string `json:"nonce,omitempty"`
	} `json:"request"`
	Response struct {
		Key releasedKey `json:"key"`
	} `json:"response"`
	Receipt *release.Receipt `json:"receipt"`
}

type releasedKey struct {
	Key        hsmJWK            `json:"key"`
	Attributes Attributes        `json:"attributes"`
	Tags       map[string]string `json:"tags"`
	Policy     *Policy           `json:"release_policy,omitempty"`
}

// hsmJWK is a public key with the wrapped private one.
type hsmJWK struct {
	PublicJWK
	KeyHSM attest.Bytes `json:"key_hsm"`
}

// transfer is what key_hsm holds: the envelope of Key Vault's key transfers.
type transfer struct {
	Schema string `json:"schema_version"`
	Header struct {
		KID string `json:"kid"` // of the recipient in the token
		Alg string `json:"alg"`
		Enc string `json:"enc"`
	} `json:"header"`
	Ciphertext attest.Bytes `json:"ciphertext"`
}

func (d *door) envelope(ctx context.Context, c *route.Call, url string, req *releaseKey, out *release.Wrapped) (any, error) {
	t := transfer{Schema: "1.0", Ciphertext: out.Ciphertext}
	t.Header.KID, t.Header.Alg, t.Header.Enc = out.KID, "dir", req.Enc
	sealed, err := strict.Marshal(t)
	if err != nil {
		return nil, err
	}
	b, err := d.bundle(c, rowOf(out.Key))
	if err != nil {
		return nil, err
	}
	v, err := d.Service.Vault(ctx, c.Vault)
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "release %d recorded but not delivered: %w", out.Receipt.Index, err)
	}
	b.recovery(v.RecoveryLevel(), v.RetentionDays)
	a := answer{Receipt: out.Receipt}
	a.Request.Version, a.Request.Enc, a.Request.KID, a.Request.Nonce = c.Query.Get("api-version"), req.Enc, url, req.Nonce
	a.Response.Key = releasedKey{Key: hsmJWK{b.Key, sealed}, Attributes: b.Attributes, Tags: b.Tags, Policy: b.Policy}
	if a.Response.Key.Tags == nil {
		a.Response.Key.Tags = map[string]string{}
	}
	payload, err := strict.Marshal(a)
	if err != nil {
		return nil, err
	}
	jws, err := d.Answers.SignFor(c.Host, payload)
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "release %d recorded but not delivered: %w", out.Receipt.Index, err)
	}
	return Released{Value: jws}, nil
}

// rowOf is a key version as the release read it, without what is sealed.
func rowOf(k *release.Key) *keyvault.Row {
	return &keyvault.Row{
		Vault: k.Ref.Vault, Collection: k.Collection, Name: k.Ref.Name, Version: k.Ref.Version, Kty: k.Kty, Crv: k.Crv, KeyOps: k.KeyOps,
		Attributes: k.Attributes, Created: k.Created, Updated: k.Updated, Tags: k.Tags, Policy: k.Policy, AttestedOnly: k.AttestedOnly, Public: k.Public,
	}
}
