package skr

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// AttestSKR is Microsoft's AzureAttestSKR with its guest attestation client, on Linux.
type AttestSKR struct {
	MAA    string // URL (-a). Scheme and port are discarded: the call goes to https on 443
	KeyURL string // URL of a key with its version (-k), somewhere in it vault.azure.net or managedhsm.azure.net
	Nonce  string // (-n), "" is the program's own; goes into JSON without escaping

	HTTP *http.Client // TLS roots; nil is http.DefaultClient
	TPM  TPM
	// Bearer gives an access token for a resource.
	Bearer func(ctx context.Context, resource string) (string, error)
	// Isolation gives the hardware's evidence; nil is a Trusted Launch machine.
	Isolation func() (Isolation, error)
}

const (
	defaultNonce = "ADE0101"
	innerKeySize = 32 // bytes; the client unwraps C2 with EVP_aes_256_wrap_pad only
)

// linuxPCRs are what the guest client quotes on Linux.
func linuxPCRs() []int { return []int{0, 1, 2, 3, 4, 5, 6, 7} }

// Release attests and then releases the key of KeyURL, which is RSA: the program wraps
// and unwraps with it. An answer other than 200 is an [*APIError].
func (a *AttestSKR) Release(ctx context.Context) (*Released, error) {
	key, err := a.TPM.NewKey(linuxPCRs())
	if err != nil {
		return nil, fmt.Errorf("ephemeral TPM key: %w", err)
	}
	defer key.Close()
	token, err := a.attest(ctx, key)
	if err != nil {
		return nil, err
	}
	answer, err := a.ReleaseTo(ctx, token)
	if err != nil {
		return nil, err
	}
	out, err := a.Open(answer, key)
	if err != nil {
		return nil, err
	}
	out.Token, out.Nonce = token, a.nonce()
	return out, nil
}

// attest asks for a token over an ephemeral key and opens it.
func (a *AttestSKR) attest(ctx context.Context, key EphemeralKey) (string, error) {
	info, err := a.info(key)
	if err != nil {
		return "", err
	}
	body, err := guestBody(info)
	if err != nil {
		return "", err
	}
	base, err := url.Parse(a.MAA)
	if err != nil || base.Hostname() == "" {
		return "", fmt.Errorf("MAA address %q has no host", a.MAA)
	}
	var answer struct {
		Token string `json:"token"`
	}
	at := "https://" + base.Hostname() + "/attest/AzureGuest?api-version=2020-10-01"
	if err := post(ctx, a.HTTP, "attest", at, "", body, &answer); err != nil {
		return "", err
	}
	return openSealed(answer.Token, key.DecryptPKCS1)
}

// ReleaseTo sends a token as target and gives the answer's JWS unread. The body is put
// together without a JSON encoder, as AzureAttestSKR does.
func (a *AttestSKR) ReleaseTo(ctx context.Context, token string) (string, error) {
	resource, err := a.resource()
	if err != nil {
		return "", err
	}
	bearer, err := a.Bearer(ctx, resource)
	if err != nil {
		return "", fmt.Errorf("access token for %s: %w", resource, err)
	}
	body := `{"nonce":"` + a.nonce() + `","target":"` + token + `","enc":"RSA_AES_KEY_WRAP_256"}`
	var answer struct {
		Value string `json:"value"`
	}
	if err := post(ctx, a.HTTP, "release", a.KeyURL+"/release?api-version=7.3", bearer, []byte(body), &answer); err != nil {
		return "", err
	}
	return answer.Value, nil
}

// Open unwraps the key of an answer. It verifies neither signature nor chain and reads
// no echoed enc, because AzureAttestSKR does not.
func (a *AttestSKR) Open(answer string, key EphemeralKey) (*Released, error) {
	parts := strings.Split(answer, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("release answer has %d segments, not 3", len(parts))
	}
	raw, err := decodeSegment(parts[1])
	if err != nil {
		return nil, fmt.Errorf("release answer: %w", err)
	}
	out, c1, c2, err := openPayload(raw)
	if err != nil {
		return nil, fmt.Errorf("release answer: %w", err)
	}
	out.Answer = answer
	kek, err := key.DecryptOAEP(c1)
	if err != nil {
		return nil, fmt.Errorf("release answer: C1 by OAEP with SHA-256: %w", err)
	}
	if len(kek) != innerKeySize {
		return nil, fmt.Errorf("release answer: inner AES key of %d bytes, the client knows %d", len(kek), innerKeySize)
	}
	plain, err := unwrapKWP(kek, c2)
	if err != nil {
		return nil, fmt.Errorf("release answer: C2: %w", err)
	}
	if err := out.setKey(plain); err != nil {
		return nil, err
	}
	if _, ok := out.PrivateKey.(*rsa.PrivateKey); !ok {
		return nil, fmt.Errorf("released %s key: AzureAttestSKR wraps and unwraps with RSA only", out.Kty)
	}
	return out, nil
}

func (a *AttestSKR) nonce() string {
	if a.Nonce == "" {
		return defaultNonce
	}
	return a.Nonce
}

func (a *AttestSKR) resource() (string, error) {
	switch {
	case !strings.HasPrefix(a.KeyURL, "https://"):
		return "", fmt.Errorf("key address %q is not https", a.KeyURL)
	case strings.Contains(a.KeyURL, "vault.azure.net"):
		return vaultResource, nil
	case strings.Contains(a.KeyURL, "managedhsm.azure.net"):
		return hsmResource, nil
	}
	return "", errors.New("key address has neither vault.azure.net nor managedhsm.azure.net in it: AzureAttestSKR gives up")
}
