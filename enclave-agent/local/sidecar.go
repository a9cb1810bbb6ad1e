package local

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/openskr/openskr/attest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/strict"
)

// keyRequest is the body of POST /key/release. The sidecar logs in with access_token; here
// the evidence is the credential, and the member is read and dropped.
type keyRequest struct {
	MAA         string `json:"maa_endpoint"` // host of the attestation service
	AKV         string `json:"akv_endpoint"` // host of the vault
	KID         string `json:"kid"`          // name or name/version
	AccessToken string `json:"access_token"`
}

// maaRequest is the body of POST /attest/maa.
type maaRequest struct {
	MAA         string `json:"maa_endpoint"`
	RuntimeData string `json:"runtime_data"` // base64, the standard alphabet
}

// rawRequest is the body of POST /attest/raw and /attest/combined.
type rawRequest struct {
	RuntimeData string `json:"runtime_data"`
}

func (s *Server) status(*asking) ([]byte, error) {
	return []byte(`{"message":"Status OK"}`), nil
}

// keyRelease gives a key by native release, as a JWK with its private half.
func (s *Server) keyRelease(a *asking) ([]byte, error) {
	var in keyRequest
	if p := a.read(&in); p != nil {
		return nil, p
	}
	if in.MAA == "" || in.AKV == "" || in.KID == "" {
		return nil, refuse(http.StatusBadRequest, "invalid request format: maa_endpoint, akv_endpoint and kid are all required")
	}
	if _, p := s.broker(in.MAA); p != nil {
		return nil, p
	}
	keyURL := "https://" + lower(in.AKV) + "/keys/" + in.KID
	if _, _, err := agent.SplitKeyURL(keyURL); err != nil {
		return nil, refuse(http.StatusBadRequest, "akv_endpoint is HOST or HOST:PORT and kid NAME or NAME/VERSION: https://akv_endpoint/keys/kid is no key's URL")
	}
	return queued(s, a, func(c *caller) bool { return c.key(keyURL) }, func(ctx context.Context) ([]byte, error) {
		got, err := s.opts.Agent.Key(ctx, keyURL)
		if err != nil {
			return nil, err
		}
		body, err := release(got.Kty, got.Material.Bytes())
		if err := errors.Join(err, got.Material.Close()); err != nil {
			clear(body)
			return nil, err
		}
		a.log.Info("key released", "key", got.KID)
		return body, nil
	}, "key "+keyURL)
}

// raw gives what the hardware signed, in hexadecimal.
func (s *Server) raw(a *asking) ([]byte, error) {
	var in rawRequest
	if p := a.read(&in); p != nil {
		return nil, p
	}
	return s.attested(a, in.RuntimeData, func(ctx context.Context, data []byte) (any, error) {
		r, err := s.opts.Agent.HardwareReport(ctx, data)
		if err != nil {
			return nil, err
		}
		return struct {
			Report string `json:"report"`
		}{hex.EncodeToString(r.Raw)}, nil
	})
}

// Fields of an SNP report (SEV-SNP ABI 56860, table 23).
const (
	reportedTCB    = 0x180
	reportedTCBEnd = 0x188
)

// combined gives what the hardware signed and the certificates that came with it. There
// is no endorsement of a utility VM: the machine is the confidential one.
func (s *Server) combined(a *asking) ([]byte, error) {
	var in rawRequest
	if p := a.read(&in); p != nil {
		return nil, p
	}
	return s.attested(a, in.RuntimeData, func(ctx context.Context, data []byte) (any, error) {
		r, err := s.opts.Agent.HardwareReport(ctx, data)
		if err != nil {
			return nil, err
		}
		var tcb string
		if base, _ := r.Platform.Base(); base == attest.TypeSNP && len(r.Raw) >= reportedTCBEnd {
			tcb = strings.ToUpper(hex.EncodeToString(r.Raw[reportedTCB:reportedTCBEnd])) // as Azure's THIM spells it
		}
		return struct {
			TCB          string `json:"endorsed_tcb"`
			Endorsements string `json:"endorsements"`
			Evidence     string `json:"evidence"`
			UVM          string `json:"uvm_endorsements"`
		}{tcb, base64.StdEncoding.EncodeToString(r.Chain), base64.StdEncoding.EncodeToString(r.Raw), ""}, nil
	})
}

