package agent

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/internal/strict"
)

// taggedKey is what Tag reads of a key.
type taggedKey struct {
	Tags map[string]string
}

// Tag sets one tag of the key version at keyURL and leaves the others, through the Key
// Vault protocol, with an operator's bearer token. It asks the brokers of agent.json,
// whatever host the URL names. change gets the value so far, "" for none, and gives the
// new one. Errors are those of [Agent.Key].
func (a *Agent) Tag(ctx context.Context, keyURL, token, name string, change func(old string) string) error {
	ref, err := parseKeyURL(keyURL)
	if err != nil {
		return err
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: the operator's token is empty or has a character that no token has", ErrConfig)
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	return a.anyBroker(ctx, func(ctx context.Context, broker string) error {
		k, err := a.keyBundle(ctx, http.MethodGet, broker, ref, token, nil)
		if err != nil {
			return err
		}
		tags := map[string]string{}
		maps.Copy(tags, k.Tags)
		tags[name] = change(tags[name])
		body, err := strict.Marshal(map[string]map[string]string{"tags": tags})
		if err != nil {
			return err
		}
		k, err = a.keyBundle(ctx, http.MethodPatch, broker, ref, token, body)
		if err == nil && k.Tags[name] != tags[name] {
			err = invalid("tags", "the broker did not take tag %s", name)
		}
		return err
	})
}

// keyBundle sends one request about a key. Errors are *failure, *Refused or *Invalid.
func (a *Agent) keyBundle(ctx context.Context, method, broker string, ref *keyRef, token string, body []byte) (*taggedKey, error) {
	_, path, _ := strings.Cut(strings.TrimPrefix(ref.url, "https://"), "/")
	req, err := http.NewRequestWithContext(ctx, method, broker+"/"+path+"?api-version="+apiVersion, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host = ref.host // of the vault
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	b, err := a.send(req)
	if err != nil {
		return nil, err
	}
	// A bundle has many members, of which this one counts.
	var members map[string]jsontext.Value
	if err := strict.Unmarshal(b, maxBody, &members); err != nil {
		return nil, invalid("body", "answer: %w", err)
	}
	var k taggedKey
	if raw := members["tags"]; raw != nil {
		if err := strict.Unmarshal(raw, maxBody, &k.Tags); err != nil {
			return nil, invalid("tags", "answer: %w", err)
		}
	}
	return &k, nil
}
