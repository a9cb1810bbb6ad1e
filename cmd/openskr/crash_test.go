package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/release/receipt"
)

// crashSteps are the named points of a release (release.Broker) and of a commit
// (internal/audit) at which a broker is killed.
var crashSteps = []string{"admitted", "found", "verified", "evaluated", "appended", "opened", "wrapped", "taken", "applied", "signed", "committed"}

// crashRounds is how often the broker is killed: OPENSKR_CRASH_ROUNDS, else 200,
// and 22 in short mode.
func crashRounds(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("OPENSKR_CRASH_ROUNDS")); err == nil {
		return n
	}
	if testing.Short() {
		return 2 * len(crashSteps)
	}
	return 200
}

// TestKill9 kills a broker with 16 releases in flight, at each named step in turn
// and at random times, and joins what clients saw with what the log and the store
// say (I1, I5, I6).
func TestKill9(t *testing.T) {
	// Killed between commit and mark, it starts again; a mark ahead of the log it refused.
	r := bareRig(t, initFlags{highWater: filepath.Join(t.TempDir(), "mark")})
	r.populate(nil)
	var seen transcript
	const clients = 16
	for round := range crashRounds(t) {
		s := servedBroker{}
		if round%2 == 0 {
			// The record that the broker started passes the commit's steps once itself.
			s.Step, s.After = crashSteps[round/2%len(crashSteps)], 1+rand.IntN(24)
		}
		r.start(s)
		r.load(t.Context(), clients, &seen, s.Step == "")
		r.client.CloseIdleConnections()
	}
	leaves, spent := r.stored(t)
	if err := seen.check(&r.trust, leaves, spent); err != nil {
		t.Fatal(err)
	}
	if len(seen.attempts) < clients*3 {
		t.Fatalf("only %d attempts: the load did not run", len(seen.attempts))
	}
	allowed := 0
	for _, a := range seen.attempts {
		if a.status == http.StatusOK {
			allowed++
		}
	}
	if allowed == 0 {
		t.Fatal("not one release succeeded: the check proves nothing")
	}
	if n := interrupted(t, leaves); n != crashRounds(t)-1 {
		t.Errorf("%d starts say that the broker before was killed, want %d", n, crashRounds(t)-1)
	}
	t.Logf("%d rounds, %d attempts, %d released, %d log entries", crashRounds(t), len(seen.attempts), allowed, len(leaves))
	// The log goes on from there, and no nonce works again.
	r.start(servedBroker{})
	replayed := 0
	for _, a := range seen.attempts {
		if a.status == http.StatusOK && replayed < 50 {
			replayed++
			old := *a
			if err := r.send(t.Context(), &old); err != nil || old.status == http.StatusOK {
				t.Fatalf("replay of a release: %d %v", old.status, err)
			}
		}
	}
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatalf("clean stop: %v", err)
	}
}

// interrupted counts the starts after a broker that did not stop.
func interrupted(t *testing.T, leaves [][]byte) (n int) {
	t.Helper()
	for _, leaf := range leaves {
		rec, err := receipt.Decode(leaf)
		if err != nil {
			t.Fatal(err)
		}
		if rec.Operation == "broker/start" && rec.Detail["previous"] == "interrupted" {
			n++
		}
	}
	return n
}

// transcript is what the clients saw.
type transcript struct {
	mu       sync.Mutex
	attempts []*attempt
}

func (s *transcript) add(a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts = append(s.attempts, a)
}

// load keeps clients releases in flight until the broker is gone. When it does
// not kill itself it is killed after a while.
func (r *rig) load(ctx context.Context, clients int, seen *transcript, kill bool) {
	gone := make(chan struct{})
	go func() { _ = r.child.Wait(); close(gone) }()
	after := 10 * time.Second
	if kill {
		after = time.Duration(rand.IntN(120)) * time.Millisecond
	}
	timer := time.AfterFunc(after, func() { _ = r.child.Process.Signal(syscall.SIGKILL) })
	defer timer.Stop()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				a, err := r.prepare(ctx)
				if err != nil {
					return
				}
				err = r.send(ctx, a)
				seen.add(a)
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	<-gone
}

// stored reads the log and the spent nonces of a stopped broker, as an auditor
// would: it verifies the copy against its checkpoint first.
func (r *rig) stored(t *testing.T) (leaves [][]byte, spent func([32]byte) bool) {
	t.Helper()
	path := filepath.Join(r.dir, deployment.Database)
	st, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	state, err := st.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for l, err := range st.AllLeaves(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, l.Leaf)
	}
	hashes := map[[32]byte]bool{}
	for _, leaf := range leaves {
		rec, err := receipt.Decode(leaf)
		if err != nil {
			t.Fatal(err)
		}
		if rec.Nonce == (receipt.Digest{}) {
			continue
		}
		if hashes[rec.Nonce], err = st.NonceSpent(t.Context(), rec.Nonce); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := audit.VerifyCopy(t.Context(), path, r.trust.Log.Origin, r.trust.Log.VKeys[0], []byte(state.Note)); err != nil {
		t.Fatal(err)
	}
	return leaves, func(h [32]byte) bool { return hashes[h] }
}

