package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openskr/openskr/internal/simulate"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"openskr-workload": main,
		readerName:         main,    // argv[0] of what run starts
		"workload":         subject, // what tests run
	})
}

// play starts simulated hardware and gives its socket.
func play(t testing.TB, kind string) (socket string, err error) {
	d, err := simulate.New(kind, [simulate.SeedSize]byte{1}, simulate.Options{})
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "hw") // a script's folder may be too long for a socket
	if err != nil {
		return "", err
	}
	socket = filepath.Join(dir, "s")
	l, err := simulate.Listen(socket)
	if err != nil {
		return "", err
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
	return socket, nil
}
