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
	*place
	pipe   *io.PipeWriter // what the upload reads
	done   chan error     // how it ended
	cancel context.CancelFunc
}

func createCloud(ctx context.Context, u *url.URL, o Options) (Target, error) {
	b, err := at(ctx, u)
	if err != nil {
		return nil, err
	}
	if found, err := b.Exists(b.ctx, b.key); err != nil || found {
		err = errors.Join(b.unreached(err), b.Close())
		if found {
			err = fmt.Errorf("%s %w", shown(u), ErrExists)
		}
		return nil, err
	}
	t := &cloudTarget{done: make(chan error, 1), place: b}
	up := b.ctx
	if u.Scheme == "s3" { // it keeps, and charges for, the parts of an upload whose requests are cancelled
		up = context.WithoutCancel(b.ctx)
	}
	up, t.cancel = context.WithCancel(up)
	r, w := io.Pipe()
	t.pipe = w
	context.AfterFunc(b.ctx, func() { w.CloseWithError(context.Cause(b.ctx)) })
	src := &source{Reader: r, stalled: time.AfterFunc(stalls, func() { b.quit(tired{errNotTaken}) })}
	if u.Scheme != "s3" {
		src.broken = t.cancel
	}
	go func() {
		defer src.stalled.Stop()
		err := b.Upload(up, b.key, src, options(o))
		r.CloseWithError(err)
		t.done <- err
	}()
	return t, nil
}

// stalls is how long a service may take for what it was given: parts of 8 MiB, and putting
// them together.
const stalls = 5 * time.Minute

var errNotTaken = errors.New("it took nothing for five minutes")

// source is what an upload reads.
type source struct {
	io.Reader
	stalled *time.Timer // runs while nobody reads
	// broken cancels an upload before it learns that its source broke off: Google's writer
	// would commit what came until then.
	broken func()
}

// Read implements [io.Reader].
func (s *source) Read(p []byte) (int, error) {
	s.stalled.Stop()
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && s.broken != nil {
		s.broken()
	}
	s.stalled.Reset(stalls)
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
	return n, t.failed(err, "nothing was written")
}

// Commit implements [Target].
func (t *cloudTarget) Commit() error {
	_ = t.pipe.Close() // is nil
	return errors.Join(t.failed(t.end(), "nothing was written, unless only the answer was lost"), t.Close())
}

// Abort implements [Target].
func (t *cloudTarget) Abort() error {
	t.quit(errAborted)
	_ = t.end() // says that it was given up
	return t.Close()
}

// end waits for the upload, and when nobody wants it any more for as long as taking it
// back may take.
func (t *cloudTarget) end() error {
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

// failed is an error of the upload, with what became of it where another attempt may help.
func (t *cloudTarget) failed(err error, became string) error {
	if why := context.Cause(t.ctx); err != nil && why != nil && !errors.As(why, new(tired)) {
		return why
	}
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%s: there is no bucket or container %q: make it first", shown(t.url), t.url.Host)
	}
	err = t.place.failed(err)
	if err == nil || errors.As(err, new(permanent)) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w; %s: try again", err, became)
}
