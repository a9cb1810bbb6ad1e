package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Parts of an upload: at least minPart bytes, and no more than maxParts of them, which
// is below the limits of all three.
const (
	minPart  = 8 << 20
	maxParts = 9000
)

// takeBack is how long a service may take to forget the parts of an upload that ended.
const takeBack = 10 * time.Second

var errAborted = errors.New("the upload was given up")

// cloudTarget uploads in parts that the service puts together at the commit.
type cloudTarget struct {
	ctx    context.Context //nolint:containedctx // of Create
	quit   context.CancelCauseFunc
	pipe   *io.PipeWriter // what the upload reads
	done   chan error     // how it ended
	cancel context.CancelFunc
	bucket *blob.Bucket
	url    *url.URL
}

func createCloud(ctx context.Context, u *url.URL, o Options) (Target, error) {
	b, key, err := bucket(ctx, u)
	if err != nil {
		return nil, err
	}
	if found, err := b.Exists(ctx, key); err != nil || found {
		err = errors.Join(unreached(u, err), b.Close())
		if found {
			err = fmt.Errorf("%s %w", shown(u), ErrExists)
		}
		return nil, err
	}
	t := &cloudTarget{done: make(chan error, 1), bucket: b, url: u}
	t.ctx, t.quit = context.WithCancelCause(ctx)
	// The end of ctx ends what there is to read, and the upload by that: S3 keeps, and
	// charges for, the parts of one whose requests are cancelled.
	up, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.cancel = cancel
	r, w := io.Pipe()
	t.pipe = w
	context.AfterFunc(t.ctx, func() { w.CloseWithError(context.Cause(t.ctx)) })
	src := io.Reader(r)
	if u.Scheme != "s3" {
		src = cancelling{r, cancel}
	}
	go func() {
		err := b.Upload(up, key, src, options(o))
		r.CloseWithError(err)
		t.done <- err
	}()
	return t, nil
}

// cancelling cancels an upload whose source broke off: Google's writer would commit what
// came until then.
type cancelling struct {
	io.Reader
	cancel context.CancelFunc
}

func (c cancelling) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		c.cancel()
	}
	return n, err
}

func options(o Options) *blob.WriterOptions {
	return &blob.WriterOptions{
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
	}
}

// Write implements [io.Writer].
func (t *cloudTarget) Write(p []byte) (int, error) {
	n, err := t.pipe.Write(p)
	if cause := context.Cause(t.ctx); err != nil && cause != nil {
		return n, cause
	}
	return n, t.failed(err)
}

// Commit implements [Target].
func (t *cloudTarget) Commit() error {
	_ = t.pipe.Close() // is nil
	return errors.Join(t.failed(t.end()), t.bucket.Close())
}

// Abort implements [Target].
func (t *cloudTarget) Abort() error {
	t.quit(errAborted)
	_ = t.end() // says that it was given up
	return t.bucket.Close()
}

// end waits for the upload, and when nobody wants it any more for as long as taking it
// back may take.
func (t *cloudTarget) end() error {
	defer t.quit(nil)
	defer t.cancel()
	select {
	case err := <-t.done:
		return err
	case <-t.ctx.Done():
	}
	limit := time.AfterFunc(takeBack, t.cancel)
	defer limit.Stop()
	return <-t.done
}

// failed is an error of the upload.
func (t *cloudTarget) failed(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%s: there is no bucket or container %q: make it first", shown(t.url), t.url.Host)
	}
	err = failed(t.url, err)
	if err == nil || errors.As(err, new(permanent)) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w; nothing was written, try again", err)
}
