package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

const (
	apiVersion     = "7.6" // of the Key Vault paths
	clientTimeout  = 60 * time.Second
	maxAnswer      = 64 << 20
	maxListedPages = 100_000
)

// client calls one broker as one principal.
type client struct {
	base  string // https://host[:port], no slash at the end
	token string
	http  *http.Client
	ca    string // PEM
}

// pinned is an HTTP client that trusts the given CA certificates and nothing
// else, and follows no redirect: a token goes to the broker it was meant for.
func pinned(caPEM []byte) (*http.Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(caPEM) {
		return nil, usagef("no CA certificate (PEM) given for the broker")
	}
	return &http.Client{
		Timeout: clientTimeout,
		Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13},
			ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// trustClient is a client that trusts the brokers of an agent.json.
func trustClient(path string) (*http.Client, error) {
	t, err := (&app{}).readTrust(path)
	if err != nil {
		return nil, err
	}
	return pinned([]byte(t.CA))
}

// maxTrust bounds an agent.json in bytes.
const maxTrust = 1 << 20

// readTrust reads an agent.json, - being stdin.
func (a *app) readTrust(path string) (*receipt.Trust, error) {
	b, err := a.input(path)
	if err != nil {
		return nil, err
	}
	var t receipt.Trust
	if err := strict.Unmarshal(b, maxTrust, &t); err != nil {
		return nil, unreadable(fmt.Errorf("%s: %w", path, err))
	}
	if t.V != 1 {
		return nil, usagef("%s: version %d, this program knows 1", path, t.V)
	}
	return &t, nil
}

// baseURL checks the URL of a broker.
func baseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", usagef("broker %q: want https://HOST[:PORT]", s)
	}
	return "https://" + u.Host, nil
}

// brokerError is an error answer of the broker.
type brokerError struct {
	Status                                         int
	Code, Message, Reason, Correlation, RetryAfter string
}

func (e *brokerError) Error() string {
	s := fmt.Sprintf("the broker answered %d %s", e.Status, printable(e.Code))
	if e.Reason != "" {
		s += " (" + printable(e.Reason) + ")"
	}
	if e.Message != "" {
		s += ": " + printableLines(e.Message)
	}
	if text := e.advice(); text != "" {
		s += "; " + text
	}
	if e.Correlation != "" {
		s += "; correlation id " + printable(e.Correlation)
	}
	return s
}

func (e *brokerError) exit() int {
	switch e.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return codeUsage
	case http.StatusForbidden:
		return codeRefused
	}
	return codeFailed
}

// call sends one request; in nil sends no body, out nil ignores the answer's.
// path begins with a slash and may have a query.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	b, err := c.do(req)
	if err != nil || out == nil {
		return err
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = b
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: the answer is not what this program knows: %w", method, path, err)
	}
	return nil
}

// do sends a request with the token and gives the body of a 2xx answer.
func (c *client) do(req *http.Request) ([]byte, error) {
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(c.base, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxAnswer {
		return nil, errors.New("the broker's answer is too long")
	}
	if resp.StatusCode/100 != 2 {
		return nil, answerError(resp, b)
	}
	return b, nil
}

func answerError(resp *http.Response, b []byte) error {
	e := &brokerError{Status: resp.StatusCode, Code: http.StatusText(resp.StatusCode), RetryAfter: resp.Header.Get("Retry-After")}
	var body binding.ErrorBody
	if json.Unmarshal(b, &body) == nil && body.Error.Code != "" {
		e.Code, e.Message = body.Error.Code, body.Error.Message
		e.Reason, e.Correlation = body.Error.InnerError.Reason(), body.Error.CorrelationID
	}
	if e.Reason == "" && release.Reason(e.Code).Class() != release.ClassInternal {
		e.Reason = e.Code
	}
	return e
}

// page is how every list is answered.
type page struct {
	Value    []json.RawMessage `json:"value"`
	NextLink string            `json:"nextLink"`
}

// list gets every page of a list. A next link to another host is not followed:
// it would take the token there.
func (c *client) list(ctx context.Context, path string, each func(json.RawMessage) error) error {
	for range maxListedPages {
		var p page
		if err := c.call(ctx, http.MethodGet, path, nil, &p); err != nil {
			return err
		}
		for _, v := range p.Value {
			if err := each(v); err != nil {
				return err
			}
		}
		if p.NextLink == "" {
			return nil
		}
		next, ok := strings.CutPrefix(p.NextLink, c.base)
		if !ok && strings.HasPrefix(p.NextLink, "/") {
			next, ok = p.NextLink, true
		}
		if !ok || !strings.HasPrefix(next, "/") {
			return fmt.Errorf("the next page is at %q, which is not this broker", p.NextLink)
		}
		path = next
	}
	return errors.New("the list does not end")
}

// pages gives everything that a list of /v1 has, page by page.
func pages[T any](ctx context.Context, c *client, path string) ([]T, error) {
	all := []T{}
	for after := ""; ; {
		var p struct {
			Value []T    `json:"value"`
			Next  string `json:"next"`
		}
		at := path
		if after != "" {
			at += "?after=" + url.QueryEscape(after)
		}
		if err := c.call(ctx, http.MethodGet, at, nil, &p); err != nil {
			return nil, err
		}
		all = append(all, p.Value...)
		if p.Next <= after { // names ascend, so that a list that does not is the end of it
			return all, nil
		}
		after = p.Next
	}
}
