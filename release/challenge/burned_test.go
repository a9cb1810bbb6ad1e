package challenge

import (
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/release"
)

// TestBurnedMemory: bounded, full means overloaded, and time makes room again.
func TestBurnedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const held = 8
		i, _ := newIssuer(t, func(c *Config) { c.MaxHeld = held })
		first := issue(t, i)
		want(t, "first", begin(t, i, first), "")
		time.Sleep(DefaultTTL / 2)
		for range held - 1 {
			want(t, "room", begin(t, i, issue(t, i)), "")
		}
		n := issue(t, i)
		want(t, "full", begin(t, i, n), release.ReasonOverloaded)
		want(t, "full, and a replay is one", begin(t, i, first), release.ReasonNonceReplayed)
		_, err := i.Begin(t.Context(), n, disk)
		var e *release.Error
		if !errors.As(err, &e) || e.Retry < 1 {
			t.Errorf("no Retry-After: %v", err)
		}
		time.Sleep(2 * (DefaultTTL + 2*Skew))
		want(t, "room again", begin(t, i, issue(t, i)), "")
		if len(i.burned.young)+len(i.burned.former) != 1 {
			t.Errorf("%d nonces remembered after they expired", len(i.burned.young)+len(i.burned.former))
		}
	})
}

// TestBurnedLastsAsLongAsTheNonce: at every moment of its life, across the
// generations of the memory, a presented nonce is a replay.
func TestBurnedLastsAsLongAsTheNonce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, _ := newIssuer(t, nil)
		for range 40 {
			n := issue(t, i)
			want(t, "first", begin(t, i, n), "")
			for age := time.Duration(0); age < DefaultTTL; age += 7 * time.Second {
				want(t, "again after "+age.String(), begin(t, i, n), release.ReasonNonceReplayed)
				time.Sleep(7 * time.Second)
			}
			time.Sleep(3 * time.Second) // 129 s a round: the change of generation falls ever elsewhere
		}
	})
}

// TestIssueKeepsNothing is FR-16: a million challenges that nobody uses leave no memory
// and no row behind. TestUnusedChallenges of cmd/openskr asks a broker for some thousand.
func TestIssueKeepsNothing(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 10_000
	}
	i, l := newIssuer(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		issue(t, i)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := int64(after.HeapInuse) - int64(before.HeapInuse); kept > 1<<20 {
		t.Errorf("%d bytes kept of %d challenges", kept, n)
	}
	if i.burned.young != nil || l.reads != 0 {
		t.Error("issuing left something behind")
	}
}

// TestHoard: nonces collected for hours and presented at once cost no memory.
func TestHoard(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	i, _ := newIssuer(t, func(c *Config) { c.MaxHeld, c.Now = 4, func() time.Time { return now } })
	var hoard [][]byte
	for range 100 {
		hoard = append(hoard, issue(t, i))
	}
	now = now.Add(time.Hour)
	for _, n := range hoard {
		want(t, "hoarded", begin(t, i, n), release.ReasonNonceExpired)
	}
	want(t, "fresh", begin(t, i, issue(t, i)), "")
}
