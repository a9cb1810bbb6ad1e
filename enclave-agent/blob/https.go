package blob

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// newTransport trusts the system's certificates, and takes the proxy of the environment
// as the clients of the clouds do: what it fetches authenticates itself.
func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		DisableCompression: true, MaxResponseHeaderBytes: 64 << 10, TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
	}
}

// redirect follows to HTTPS alone, and tells nobody where it came from: the address may
// hold the signature of a SAS.
func redirect(req *http.Request, via []*http.Request) error {
	if req.URL.Scheme != "https" {
		return permanent{errors.New("redirected to what is not https://")}
	}
	if len(via) >= 5 {
		return permanent{errors.New("redirected five times")}
	}
	req.Header.Del("Referer")
	return nil
}

// web is a blob behind an URL.
type web struct {
	client *http.Client
	url    *url.URL
	etag   string // strong, else "": then it cannot be read on
	first  *http.Response
}

func (s *Store) openHTTPS(ctx context.Context, u *url.URL) (*Source, error) {
	w := &web{client: &http.Client{Transport: s.transport, CheckRedirect: redirect}, url: u}
	r := &resumed{name: shown(u), ctx: ctx, open: w.open, size: -1, stall: s.stall, wait: s.wait}
	if _, err := r.Read(nil); err != nil && !errors.Is(err, io.EOF) { // connects, with all attempts
		return nil, err
	}
	r.size = w.first.ContentLength
	return &Source{ReadCloser: r, Size: r.size, metadata: w.metadata}, nil
}

func (w *web) open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	rsp, err := w.get(ctx, w.url, offset)
	if err != nil {
		return nil, err
	}
	if err := w.check(rsp, offset); err != nil {
		_ = rsp.Body.Close() // the answer is refused anyway
		return nil, err
	}
	if w.first == nil {
		w.first = rsp
		if tag := rsp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) {
			w.etag = tag
		}
	}
	return rsp.Body, nil
}

// get asks for a URL, from an offset on.
func (w *web) get(ctx context.Context, u *url.URL, offset int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, permanent{errors.New("not a URL")}
	}
	if offset > 0 {
		if w.etag == "" {
			return nil, permanent{errors.New("it broke off, and has no ETag to read on with; start again")}
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		req.Header.Set("If-Match", w.etag)
	}
	rsp, err := w.client.Do(req)
	var withURL *url.Error
	if errors.As(err, &withURL) {
		return nil, withURL.Err
	}
	return rsp, err
}

func (w *web) check(rsp *http.Response, offset int64) error {
	err := fmt.Errorf("the server answered %d", rsp.StatusCode)
	switch code := rsp.StatusCode; {
	case offset == 0 && w.first == nil && code == http.StatusOK:
		return nil
	case offset == 0 && code == http.StatusOK:
		return w.same(rsp) // a first answer that broke off before its first byte
	case offset > 0 && code == http.StatusPartialContent:
		if !strings.HasPrefix(rsp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
			return permanent{errors.New("the server answered with another part than was asked for")}
		}
		return w.same(rsp)
	case code == http.StatusPreconditionFailed:
		return permanent{ErrChanged}
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return err // passes, perhaps
	}
	return permanent{err}
}

// same says whether an answer is about the blob that was begun.
func (w *web) same(rsp *http.Response) error {
	if w.etag != "" && rsp.Header.Get("ETag") != w.etag {
		return permanent{ErrChanged}
	}
	return nil
}

func (w *web) metadata(ctx context.Context, name string) ([]byte, error) {
	if v := w.first.Header.Get("x-ms-meta-" + name); v != "" {
		return []byte(v), nil
	}
	u := *w.url
	u.Path, u.RawPath = u.Path+"."+name, ""
	rsp, err := w.get(ctx, &u, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown(&u), err)
	}
	defer rsp.Body.Close()
	switch rsp.StatusCode {
	case http.StatusOK:
		return io.ReadAll(io.LimitReader(rsp.Body, MaxMetadata+1))
	case http.StatusNotFound, http.StatusForbidden: // a SAS may be for the blob alone
		return nil, nil
	}
	return nil, fmt.Errorf("%s: the server answered %d", shown(&u), rsp.StatusCode)
}