// maa gives a token of the attestation service of the broker that maa_endpoint names,
// which is the token's issuer.
func (s *Server) maa(a *asking) ([]byte, error) {
	var in maaRequest
	if p := a.read(&in); p != nil {
		return nil, p
	}
	if in.MAA == "" {
		return nil, refuse(http.StatusBadRequest, "invalid request format: maa_endpoint and runtime_data are both required")
	}
	broker, p := s.broker(in.MAA)
	if p != nil {
		return nil, p
	}
	return s.attested(a, in.RuntimeData, func(ctx context.Context, data []byte) (any, error) {
		token, err := s.opts.Agent.AttestationToken(ctx, broker, data)
		if err != nil {
			return nil, err
		}
		return struct {
			Token string `json:"token"`
		}{token}, nil
	})
}

// attested asks do for evidence over runtime data, for callers that may have some.
func (s *Server) attested(a *asking, runtimeData string, do func(context.Context, []byte) (any, error)) ([]byte, error) {
	data, err := base64.StdEncoding.Strict().DecodeString(runtimeData)
	if err != nil || len(data) == 0 || strings.ContainsAny(runtimeData, "\r\n") || len(data) > agent.MaxRuntimeData {
		return nil, refuse(http.StatusBadRequest, "runtime_data: want 1 to %d bytes in base64 of the standard alphabet, with padding", agent.MaxRuntimeData)
	}
	return queued(s, a, func(c *caller) bool { return c.Evidence }, func(ctx context.Context) ([]byte, error) {
		out, err := do(ctx, data)
		if err != nil {
			return nil, err
		}
		a.log.Info("evidence given")
		return strict.Marshal(out)
	}, "evidence")
}

// broker gives the URL of the broker that a request names. It is not a place to go to: it
// is one of agent.json's, or refused.
func (s *Server) broker(endpoint string) (string, *problem) {
	if broker, ok := s.brokers[lower(endpoint)]; ok {
		return broker, nil
	}
	return "", refuse(http.StatusForbidden, "maa_endpoint %.128q is no broker of this machine; nothing was sent there. agent.json names the brokers, and a request theirs alone, without https://", endpoint)
}

// queued does what a caller may, in its turn.
func queued(s *Server, a *asking, may func(*caller) bool, do func(context.Context) ([]byte, error), what string) ([]byte, error) {
	c, ok := a.callers.allow(may)
	if !ok {
		return nil, refuse(http.StatusForbidden, "workload.json does not let %s have %s", a.callers.names(), what)
	}
	leave, ok := c.enter()
	if !ok {
		return nil, refuse(http.StatusTooManyRequests, "%d requests of %s are under way; ask again when some are answered", maxWaiting, c.Name)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(a.Context(), s.opts.Timeout)
	defer cancel()
	body, err := do(ctx)
	if err != nil {
		return nil, failed(err)
	}
	return body, nil
}

// failed is 403 whatever failed, as the sidecar answers; the text says which it was.
func failed(err error) *problem {
	status, text := http.StatusForbidden, err.Error()
	switch {
	case errors.Is(err, agent.ErrPurpose):
		text = "runtime_data has a member purpose or vm-configuration, or is unsound JSON that may hide one: that is how machines prove themselves to the broker, and nobody else gets evidence over it"
	case errors.Is(err, errMaterial):
		text = errMaterial.Error()
	}
	return &problem{status, fmt.Sprintf("%.1024s", text), nil}
}

// lower folds ASCII letters alone: host names have no others.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
