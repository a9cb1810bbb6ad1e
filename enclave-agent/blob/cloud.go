package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
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
		return nil, errors.Join(failed(u, err), b.Close())
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

// Parts of an upload: at least minPart bytes, and no more than maxParts of them, which
// is below the limits of all three.
const (
	minPart  = 8 << 20
	maxParts = 9000
)

// cloudTarget uploads in parts that the service puts together at the commit.
type cloudTarget struct {
	*blob.Writer
	bucket *blob.Bucket
	cancel context.CancelFunc
	url    *url.URL
}

func createCloud(ctx context.Context, u *url.URL, o Options) (Target, error) {
	b, key, err := bucket(ctx, u)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	t := &cloudTarget{bucket: b, cancel: cancel, url: u}
	if found, err := b.Exists(ctx, key); err != nil || found {
		err = errors.Join(failed(u, err), b.Close())
		if cancel(); found {
			err = fmt.Errorf("%s %w", shown(u), ErrExists)
		}
		return nil, err
	}
	t.Writer, err = b.NewWriter(ctx, key, &blob.WriterOptions{
		BufferSize: int(max(minPart, o.Size/maxParts)), MaxConcurrency: 2, ContentType: "application/octet-stream",
		DisableContentTypeDetection: true, IfNotExist: true, Metadata: o.Metadata,
		BeforeWrite: func(as func(any) bool) error {
			// gocloud.dev escapes values; Azure's SDKs want the JSON as it is.
			var azure *azblob.UploadStreamOptions
			if as(&azure) {
				azure.Metadata = map[string]*string{}
				for name, value := range o.Metadata {
					azure.Metadata[name] = &value
				}
			}
			return nil
		},
	})
	if err != nil {
		cancel()
		return nil, errors.Join(failed(u, err), b.Close())
	}
	return t, nil
}

// Write implements [io.Writer].
func (t *cloudTarget) Write(p []byte) (int, error) {
	n, err := t.Writer.Write(p)
	return n, failed(t.url, err)
}

// Commit implements [Target].
func (t *cloudTarget) Commit() error {
	defer t.cancel()
	return errors.Join(failed(t.url, t.Writer.Close()), t.bucket.Close())
}

// Abort cancels what is under way, so that closing does not commit.
func (t *cloudTarget) Abort() error {
	t.cancel()
	_ = t.Writer.Close() // says that it was cancelled
	return t.bucket.Close()
}

// query is where a signature would stand in the text of an error.
var query = regexp.MustCompile(`\?[^\s"]*`)

// failed says what a service answered, in one line and without the query of a URL. What
// another attempt would not mend is permanent.
func failed(u *url.URL, err error) error {
	if err == nil {
		return nil
	}
	text, _, _ := strings.Cut(query.ReplaceAllString(err.Error(), "?…"), "\n")
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return permanent{fmt.Errorf("%s: not found", shown(u))}
	case gcerrors.AlreadyExists, gcerrors.FailedPrecondition:
		return permanent{fmt.Errorf("%s %w, or a condition on it failed: %s", shown(u), ErrExists, text)}
	case gcerrors.PermissionDenied:
		return permanent{fmt.Errorf("%s: access denied; the credentials come from the environment as this cloud's own tools take them: %s", shown(u), text)}
	case gcerrors.InvalidArgument:
		return permanent{fmt.Errorf("%s: %s", shown(u), text)}
	case gcerrors.Canceled:
		return context.Canceled
	}
	return fmt.Errorf("%s: %s", shown(u), text)
}
