package harness

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// IdentityEndpoint answers as App Service does for managed identities
// (IDENTITY_ENDPOINT, IDENTITY_HEADER), with tokens of one principal.
type IdentityEndpoint struct {
	URL, Header string
	// Asked counts the requests with the right header.
	Asked chan string

	broker    *Broker
	principal Principal
	server    *http.Server
}

// StartIdentityEndpoint serves the tokens of p on a loopback address.
func StartIdentityEndpoint(b *Broker, p Principal) (*IdentityEndpoint, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &IdentityEndpoint{URL: "http://" + l.Addr().String() + "/msi/token", Header: rand.Text(), Asked: make(chan string, 64), broker: b, principal: p}
	e.server = &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = e.server.Serve(l) }() // ends with Stop
	return e, nil
}

// Stop ends the endpoint.
func (e *IdentityEndpoint) Stop() error { return e.server.Close() }

// Environ is what a workload finds in its environment.
func (e *IdentityEndpoint) Environ() []string {
	return []string{"IDENTITY_ENDPOINT=" + e.URL, "IDENTITY_HEADER=" + e.Header}
}

// ServeHTTP implements [http.Handler].
func (e *IdentityEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	resource := q.Get("resource")
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-IDENTITY-HEADER")), []byte(e.Header)) != 1 || q.Get("api-version") != "2019-08-01" || resource == "" {
		http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
		return
	}
	token, expires, err := e.broker.Token(r.Context(), e.principal, resource)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	e.Asked <- resource
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{
		"access_token": token, "expires_on": strconv.FormatInt(expires, 10), "resource": resource, "token_type": "Bearer", "client_id": e.principal.ID,
	})
}

// Token gets a token of p for a resource from the token service, and its end in Unix seconds.
func (b *Broker) Token(ctx context.Context, p Principal, resource string) (string, int64, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.ID}, "client_secret": {p.Secret}, "scope": {resource + "/.default"}}
	resp, err := b.post(ctx, b.Authority+"/"+b.Tenant+"/oauth2/v2.0/token", form)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	var out struct {
		Token string `json:"access_token"`
		Life  int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.Token == "" {
		return "", 0, errors.Join(errors.New("token service: "+resp.Status), err)
	}
	return out.Token, time.Now().Unix() + out.Life, nil
}
