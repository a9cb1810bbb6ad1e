package audit

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// scratch builds the tree of the stored leaves anew and compares everything with
// it: checkpoint, every stored hash, numbering. It gives the leaves.
func (b *bench) scratch() [][]byte {
	b.t.Helper()
	ctx := context.Background()
	var all []tlog.Hash
	read := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, x := range at {
			out[i] = all[x]
		}
		return out, nil
	})
	var leaves [][]byte
	for e, err := range b.st.AllLeaves(ctx) {
		if err != nil {
			b.t.Fatal(err)
		}
		if e.Index != int64(len(leaves)) {
			b.t.Fatalf("entry %d where %d is due", e.Index, len(leaves))
		}
		made, err := tlog.StoredHashes(e.Index, e.Leaf, read)
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, made...)
		leaves = append(leaves, e.Leaf)
	}
	for i, want := range all {
		got, err := b.st.Hashes(ctx).ReadHashes([]int64{int64(i)})
		if err != nil || got[0] != want {
			b.t.Fatalf("stored hash %d is %v (%v), want %v", i, got, err, want)
		}
	}
	root, err := tlog.TreeHash(int64(len(leaves)), read)
	if err != nil {
		b.t.Fatal(err)
	}
	state, err := b.st.State(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	cp, err := receipt.OpenCheckpoint([]byte(state.Note), origin, b.vkey)
	if err != nil {
		b.t.Fatal(err)
	}
	if cp.Size != int64(len(leaves)) || cp.Root != root {
		b.t.Fatalf("checkpoint of %d entries, root %v; the tree has %d, %v", cp.Size, cp.Root, len(leaves), root)
	}
	return leaves
}

// TestTreeIsTheOneOfTlog appends in bursts of every size, opening again now and
// then, and compares with the tree built from nothing.
func TestTreeIsTheOneOfTlog(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxBatch = 7 })
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 25 {
		var wg sync.WaitGroup
		for range 1 + r.IntN(20) {
			e := b.allow(k, m)
			wg.Go(func() {
				c, err := b.log.Append(context.Background(), e)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := c.Receipt.Verify(origin, b.vkey); err != nil {
					t.Errorf("receipt %d: %v", c.Receipt.Index, err)
				}
			})
		}
		wg.Wait()
		if round%8 == 0 {
			b.close()
			b.open()
		}
		b.scratch()
	}
}

func TestProofsOfEverySize(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	for range 20 {
		b.append(b.allow(k, m))
	}
	ctx := context.Background()
	for size := int64(1); size <= b.log.Size(); size++ {
		for i := range size {
			rc, err := b.log.Prove(ctx, i, size)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rc.Verify(origin, b.vkey); err != nil {
				t.Fatalf("entry %d of %d: %v", i, size, err)
			}
		}
		proof, err := b.log.Consistency(ctx, size, b.log.Size())
		if err != nil {
			t.Fatal(err)
		}
		root, _, err := b.log.checkpointAt(ctx, b.log.signed.Load(), size)
		if err != nil {
			t.Fatal(err)
		}
		now := b.log.signed.Load()
		if err := tlog.CheckTree(proof, now.size, now.root, size, root); err != nil {
			t.Fatalf("consistency from %d: %v", size, err)
		}
	}
	for _, c := range [][2]int64{{-1, 0}, {b.log.Size(), 0}, {3, 3}, {0, b.log.Size() + 1}} {
		if _, err := b.log.Prove(ctx, c[0], c[1]); release.ReasonOf(err) != release.ReasonNotFound {
			t.Errorf("entry %d of %d: %v", c[0], c[1], err)
		}
	}
	if got, err := b.log.Entries(ctx, 5, 3); err != nil || len(got) != 3 || got[0].Index != 5 {
		t.Errorf("entries: %v, %v", got, err)
	}
}
