// Package blob reads and writes blobs where they lie: files, standard input and output,
// HTTPS, Azure Blob Storage, Amazon S3, Google Cloud Storage. It knows nothing of what
// is in them, and believes nothing: whoever reads must authenticate.
//
// A source that breaks off is read on where it broke off, as long as it is the same
// blob. A target appears when it is committed, whole, or not at all, and never in place
// of another.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Errors that callers tell apart.
var (
	// ErrReference says that a name is not of a kind that is known here.
	ErrReference = errors.New("name of a blob")
	// ErrExists says that there is a blob of this name: it is not overwritten.
	ErrExists = errors.New("exists, and is not overwritten")
	// ErrChanged says that another blob took the place of the one being read.
	ErrChanged = errors.New("the blob changed while it was read; start again")
)

// MaxMetadata bounds a metadata item in bytes.
const MaxMetadata = 16 << 10

// Store opens and creates blobs by their names:
//
//	PATH                     file
//	-                        standard input or output
//	https://HOST/PATH        to read only
//	azblob://CONTAINER/NAME  the account as Azure's SDKs find it: AZURE_STORAGE_ACCOUNT, …
//	s3://BUCKET/NAME         credentials and region as Amazon's SDKs find them
//	gs://BUCKET/NAME         credentials as Google's SDKs find them
//
// The last three take the options of gocloud.dev in their query.
type Store struct {
	stdin  io.Reader
	stdout io.Writer

	transport http.RoundTripper
	stall     time.Duration // without a byte
	wait      func(context.Context, time.Duration) error
}

// New makes a Store with standard input and output.
func New(stdin io.Reader, stdout io.Writer) *Store {
	return &Store{stdin: stdin, stdout: stdout, transport: newTransport(), stall: time.Minute, wait: sleep}
}

// Source is a blob that is being read.
type Source struct {
	io.ReadCloser
	Size int64 // in bytes, -1 when not known

	metadata func(ctx context.Context, name string) ([]byte, error)
}

// Metadata gives a metadata item of the blob, nil when it has none of that name. A file,
// or a blob read by HTTPS, has it in a file beside it that is called as itself, a dot and
// the name; by HTTPS first in the header x-ms-meta-NAME.
func (s *Source) Metadata(ctx context.Context, name string) ([]byte, error) {
	if s.metadata == nil {
		return nil, nil
	}
	b, err := s.metadata(ctx, name)
	if err == nil && len(b) > MaxMetadata {
		return nil, fmt.Errorf("metadata %s is longer than %d bytes", name, MaxMetadata)
	}
	return b, err
}

// Options of a new blob.
type Options struct {
	Size     int64             // what will about be written, in bytes; 0 when not known
	Metadata map[string]string // stored with the blob; of a file, in files beside it
}

// Target is a blob that is being written. One of Commit and Abort ends it.
type Target interface {
	io.Writer
	// Commit makes what was written appear under its name, durably.
	Commit() error
	// Abort leaves nothing. What went to standard output is gone.
	Abort() error
}

// Open opens a blob for reading. Errors: [ErrReference], [ErrChanged] of reading, and
// those of the place.
func (s *Store) Open(ctx context.Context, name string) (*Source, error) {
	u, err := parse(name)
	switch {
	case err != nil:
		return nil, err
	case u != nil && u.Scheme == "https":
		return s.openHTTPS(ctx, u)
	case u != nil:
		return s.openCloud(ctx, u)
	case name == "-":
		return &Source{ReadCloser: io.NopCloser(s.stdin), Size: -1}, nil
	}
	return openFile(name)
}

// Create begins a new blob; metadata cannot go to standard output. Errors:
// [ErrReference], [ErrExists], and those of the place.
func (s *Store) Create(ctx context.Context, name string, o Options) (Target, error) {
	u, err := parse(name)
	switch {
	case err != nil:
		return nil, err
	case u != nil && u.Scheme == "https":
		return nil, fmt.Errorf("%w %s: https:// is for reading; write to azblob://, s3://, gs:// or a file", ErrReference, shown(u))
	case u != nil:
		return createCloud(ctx, u, o)
	case name == "-" && len(o.Metadata) > 0:
		return nil, fmt.Errorf("%w: standard output has no place for metadata", ErrReference)
	case name == "-":
		return stream{s.stdout}, nil
	}
	return createFile(name, o)
}

// Local says whether a name is that of a file.
func Local(name string) bool {
	u, err := parse(name)
	return err == nil && u == nil && name != "-"
}

// parse reads a name; nil is a file or a stream.
func parse(name string) (*url.URL, error) {
	scheme, _, ok := strings.Cut(name, "://")
	if !ok {
		if name == "" {
			return nil, fmt.Errorf("%w: it is empty", ErrReference)
		}
		return nil, nil
	}
	u, err := url.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("%w %.16s://…: not a URL", ErrReference, scheme) // err quotes all of it
	}
	switch u.Scheme {
	case "https", "azblob", "s3", "gs":
	case "http":
		return nil, fmt.Errorf("%w %s: http:// is not read, https:// is", ErrReference, shown(u))
	default:
		return nil, fmt.Errorf("%w %.16q://…: want a file, -, https://, azblob://, s3:// or gs://", ErrReference, u.Scheme)
	}
	if u.Host == "" || strings.Trim(u.Path, "/") == "" || u.User != nil {
		return nil, fmt.Errorf("%w %s: want %s://HOST-OR-BUCKET/NAME, without a password", ErrReference, shown(u), u.Scheme)
	}
	return u, nil
}

// shown is a URL without its query, where the signature of a SAS stands.
func shown(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

// stream is standard output.
type stream struct{ io.Writer }

func (stream) Commit() error { return nil }
func (stream) Abort() error  { return nil }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
