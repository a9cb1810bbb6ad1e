package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/simulate/simulatetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"openskr-workload": main,
		readerName:         main,    // argv[0] of what run starts
		"workload":         subject, // what tests run
	})
}

// play starts simulated hardware and gives its socket.
func play(t testing.TB, kind string) (socket string) {
	t.Helper()
	return simulatetest.Play(t, kind, [simulate.SeedSize]byte{1}, simulate.Options{})
}
