package main

import (
	"crypto/sha256"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/internal/store/sqlite"
)

// TestUnusedChallenges is FR-16 on a served broker: who asks for challenges and uses none
// fills neither its memory nor its store. The million is TestIssueKeepsNothing's.
func TestUnusedChallenges(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of requests")
	}
	const n = 4000
	r := bareRig(t, initFlags{})
	made, _ := r.stored(t)
	r.start(servedBroker{})
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	idle, _ := r.stored(t) // with the records of a run
	r.start(servedBroker{})
	nonces := make([]binding.Challenge, n)
	ask := func(i int) error {
		_, err := r.post(t.Context(), "/v1/challenge", binding.ChallengeRequest{Purpose: binding.PurposeRelease, Key: r.url + "/keys/disk"}, &nonces[i])
		return err
	}
	r.parallel(8, n/4, ask) // what a server that runs has
	resident := r.resident()
	r.parallel(8, n, ask)
	if grown := r.resident() - resident; grown > 50 {
		t.Errorf("%d challenges: %.0f MB more", n, grown)
	}
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if after, _ := r.stored(t); len(after)-len(idle) != len(idle)-len(made) {
		t.Errorf("%d records of a run, %d of one with challenges", len(idle)-len(made), len(after)-len(idle))
	}
	st, err := sqlite.Open(t.Context(), filepath.Join(r.dir, deployment.Database), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, c := range nonces {
		if spent, err := st.NonceSpent(t.Context(), sha256.Sum256(c.Nonce)); spent || err != nil {
			t.Fatal("a challenge that nobody used has a row", err)
		}
	}
}
