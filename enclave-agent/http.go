package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/strict"
)

const (
	// maxBody bounds what a broker may answer, in bytes.
	maxBody = 1 << 20
	// attempt bounds one exchange, however slowly the other side sends.
	attempt = 20 * time.Second

	firstPause = 250 * time.Millisecond
	maxPause   = 10 * time.Second
)

// httpClient speaks TLS 1.3 to the pinned CA's servers, through no proxy, and
// follows no redirect.
func (a *Agent) httpClient() (*http.Client, error) {
	pool, err := roots(a.cfg.Trust)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // never from the environment
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Time: a.now},
			TLSHandshakeTimeout:    10 * time.Second,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// failure is a broker that could not be asked. Another may be; the same again only
// when retry is set.
type failure struct {
	err   error
	retry bool
	after time.Duration // at least this long before the next try
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// post sends one request and decodes its answer into out. Errors are *failure,
// *Refused or *Invalid.
func (a *Agent) post(ctx context.Context, broker, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, broker+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	b, err := a.send(req)
	if err != nil {
		return err
	}
	if err := strict.Unmarshal(b, maxBody, out); err != nil {
		return invalid("body", "answer: %w", err)
	}
	return nil
}

// send does one exchange and gives the JSON of a good answer, at most maxBody bytes.
// Errors are as those of post.
func (a *Agent) send(req *http.Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(req.Context(), attempt)
	defer cancel()
	rsp, err := a.client.Do(req.WithContext(ctx))
	if err != nil {
		return nil, unreached(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(rsp.Body, maxBody+1))
	if err == nil {
		err = ctx.Err() // a server that sees the connection close can still end half an answer in good form
	}
	switch {
	case err != nil:
		return nil, unreached(err)
	case len(b) > maxBody:
		return nil, invalid("size", "answer of more than %d bytes", maxBody)
	case rsp.StatusCode == http.StatusOK:
		if t, _, err := mime.ParseMediaType(rsp.Header.Get("Content-Type")); err != nil || t != "application/json" {
			return nil, invalid("media", "answer is not JSON")
		}
		return b, nil
	case rsp.StatusCode >= 300 && rsp.StatusCode < 400:
		return nil, invalid("redirect", "the broker redirects (%d), which is never followed", rsp.StatusCode)
	}
	return nil, refusal(rsp, b)
}

// unreached classes an error of the connection. A server that is not ours, or
// speaks another protocol, does not get better by asking again.
func unreached(err error) error {
	var cert *tls.CertificateVerificationError
	var op *net.OpError
	alert := errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error") // how crypto/tls wraps alerts
	return &failure{err: err, retry: !alert && !errors.As(err, &cert) && !errors.Is(err, http.ErrSchemeMismatch)}
}

// refusal reads an error body. What is not in the expected shape is left out: it
// is shown to a person.
func refusal(rsp *http.Response, body []byte) error {
	r := &Refused{Status: rsp.StatusCode}
	var e binding.ErrorBody
	if strict.Unmarshal(body, maxBody, &e) == nil {
		r.Code, r.Reason, r.Correlation = word(e.Error.Code), word(e.Error.InnerError.Reason()), word(e.Error.CorrelationID)
	}
	switch {
	case rsp.StatusCode == http.StatusTooManyRequests || rsp.StatusCode == http.StatusServiceUnavailable:
		seconds, err := strconv.Atoi(rsp.Header.Get("Retry-After"))
		if err != nil || seconds < 0 || seconds > int(maxWait/time.Second) {
			seconds = 0
		}
		return &failure{err: &busy{r}, retry: true, after: time.Duration(seconds) * time.Second}
	case rsp.StatusCode >= 500:
		return &failure{err: &busy{r}}
	}
	return r
}

// maxWait is the longest Retry-After that is believed.
const maxWait = 10 * time.Minute

// busy is a broker that answered that it cannot answer. It hides its *Refused from
// errors.As: nobody decided against this machine.
type busy struct{ r *Refused }

func (b *busy) Error() string { return fmt.Sprintf("the broker cannot answer now (%s)", b.r.detail()) }

// anyBroker calls fn with the brokers in order until one answers or ctx ends,
// with growing pauses between rounds. Only a *failure goes on to the next broker:
// a refusal and a false answer end it.
func (a *Agent) anyBroker(ctx context.Context, fn func(ctx context.Context, broker string) error) error {
	pause := firstPause
	for {
		var failed []error
		var retry bool
		var after time.Duration
		for _, broker := range a.cfg.Trust.URLs {
			err := fn(ctx, trimSlash(broker))
			var f *failure
			if err == nil || !errors.As(err, &f) {
				return err
			}
			failed = append(failed, fmt.Errorf("%s: %w", broker, err))
			retry, after = retry || f.retry, max(after, f.after)
		}
		err := fmt.Errorf("%w: %w", ErrUnreachable, errors.Join(failed...))
		if !retry || ctx.Err() != nil || a.wait(ctx, max(after, jitter(pause))) != nil {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

// jitter gives half to all of d, so that machines that boot together do not ask
// together.
func jitter(d time.Duration) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	half := uint64(d / 2)
	return d/2 + time.Duration(binary.BigEndian.Uint64(b[:])%(half+1))
}

// sleep waits for d, or gives up at once when ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return context.DeadlineExceeded
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
