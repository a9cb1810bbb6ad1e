package blob

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
)

// openGoogle is what gocloud.dev does by itself, which prints warnings to standard output:
// plain text goes there. giveUp ends what is done with the bucket.
func openGoogle(ctx context.Context, name *url.URL, giveUp context.CancelCauseFunc) (*blob.Bucket, error) {
	creds, err := gcp.DefaultCredentials(ctx)
	if err != nil {
		return nil, err
	}
	client, err := gcp.NewHTTPClient(gcp.DefaultTransport(), creds.TokenSource)
	if err != nil {
		return nil, err
	}
	client.Transport = &patience{RoundTripper: client.Transport, giveUp: giveUp}
	return (&gcsblob.URLOpener{Client: client}).OpenBucketURL(ctx, name)
}

// patience ends with the fourth failure of a service in a row, some seconds after the
// first: Google's library would go on for ever.
type patience struct {
	http.RoundTripper
	giveUp context.CancelCauseFunc

	mu     sync.Mutex
	failed int
}

const patient = 4

// tired is why a service was given up.
type tired struct{ error }

func (t tired) Unwrap() error { return t.error }

// RoundTrip implements [http.RoundTripper].
func (p *patience) RoundTrip(r *http.Request) (*http.Response, error) {
	rsp, err := p.RoundTripper.RoundTrip(r)
	why := err
	if err == nil && (rsp.StatusCode >= 500 || rsp.StatusCode == http.StatusTooManyRequests || rsp.StatusCode == http.StatusRequestTimeout) {
		why = fmt.Errorf("it answers %s", rsp.Status)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed++; why == nil {
		p.failed = 0
	}
	if p.failed == patient {
		p.giveUp(tired{fmt.Errorf("%d attempts failed: %w", patient, why)})
	}
	return rsp, err
}
