package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// attempts is how often a source is opened again without a byte having come since.
const attempts = 6

// errStalled is why a reader is given up that gives nothing.
var errStalled = errors.New("nothing came for a minute")

// permanent is an error that another attempt would not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// resumed reads a blob that may break off.
type resumed struct {
	name string // for errors
	ctx  context.Context
	// open reads from an offset on; what it reads ends with its context.
	open  func(ctx context.Context, offset int64) (io.ReadCloser, error)
	size  int64 // -1: not known, the end is where it ends
	stall time.Duration
	wait  func(context.Context, time.Duration) error

	body   io.ReadCloser
	cancel context.CancelCauseFunc // of body
	offset int64
	failed int // attempts since the last byte
	closed bool
}

// Read implements [io.Reader].
func (r *resumed) Read(p []byte) (int, error) {
	if r.size >= 0 {
		if r.offset >= r.size {
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), r.size-r.offset)] // whatever a later answer adds
	}
	for {
		n, err := r.attempt(p)
		if n > 0 {
			r.failed, r.offset = 0, r.offset+int64(n)
			return n, nil // an error comes back on the next call
		}
		if err == nil || errors.Is(err, io.EOF) && r.size < 0 {
			return 0, err
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		r.drop(err)
		var final permanent
		if r.failed++; errors.As(err, &final) || r.failed >= attempts || r.ctx.Err() != nil {
			return 0, fmt.Errorf("%s: at byte %d: %w", r.name, r.offset, err)
		}
		// 0.2 s, doubled each time.
		if err := r.wait(r.ctx, 100*time.Millisecond<<r.failed); err != nil {
			return 0, err
		}
	}
}

// attempt reads once, with the body that there is or a new one.
func (r *resumed) attempt(p []byte) (int, error) {
	if r.closed {
		return 0, permanent{io.ErrClosedPipe}
	}
	if r.body == nil {
		if err := r.start(); err != nil {
			return 0, err
		}
	}
	cancel := r.cancel
	watch := time.AfterFunc(r.stall, func() { cancel(errStalled) })
	defer watch.Stop()
	return r.body.Read(p)
}

func (r *resumed) start() (err error) {
	var ctx context.Context
	ctx, r.cancel = context.WithCancelCause(r.ctx)
	cancel := r.cancel
	watch := time.AfterFunc(r.stall, func() { cancel(errStalled) })
	defer watch.Stop()
	if r.body, err = r.open(ctx, r.offset); err != nil {
		r.body = nil
		r.cancel(err)
		if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
			return cause
		}
	}
	return err
}

// drop gives the body up.
func (r *resumed) drop(why error) {
	if r.body != nil {
		r.cancel(why)
		_ = r.body.Close() // it is broken
		r.body = nil
	}
}

// Close implements [io.Closer].
func (r *resumed) Close() error {
	r.drop(io.ErrClosedPipe)
	r.closed = true
	return nil
}
