// Package simulatetest plays the hardware of a simulation for the time of a test.
package simulatetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/openskr/openskr/internal/simulate"
)

// Play starts hardware in this process and gives its socket. It ends with the test.
func Play(t testing.TB, kind string, seed [simulate.SeedSize]byte, o simulate.Options) (socket string) {
	t.Helper()
	d, err := simulate.New(kind, seed, o)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "hw") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	l, err := simulate.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return socket
}
