package guest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
)

// DefaultIMDS is the Instance Metadata Service, at a link-local address that the host
// answers itself.
const DefaultIMDS = "http://169.254.169.254"

const (
	certificationPath = "/metadata/THIM/amd/certification"
	quotePath         = "/acc/tdquote"

	maxAnswer   = 64 << 10
	callLimit   = 5 * time.Second // one try
	tries       = 4
	firstPause  = 250 * time.Millisecond // doubled after each try
	maxTDQuote  = 16 << 10
	metadataKey = "Metadata" // header that a redirected or proxied request would lack
)

// imds is a client of the metadata service.
type imds struct {
	base   string
	client *http.Client
}

func newIMDS(base string) *imds {
	if base == "" {
		base = DefaultIMDS
	}
	transport := &http.Transport{Proxy: nil, DisableKeepAlives: true, MaxResponseHeaderBytes: maxAnswer}
	if path, ok := strings.CutPrefix(base, "unix:"); ok {
		base = "http://simulated"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	}
	return &imds{strings.TrimRight(base, "/"), &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// certificates are the VCEK of this machine's processor and its chain.
func (i *imds) certificates(ctx context.Context) ([]attest.Endorsement, error) {
	var answer struct {
		VCEK  string `json:"vcekCert"`
		Chain string `json:"certificateChain"`
	}
	if err := i.call(ctx, http.MethodGet, certificationPath, nil, &answer); err != nil {
		return nil, fmt.Errorf("VCEK certificate: %w", err)
	}
	if answer.VCEK == "" {
		return nil, errors.New("VCEK certificate: the metadata service has none")
	}
	out := []attest.Endorsement{{Type: attest.EndorsementCertificate, Data: []byte(answer.VCEK)}}
	if answer.Chain != "" {
		out = append(out, attest.Endorsement{Type: attest.EndorsementCertificate, Data: []byte(answer.Chain)})
	}
	return out, nil
}

// quote has the host's quoting enclave sign a TDREPORT.
func (i *imds) quote(ctx context.Context, report []byte) ([]byte, error) {
	body, err := json.Marshal(map[string]string{"report": base64.RawURLEncoding.EncodeToString(report)})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Quote string `json:"quote"`
	}
	if err := i.call(ctx, http.MethodPost, quotePath, body, &answer); err != nil {
		return nil, fmt.Errorf("TD quote: %w", err)
	}
	quote, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(answer.Quote, "="))
	if err != nil || len(quote) == 0 || len(quote) > maxTDQuote {
		return nil, fmt.Errorf("TD quote: the metadata service answered %d bytes that are none", len(answer.Quote))
	}
	return quote, nil
}

// busy is an answer that another try may better.
type busy struct{ error }

// call asks, again a few times while the service is busy, and decodes the answer.
func (i *imds) call(ctx context.Context, method, path string, body []byte, answer any) error {
	for try, pause := 1, firstPause; ; try, pause = try+1, 2*pause {
		b, err := i.once(ctx, method, path, body)
		if err == nil {
			return json.Unmarshal(b, answer)
		}
		var again busy
		if !errors.As(err, &again) || try == tries {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

func (i *imds) once(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, method, i.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set(metadataKey, "true")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	rsp, err := i.client.Do(req)
	if err != nil {
		return nil, busy{err}
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(rsp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, busy{err}
	case rsp.StatusCode == http.StatusOK && len(b) > maxAnswer:
		return nil, fmt.Errorf("metadata service: answer longer than %d bytes", maxAnswer)
	case rsp.StatusCode == http.StatusOK:
		return b, nil
	case rsp.StatusCode == http.StatusTooManyRequests || rsp.StatusCode == http.StatusGone || rsp.StatusCode >= 500:
		return nil, busy{fmt.Errorf("metadata service: %s", rsp.Status)}
	}
	return nil, fmt.Errorf("metadata service: %s for %s", rsp.Status, path)
}
