package skr

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Resources that the clients ask access tokens for (wire.md §1.2).
const (
	vaultResource = "https://vault.azure.net"
	hsmResource   = "https://managedhsm.azure.net"
)

// Sidecar is Microsoft's SKR sidecar: it attests an SNP report with the SevSnpVM call
// of an attestation service and releases to an RSA-2048 key of its own. One Sidecar may
// be used by several goroutines when its callbacks may.
type Sidecar struct {
	MAA   string         // attestation service: host[:port], always https
	AKV   string         // vault: host[:port], the name that the answer's leaf must carry
	HTTP  *http.Client   // TLS roots; nil is http.DefaultClient
	Roots *x509.CertPool // of the answer's x5c; nil is the system's

	// Bearer gives an access token for a resource.
	Bearer func(ctx context.Context, resource string) (string, error)
	// Evidence gives an SNP report whose first 32 bytes of report data are the SHA-256
	// of runtimeData, and the PEM of VCEK, ASK and ARK.
	Evidence func(runtimeData []byte) (report, certChainPEM []byte, err error)

	UVM          []byte          // COSE_Sign1 of the utility VM's endorsement; nil sends none
	KeyOpsString bool            // key_ops of the runtime key as a string, not an array
	Target       *rsa.PrivateKey // nil makes an RSA-2048 key for each release
}

// Release attests and then releases a key. kid is "name" or "name/version" and goes into
// the URL as it is. An answer other than 200 is an [*APIError].
func (s *Sidecar) Release(ctx context.Context, kid string) (*Released, error) {
	target, err := s.target()
	if err != nil {
		return nil, err
	}
	token, nonce, err := s.Attest(ctx, &target.PublicKey)
	if err != nil {
		return nil, err
	}
	answer, err := s.ReleaseTo(ctx, kid, token)
	if err != nil {
		return nil, err
	}
	out, err := s.Open(answer, target)
	if err != nil {
		return nil, err
	}
	out.Token, out.Nonce = token, nonce
	return out, nil
}

// ReleaseTo sends a token as target, and nothing else, and gives the answer's JWS
// unread (wire.md §3.1).
func (s *Sidecar) ReleaseTo(ctx context.Context, kid, token string) (string, error) {
	resource := vaultResource
	if strings.Contains(s.AKV, "managedhsm") {
		resource = hsmResource
	}
	bearer, err := s.Bearer(ctx, resource)
	if err != nil {
		return "", fmt.Errorf("access token for %s: %w", resource, err)
	}
	body, err := json.Marshal(map[string]string{"target": token})
	if err != nil {
		return "", err
	}
	var answer struct {
		Value string `json:"value"`
	}
	url := "https://" + s.AKV + "/keys/" + kid + "/release?api-version=7.4"
	if err := post(ctx, s.HTTP, "release", url, bearer, body, &answer); err != nil {
		return "", err
	}
	return answer.Value, nil
}

// Open verifies an answer (wire.md §3.4) and unwraps its key with target, by the enc
// that the payload echoes.
func (s *Sidecar) Open(answer string, target *rsa.PrivateKey) (*Released, error) {
	raw, err := verifyJWS(answer, s.Roots, s.AKV)
	if err != nil {
		return nil, fmt.Errorf("release answer: %w", err)
	}
	out, c1, c2, err := openPayload(raw)
	if err != nil {
		return nil, fmt.Errorf("release answer: %w", err)
	}
	out.Answer = answer
	hash, err := oaepHash(out.Enc)
	if err != nil {
		return nil, fmt.Errorf("release answer: %w", err)
	}
	kek, err := target.Decrypt(nil, c1, &rsa.OAEPOptions{Hash: hash})
	if err != nil {
		return nil, fmt.Errorf("release answer: C1 by OAEP with %v: %w", crypto.Hash(hash), err)
	}
	plain, err := unwrapKWP(kek, c2)
	if err != nil {
		return nil, fmt.Errorf("release answer: C2: %w", err)
	}
	if err := out.setKey(plain); err != nil {
		return nil, err
	}
	return out, nil
}
