package blob

import (
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSourceStalls: the time that a service takes counts, that of what is uploaded does not.
func TestSourceStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		var given atomic.Bool
		s := &source{Reader: r, stalled: time.AfterFunc(stalls, func() { given.Store(true) })}
		go func() {
			time.Sleep(3 * stalls)
			_, _ = w.Write([]byte("x"))
		}()
		if _, err := s.Read(make([]byte, 1)); err != nil || given.Load() {
			t.Fatal(err, given.Load())
		}
		time.Sleep(stalls - time.Second)
		if given.Load() {
			t.Error("given up too soon")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !given.Load() {
			t.Error("a service that takes nothing is waited for")
		}
	})
}

// TestSourceBreaks: the upload is cancelled before it sees an error, and not at the end.
func TestSourceBreaks(t *testing.T) {
	broken := errors.New("broken")
	for _, end := range []error{broken, io.EOF} {
		r, w := io.Pipe()
		w.CloseWithError(end)
		cancelled := false
		s := &source{Reader: r, stalled: time.NewTimer(stalls), broken: func() { cancelled = true }}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, end) || cancelled != (end == broken) { //nolint:errorlint // it is that one
			t.Error(end, err, cancelled)
		}
	}
}
