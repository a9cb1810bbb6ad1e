package keyvault

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

func (d *door) create(ctx context.Context, c *route.Call, req *createKey) (any, error) {
	name, _, err := target(c)
	if err != nil {
		return nil, err
	}
	in := keyvault.CreateKey{Kty: software(req.Kty), Crv: req.Crv, Size: req.KeySize, PublicExponent: req.PublicExponent}
	in.Settings, in.Exportable, err = settings(req.Attributes, req.Policy, req.Managed, req.HSM)
	if err != nil {
		return nil, err
	}
	in.KeyOps, in.Tags, in.AttestedOnly = req.KeyOps, req.Tags, req.AttestedOnly
	row, err := d.Service.Create(ctx, c.Vault, name, in)
	return d.answer(c, row, err)
}

func (d *door) importKey(ctx context.Context, c *route.Call, req *importKey) (any, error) {
	defer clear(c.Body) // it has the private key in it
	name, _, err := target(c)
	if err != nil {
		return nil, err
	}
	k := req.Key
	if k == nil {
		return nil, release.Refuse(release.ReasonBadRequest, "member key is required")
	}
	defer k.clear()
	if len(k.KeyHSM) > 0 && k.KeyHSM.Kind() != 'n' {
		return nil, release.Refuse(release.ReasonNotOffered, "this version does not import keys that are wrapped for an HSM (key_hsm): "+
			"send the members of the key itself, over this connection, which is as confidential")
	}
	var in keyvault.ImportKey
	if in.Settings, in.Exportable, err = settings(req.Attributes, req.Policy, req.Managed); err != nil {
		return nil, err
	}
	in.KeyOps, in.Tags, in.AttestedOnly = k.KeyOps, req.Tags, req.AttestedOnly
	in.Material, err = keyvault.FromJWK(keyvault.JWK{
		Kty: software(k.Kty), Crv: k.Crv, N: k.N, E: k.E, D: k.D, P: k.P, Q: k.Q, DP: k.DP, DQ: k.DQ, QI: k.QI, X: k.X, Y: k.Y, K: k.K,
	})
	if err != nil {
		return nil, err
	}
	row, err := d.Service.Import(ctx, c.Vault, name, in)
	return d.answer(c, row, err)
}

func (d *door) update(ctx context.Context, c *route.Call, req *updateKey) (any, error) {
	name, version, err := target(c)
	if err != nil {
		return nil, err
	}
	var in keyvault.UpdateKey
	if in.Settings, in.Exportable, err = settings(req.Attributes, req.Policy, req.Managed, req.HSM); err != nil {
		return nil, err
	}
	in.KeyOps, in.Tags, in.AttestedOnly = req.KeyOps, req.Tags, req.AttestedOnly
	row, err := d.Service.Update(ctx, c.Vault, name, version, in)
	return d.answer(c, row, err)
}

func (d *door) get(ctx context.Context, c *route.Call) (any, error) {
	name, version, err := target(c)
	if err != nil {
		return nil, err
	}
	row, err := d.Service.Get(ctx, c.Vault, name, version)
	return d.answer(c, row, err)
}

func (d *door) answer(c *route.Call, row *keyvault.Row, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return d.bundle(c, row)
}

// target takes name and version from the path and from nowhere else.
func target(c *route.Call) (name, version string, err error) {
	name, version = c.Params["name"], c.Params["version"]
	if !keyvault.ValidName(name) {
		return "", "", release.Refuse(release.ReasonBadRequest, "a name must match ^[0-9A-Za-z-]{1,127}$")
	}
	if version != "" && !keyvault.ValidVersion(version) {
		return "", "", release.Refuse(release.ReasonBadRequest, "a version must be 32 lower-case hex digits")
	}
	return name, version, nil
}

// software drops the suffix of types that Azure keeps in an HSM; ours are all
// kept in software, and the answer says the type as it is (docs/wire/keyvault.md).
func software(kty string) string { return strings.TrimSuffix(kty, "-HSM") }

// settings are what a request says about a key version.
func settings(a *attributes, p *policy, brokers ...jsontext.Value) (keyvault.Settings, *bool, error) {
	var s keyvault.Settings
	var exportable *bool
	if a != nil {
		s.Enabled, s.NotBefore, s.Expires, exportable = a.Enabled, a.NotBefore, a.Expires, a.Exportable
		brokers = append(brokers, a.Created, a.Updated, a.RecoveryLevel, a.RecoverableDays, a.HSMPlatform, a.Attestation, a.AttestedOnly)
	}
	for _, v := range brokers {
		if len(v) > 0 && v.Kind() != 'n' {
			return s, nil, release.Refuse(release.ReasonReadOnly,
				"created, updated, recoveryLevel, recoverableDays, hsmPlatform, attestation, attestedOnly (set attested_only), managed and hsm are set by the broker")
		}
	}
	if p == nil {
		return s, exportable, nil
	}
	data, err := anyBase64(p.Data)
	if err != nil {
		return s, nil, err
	}
	s.Policy = &release.ReleasePolicy{ContentType: contentType(p.ContentType), Data: data, Immutable: p.Immutable}
	return s, exportable, nil
}

// contentType is Azure's when absent, and in its one spelling when it is that.
func contentType(s string) string {
	switch strings.ToLower(strings.ReplaceAll(s, " ", "")) {
	case "", "application/json", "application/json;charset=utf-8":
		return release.ContentTypeJSON
	}
	return s
}

// anyBase64 reads either alphabet, with or without padding: clients send all
// four. Mixed alphabets, white space and stray bits are refused; what is kept and
// hashed are the decoded bytes.
func anyBase64(s string) ([]byte, error) {
	refused := release.Refuse(release.ReasonPolicyInvalid, "release_policy.data is not base64, in either alphabet")
	if strings.ContainsAny(s, "\r\n") || strings.ContainsAny(s, "+/") && strings.ContainsAny(s, "-_") {
		return nil, refused
	}
	enc := base64.RawURLEncoding
	if strings.ContainsAny(s, "+/") {
		enc = base64.RawStdEncoding
	}
	if body := strings.TrimRight(s, "="); len(body) != len(s) {
		if len(s)%4 != 0 || len(s)-len(body) > 2 {
			return nil, refused
		}
		s = body
	}
	b, err := enc.Strict().DecodeString(s)
	if err != nil {
		return nil, refused
	}
	return b, nil
}
