package endorser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/attest"
)

// How long keys of a token issuer are used without asking again, and how long while
// their issuer does not answer. They carry no end of their own.
const (
	keySetFresh  = 4 * time.Minute
	keySetUsable = 24 * time.Hour
	discovery    = "/.well-known/openid-configuration"
)

// askKeys gets the JWK set of an issuer, by discovery where the address is such.
func (e *Endorser) askKeys(ctx context.Context, address, issuer string) (*attest.Document, error) {
	body, _, err := e.getURL(ctx, address)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(address, discovery) {
		keys, err := keysAddress(body, issuer, address)
		if err != nil {
			return nil, &answerError{status: http.StatusOK, err: fmt.Errorf("%w: discovery of %s: %w", ErrAuthority, issuer, err)}
		}
		if body, _, err = e.getURL(ctx, keys); err != nil {
			return nil, err
		}
	}
	return &attest.Document{Data: body, Fetched: e.cfg.Now()}, nil
}

// keysAddress reads where an issuer's keys are (OpenID Connect Discovery 1.0 §4). It may be
// another host, as at Google, but a name, not an address inside some network.
func keysAddress(body []byte, issuer, from string) (string, error) {
	var v struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return "", err
	}
	if v.Issuer != issuer {
		return "", fmt.Errorf("document is of issuer %.200q", v.Issuer)
	}
	keys, err := base(v.Keys, true)
	if err != nil {
		return "", fmt.Errorf("jwks_uri: %w", err)
	}
	host := hostOf(keys)
	if host == hostOf(from) {
		return keys, nil
	}
	if name := strings.TrimSuffix(host, "."); net.ParseIP(name) != nil || strings.ContainsAny(name, "[:") || !strings.Contains(name, ".") {
		return "", fmt.Errorf("jwks_uri: %.100q is no public name", host)
	}
	return keys, nil
}

// checkKeySet keeps an error page from replacing keys. What the keys are worth is the
// verifier's business.
func checkKeySet(b []byte) error {
	var v struct {
		Keys []struct {
			Type string `json:"kty"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if len(v.Keys) == 0 || v.Keys[0].Type == "" {
		return errors.New("no JWK set")
	}
	return nil
}
