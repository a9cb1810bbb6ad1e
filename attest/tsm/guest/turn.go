package guest

import (
	"context"
	"fmt"
	"time"
)

const (
	firstWait = 50 * time.Millisecond // before a busy host is asked again
	maxWait   = 2 * time.Second
)

// Turn lets one request at a time into the kernel.
type Turn struct {
	free chan struct{} // holds one token
}

// NewTurn is nobody's turn yet.
func NewTurn() *Turn {
	t := &Turn{make(chan struct{}, 1)}
	t.free <- struct{}{}
	return t
}

// End waits for a request under way. No other begins afterwards.
func (t *Turn) End() { <-t.free }

// Ask calls ask in its turn, and again while its error is busy, until ctx ends. A call
// that hangs in the kernel, which knows no context, is left behind then and keeps the
// turn until it is back.
func Ask[A any](ctx context.Context, t *Turn, busy func(error) bool, ask func() (A, error)) (a A, err error) {
	select {
	case <-t.free:
	case <-ctx.Done():
		return a, context.Cause(ctx)
	}
	type answer struct {
		a   A
		err error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { t.free <- struct{}{} }()
		a, err := again(ctx, busy, ask)
		done <- answer{a, err}
	}()
	select {
	case got := <-done:
		return got.a, got.err
	case <-ctx.Done():
		return a, context.Cause(ctx)
	}
}

func again[A any](ctx context.Context, busy func(error) bool, ask func() (A, error)) (A, error) {
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		a, err := ask()
		if err == nil || !busy(err) {
			return a, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return a, fmt.Errorf("%w; the host was busy: %w", context.Cause(ctx), err)
		}
	}
}
