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
	_ "gocloud.dev/blob/s3blob"    // s3://
	"gocloud.dev/gcerrors"
)

// place is where a blob lies: a container or bucket, and the key in it.
type place struct {
	*blob.Bucket
	ctx  context.Context //nolint:containedctx // it ends also when the service is given up
	quit context.CancelCauseFunc
	url  *url.URL
	key  string
}

// at opens the container or bucket of a URL; the key is the rest of its path.
func at(ctx context.Context, u *url.URL) (*place, error) {
	ctx, quit := context.WithCancelCause(ctx)
	name := url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: u.RawQuery}
	var b *blob.Bucket
	var err error
	if u.Scheme == "gs" {
		b, err = openGoogle(ctx, &name, quit)
	} else {
		b, err = blob.OpenBucket(ctx, name.String())
	}
	if err != nil {
		quit(nil)
		return nil, failed(u, err)
	}
	return &place{b, ctx, quit, u, strings.TrimPrefix(u.Path, "/")}, nil
}

// Close ends what is done here.
func (p *place) Close() error {
	p.quit(nil)
	return p.Bucket.Close()
}

// failed says what went wrong here; the cause, where a service was given up.
func (p *place) failed(err error) error {
	var why tired
	if err != nil && errors.As(context.Cause(p.ctx), &why) {
		err = why
	}
	return failed(p.url, err)
}

// unreached is failed for the first question to a service, which goes wrong when what it
// is reached with is wrong.
func (p *place) unreached(err error) error {
	err = p.failed(err)
	if err == nil || errors.As(err, new(permanent)) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w; %s", err, settings(p.url))
}

func (s *Store) openCloud(ctx context.Context, u *url.URL) (*Source, error) {
	b, err := at(ctx, u)
	if err != nil {
		return nil, err
	}
	first, err := b.Attributes(b.ctx, b.key)
	if err != nil {
		return nil, errors.Join(b.unreached(err), b.Close())
	}
	open := func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		if offset > 0 { // regions of two blobs never authenticate together; this says why
			now, err := b.Attributes(ctx, b.key)
			if err != nil {
				return nil, b.failed(err)
			}
			if now.ETag != first.ETag {
				return nil, permanent{ErrChanged}
			}
		}
		r, err := b.NewRangeReader(ctx, b.key, offset, -1, nil)
		if err != nil {
			return nil, b.failed(err)
		}
		return r, nil
	}
	r := &resumed{name: shown(u), ctx: b.ctx, open: open, size: first.Size, stall: s.stall, wait: s.wait}
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
