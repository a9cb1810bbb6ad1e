package attestation

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/strict"
)

// issue signs what was proven.
func (s *Service) issue(c *route.Call, req *request, res *attest.Result) (any, error) {
	token, err := s.sign(c, s.claims(c.Host, req, res))
	if err != nil {
		return nil, err
	}
	return Token{Token: token}, nil
}

func (s *Service) sign(c *route.Call, claims map[string]any) (string, error) {
	payload, err := strict.Marshal(claims)
	if err != nil {
		return "", err
	}
	return s.signer.Sign(keySetURL(c.Host), payload)
}

// claims are those of the verifier under Azure's names, those of the service, and what
// the client sent that the hardware vouches for (wire format: §5.7). The claims
// that only we have a word for are in x-openskr.
func (s *Service) claims(host string, req *request, res *attest.Result) map[string]any {
	out := map[string]any{}
	for name, v := range res.Claims {
		if _, native := v.(map[string]any); !native {
			out[name] = v
		}
	}
	if v, ok := out["x-ms-attestation-type"]; ok && v == "sgx" {
		enclave(out, req)
	}
	now := s.Now().Unix()
	out["iss"], out["iat"], out["nbf"], out["exp"] = issuer(host), now, now, now+int64(Life.Seconds())
	out["jti"] = newID()
	out["x-ms-ver"], out["x-ms-policy-hash"] = "1.0", policyHash()
	if req.nonce != nil {
		out["nonce"] = req.nonce
	}
	if req.runtime.json != nil {
		out["x-ms-runtime"] = req.runtime.json
	}
	if req.init.json != nil {
		out["x-ms-inittime"] = req.init.json
	}
	if status := compliance(res); status != "" {
		out["x-ms-compliance-status"] = status
	}
	out["x-openskr"] = s.own(req, res)
	return out
}

// own is the claim x-openskr: what a release through the other door needs to know, and
// Azure has no claim for. Its machine is a hash; no chip's number is told.
func (s *Service) own(req *request, res *attest.Result) map[string]any {
	o := map[string]any{
		"deployment": s.Deployment, "simulation": s.Simulation, "evidence": string(res.Type), "authority": res.Authority,
		"machine": res.Identity.ID, "freshness": "none", "baseline": baselineName,
		"revocation": string(res.Facts.Revocation), "migratable": res.Facts.Migratable,
	}
	if res.Facts.TCBStatus != "" {
		o["tcb_status"] = res.Facts.TCBStatus
	}
	if req.denials != "" {
		o["denials"] = req.denials
	}
	if res.Facts.ResetCount != 0 { // of a guest's TPM
		o["reset_count"] = res.Facts.ResetCount
	}
	return o
}

// enclave adds what tokens of SGX have besides: binary runtime data, and the names
// that clients of the first version read.
func enclave(out map[string]any, req *request) {
	if req.runtime.bytes != nil && req.runtime.json == nil {
		held := base64.RawURLEncoding.EncodeToString(req.runtime.bytes)
		out["x-ms-sgx-ehd"], out["maa-ehd"], out["aas-ehd"] = held, held, held
	}
	out["tee"], out["ver"] = "sgx", "1.0"
	for _, name := range []string{"is-debuggable", "product-id", "svn"} {
		out[name] = out["x-ms-sgx-"+name]
	}
	for _, name := range []string{"mrenclave", "mrsigner"} {
		out["sgx-"+name] = out["x-ms-sgx-"+name]
	}
}

// newID is 64 lower-case hex digits, as Azure's.
func newID() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
