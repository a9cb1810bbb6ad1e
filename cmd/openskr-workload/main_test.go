package main

import (
	"os"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/simulate/simulatetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"openskr-workload": anywhere,
		readerName:         main,    // argv[0] of what run starts
		"workload":         subject, // what tests run
	})
}

// anywhere is the program on a machine whose swap may be of any kind.
func anywhere() {
	os.Args = slices.Insert(os.Args, 1, "--allow-swap")
	main()
}

// play starts simulated hardware and gives its socket.
func play(t testing.TB, kind string) (socket string) {
	t.Helper()
	return simulatetest.Play(t, kind, [simulate.SeedSize]byte{1}, simulate.Options{})
}
