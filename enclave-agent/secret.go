package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest/tpm/guest"
)

// apiVersion is that of the Key Vault door, for secrets and tags.
const apiVersion = "7.6"

// tokenUse is how long a token is used: two thirds of what a broker gives, so that no
// request begins with one that is about to end.
const tokenUse = 10 * time.Minute

// SecretValue is a version of a secret that was read.
type SecretValue struct {
	Value   *Secret // nil of an empty one; close it
	Version string  // 32 hex digits
}

// heldToken is an access token for one vault.
type heldToken struct {
	token *Secret
	until time.Time
}

// ReadSecret reads a secret through the Key Vault door, with an access token that this
// machine gets by attesting; a token serves all secrets of its vault until shortly before
// it ends. A broker that takes a token no longer (401) is asked for one new one.
//
// The value passes through buffers of TLS that cannot be cleared: read in a process that
// ends when it has handed the value on.
//
// Errors are those of [Agent.Key]; a secret that is not there is a *[Refused] too.
func (a *Agent) ReadSecret(ctx context.Context, ref SecretRef) (*SecretValue, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	var v *SecretValue
	var err error
	for range 2 {
		var authorization string
		if authorization, err = a.bearer(ctx, ref.vault); err != nil {
			break
		}
		err = a.anyBroker(ctx, func(ctx context.Context, broker string) (err error) {
			v, err = a.getSecret(ctx, broker, ref, authorization)
			return err
		})
		var r *Refused
		if !errors.As(err, &r) || r.Status != http.StatusUnauthorized {
			break
		}
		if cerr := a.dropToken(ref.vault); cerr != nil {
			return nil, cerr
		}
	}
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", ref, err)
	}
	return v, nil
}

// getSecret is one request to one broker. The vault is in the Host header: the
// connection, and the certificate, are those of the broker that agent.json names.
func (a *Agent) getSecret(ctx context.Context, broker string, ref SecretRef, authorization string) (*SecretValue, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, broker+ref.path()+"?api-version="+apiVersion, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Host = strings.TrimPrefix(ref.vault, "https://")
	req.Header.Set("Authorization", authorization)
	b, err := a.send(req)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return parseSecret(b, ref)
}

// parseSecret reads {"value","id",…}, of which only these two are used: the answer is
// Key Vault's, which grows members.
func parseSecret(b []byte, ref SecretRef) (*SecretValue, error) {
	var answer struct {
		Value jsontext.Value `json:"value"` // raw, so that it can be cleared
		ID    string         `json:"id"`
	}
	defer func() { clear(answer.Value) }()
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, invalid("body", "answer: not a secret of Key Vault") // its own text would quote the value
	}
	if answer.Value.Kind() != '"' {
		return nil, invalid("value", "the secret has no value")
	}
	_, path, _ := strings.Cut(answer.ID, "/secrets/")
	name, version, _ := strings.Cut(path, "/")
	if !strings.EqualFold(name, ref.name) || !isVersion(version) || ref.version != "" && version != ref.version {
		return nil, invalid("id", "secret %.256q is not the one that was asked for", answer.ID)
	}
	plain, err := jsontext.AppendUnquote(make([]byte, 0, len(answer.Value)), answer.Value)
	if err != nil {
		clear(plain)
		return nil, invalid("value", "the value is no text")
	}
	v := &SecretValue{Version: version}
	if len(plain) > 0 {
		v.Value, err = guest.TakeSecret(plain)
	}
	return v, err
}

// bearer gives the Authorization header of a vault, with a token that is held or a new
// one. The text is made while the token cannot be given back.
func (a *Agent) bearer(ctx context.Context, vault string) (string, error) {
	a.mu.Lock()
	held := a.tokens[vault]
	if held != nil && a.cfg.Now().Before(held.until) {
		defer a.mu.Unlock()
		return "Bearer " + string(held.token.Bytes()), nil
	}
	a.mu.Unlock()
	now := a.cfg.Now()
	got, err := a.Token(ctx, vault)
	if err != nil {
		return "", err
	}
	if err := a.dropToken(vault); err != nil {
		return "", errors.Join(err, got.Material.Close())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens == nil {
		a.tokens = map[string]*heldToken{}
	}
	a.tokens[vault] = &heldToken{got.Material, now.Add(tokenUse)}
	return "Bearer " + string(got.Material.Bytes()), nil
}

// dropToken gives back what is held for a vault.
func (a *Agent) dropToken(vault string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	held := a.tokens[vault]
	if held == nil {
		return nil
	}
	delete(a.tokens, vault)
	return held.token.Close()
}

// dropTokens gives back all that are held.
func (a *Agent) dropTokens() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var err error
	for _, held := range a.tokens {
		err = errors.Join(err, held.token.Close())
	}
	a.tokens = nil
	return err
}