// check joins the transcript with log and store: every key that a client got is
// covered by an ALLOW record that names its request, nonce, recipient, version
// and policy, at the place its receipt says; no nonce is behind two ALLOWs; every
// recorded nonce is spent.
func (s *transcript) check(trust *receipt.Trust, leaves [][]byte, spent func([32]byte) bool) error {
	records := make([]*receipt.Record, len(leaves))
	used := map[receipt.Digest]int{}
	for i, leaf := range leaves {
		rec, err := receipt.Decode(leaf)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		records[i] = rec
		if rec.Kind != receipt.KindRelease {
			continue
		}
		if rec.Decision == receipt.Allow {
			if first, twice := used[rec.Nonce]; twice {
				return fmt.Errorf("entries %d and %d allow on one nonce", first, i)
			}
			used[rec.Nonce] = i
		}
		if !spent(rec.Nonce) {
			return fmt.Errorf("entry %d: its nonce is not spent", i)
		}
	}
	for i, a := range s.attempts {
		if a.status != http.StatusOK {
			if a.released() {
				return fmt.Errorf("attempt %d: a refusal carries a response", i)
			}
			continue
		}
		if err := a.covered(trust, leaves, records); err != nil {
			return fmt.Errorf("attempt %d: %w", i, err)
		}
	}
	return nil
}

// released says whether an answer has a wrapped key in it, whatever its status.
func (a *attempt) released() bool {
	var body struct{ Response string }
	return json.Unmarshal(a.answer, &body) == nil && body.Response != ""
}

func (a *attempt) covered(trust *receipt.Trust, leaves [][]byte, records []*receipt.Record) error {
	resp, key, err := a.open(trust)
	if err != nil {
		return err
	}
	if len(key) == 0 {
		return errors.New("no key in the answer")
	}
	i := resp.Receipt.Index
	if i >= int64(len(leaves)) || string(leaves[i]) != string(resp.Receipt.Leaf) {
		return fmt.Errorf("released a key, but entry %d of the log is not its record", i)
	}
	rec := records[i]
	switch {
	case rec.Kind != receipt.KindRelease || rec.Decision != receipt.Allow:
		return fmt.Errorf("entry %d does not allow", i)
	case rec.Request != sha256.Sum256(a.body):
		return fmt.Errorf("entry %d is of another request", i)
	case rec.Nonce != sha256.Sum256(a.nonce):
		return fmt.Errorf("entry %d has another nonce", i)
	case rec.Recipient != a.recipient:
		return fmt.Errorf("entry %d has another recipient", i)
	case rec.Policy == (receipt.Digest{}) || rec.Input == (receipt.Digest{}) || rec.Version == "" || rec.Evidence == nil:
		return fmt.Errorf("entry %d is incomplete", i)
	}
	return nil
}

// TestCheckerFails shows that the checker of TestKill9 sees what it is for.
func TestCheckerFails(t *testing.T) {
	r := newRig(t, nil)
	r.start(servedBroker{})
	var seen transcript
	for range 3 {
		a, err := r.prepare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.send(t.Context(), a); err != nil || a.status != http.StatusOK {
			t.Fatalf("%d %s %v", a.status, a.answer, err)
		}
		seen.add(a)
	}
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	leaves, spent := r.stored(t)
	if err := seen.check(&r.trust, leaves, spent); err != nil {
		t.Fatal(err)
	}
	last := len(leaves) - 2 // after it is broker/stop
	for name, seed := range map[string]func() ([][]byte, func([32]byte) bool){
		"lost record":   func() ([][]byte, func([32]byte) bool) { return leaves[:last], spent },
		"unspent nonce": func() ([][]byte, func([32]byte) bool) { return leaves, func([32]byte) bool { return false } },
		"repeated allow": func() ([][]byte, func([32]byte) bool) {
			return append(leaves[:last:last], leaves[last], leaves[last]), spent
		},
		"other record": func() ([][]byte, func([32]byte) bool) {
			return append(leaves[:last:last], leaves[0]), spent
		},
	} {
		l, s := seed()
		if err := seen.check(&r.trust, l, s); err == nil {
			t.Errorf("%s: the checker saw nothing", name)
		}
	}
	seen.attempts[0].status = http.StatusForbidden
	if err := seen.check(&r.trust, leaves, spent); err == nil {
		t.Error("a refusal with a key in it: the checker saw nothing")
	}
}
