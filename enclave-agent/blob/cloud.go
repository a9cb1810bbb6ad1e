package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	"gocloud.dev/blob/gcsblob"
	_ "gocloud.dev/blob/s3blob" // s3://
	"gocloud.dev/gcerrors"
	"gocloud.dev/gcp"
)

// bucket opens the container or bucket of a URL; the key is the rest of its path.
func bucket(ctx context.Context, u *url.URL) (*blob.Bucket, string, error) {
	at := url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: u.RawQuery}
	open := blob.OpenBucket
	if u.Scheme == "gs" {
		open = openGoogle
	}
	b, err := open(ctx, at.String())
	if err != nil {
		return nil, "", failed(u, err)
	}
	return b, strings.TrimPrefix(u.Path, "/"), nil
}

// openGoogle is what gocloud.dev does by itself, which prints warnings to standard output:
// plain text goes there.
func openGoogle(ctx context.Context, name string) (*blob.Bucket, error) {
	at, err := url.Parse(name)
	if err != nil {
		return nil, err
	}
	creds, err := gcp.DefaultCredentials(ctx)
	if err != nil {
		return nil, err
	}
	client, err := gcp.NewHTTPClient(gcp.DefaultTransport(), creds.TokenSource)
	if err != nil {
		return nil, err
	}
	return (&gcsblob.URLOpener{Client: client}).OpenBucketURL(ctx, at)
}

func (s *Store) openCloud(ctx context.Context, u *url.URL) (*Source, error) {
	b, key, err := bucket(ctx, u)
	if err != nil {
		return nil, err
	}
	first, err := b.Attributes(ctx, key)
	if err != nil {
		return nil, errors.Join(unreached(u, err), b.Close())
	}
	open := func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		if offset > 0 { // regions of two blobs never authenticate together; this says why
			now, err := b.Attributes(ctx, key)
			if err != nil {
				return nil, failed(u, err)
			}
			if now.ETag != first.ETag {
				return nil, permanent{ErrChanged}
			}
		}
		r, err := b.NewRangeReader(ctx, key, offset, -1, nil)
		if err != nil {
			return nil, failed(u, err)
		}
		return r, nil
	}
	r := &resumed{name: shown(u), ctx: ctx, open: open, size: first.Size, stall: s.stall, wait: s.wait}
	metadata := func(_ context.Context, name string) ([]byte, error) {
		if v, ok := first.Metadata[name]; ok {
			return []byte(v), nil
		}
		return nil, nil
	}
	return &Source{ReadCloser: both{r, b}, Size: first.Size, metadata: metadata}, nil
}

// both reads from one and closes two.
type both struct {
	io.ReadCloser
	other io.Closer
}

func (b both) Close() error { return errors.Join(b.ReadCloser.Close(), b.other.Close()) }

var (
	// query is where a signature would stand in the text of an error.
	query = regexp.MustCompile(`\?[^\s"]*`)
	// wrapper is what gocloud.dev puts before it.
	wrapper = regexp.MustCompile(`^blob \(key "[^"]*"\) \(code=\w+\): `)
)

// failed says what a service answered, in one line and without the query of a URL. What
// another attempt would not mend is permanent.
func failed(u *url.URL, err error) error {
	if err == nil {
		return nil
	}
	text, _, _ := strings.Cut(query.ReplaceAllString(wrapper.ReplaceAllString(err.Error(), ""), "?…"), "\n")
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return permanent{fmt.Errorf("%s: not found", shown(u))}
	case gcerrors.AlreadyExists, gcerrors.FailedPrecondition:
		return permanent{fmt.Errorf("%s %w, or a condition on it failed: %s", shown(u), ErrExists, text)}
	case gcerrors.PermissionDenied:
		return permanent{fmt.Errorf("%s: access denied; %s: %s", shown(u), settings(u), text)}
	case gcerrors.InvalidArgument:
		return permanent{fmt.Errorf("%s: %s", shown(u), text)}
	case gcerrors.Canceled:
		return context.Canceled
	}
	return fmt.Errorf("%s: %s", shown(u), text)
}

// unreached is failed for the first question to a service, which goes wrong when what it
// is reached with is wrong.
func unreached(u *url.URL, err error) error {
	err = failed(u, err)
	if err == nil || errors.As(err, new(permanent)) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w; %s", err, settings(u))
}

// settings says where what a service is reached with comes from.
func settings(u *url.URL) string {
	switch u.Scheme {
	case "s3":
		return "credentials, region and endpoint come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, or wherever Amazon's tools find them"
	case "gs":
		return "credentials come from GOOGLE_APPLICATION_CREDENTIALS, or wherever Google's tools find them"
	}
	return "account and credentials come from AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, or wherever Azure's tools find them"
}
