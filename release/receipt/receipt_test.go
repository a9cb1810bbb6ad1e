package receipt

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "log.example/test"

// testLog is a log of n records in memory.
type testLog struct {
	signer note.Signer
	vkey   string
	tree   Tree
	hashes []tlog.Hash
	copied []Copied
}

func newLog(t testing.TB, n int, edit ...func(i int, r *Record)) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(strings.NewReader(strings.Repeat("k", 64)), "log.example")
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{vkey: vkey}
	if l.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	last := map[string]int64{}
	for i := range n {
		r := &Record{V: 1, Deployment: "d", Time: int64(1000 + i/2), Kind: KindChange, ObjectID: []string{"", "a", "b"}[i%3]}
		if i == 0 {
			r.Kind = KindGenesis
		}
		if r.ObjectID != "" {
			r.PrevObject, last[r.ObjectID] = last[r.ObjectID], int64(i)+1
		}
		for _, e := range edit {
			e(i, r)
		}
		leaf, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		stored, err := l.tree.Append(tlog.RecordHash(leaf))
		if err != nil {
			t.Fatal(err)
		}
		l.hashes = append(l.hashes, stored...)
		l.copied = append(l.copied, Copied{Index: int64(i), Leaf: leaf, Hash: tlog.RecordHash(leaf)})
	}
	return l
}

func (l *testLog) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, x := range at {
		if x >= int64(len(l.hashes)) {
			return nil, fmt.Errorf("no hash %d", x)
		}
		out[i] = l.hashes[x]
	}
	return out, nil
}

func (l *testLog) checkpoint(t testing.TB, size int64) *Checkpoint {
	t.Helper()
	root, err := tlog.TreeHash(size, l)
	if err != nil {
		t.Fatal(err)
	}
	return &Checkpoint{Origin: origin, Size: size, Root: root}
}

func (l *testLog) receipt(t testing.TB, index, size int64) *Receipt {
	t.Helper()
	proof, err := tlog.ProveRecord(size, index, l)
	if err != nil {
		t.Fatal(err)
	}
	text, err := l.checkpoint(t, size).Sign(l.signer)
	if err != nil {
		t.Fatal(err)
	}
	r := &Receipt{Leaf: l.copied[index].Leaf, Index: index, Checkpoint: text}
	for i := range proof {
		r.Path = append(r.Path, proof[i][:])
	}
	return r
}

func (l *testLog) entries(copied []Copied) func(func(Copied, error) bool) {
	return func(yield func(Copied, error) bool) {
		for _, c := range copied {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// TestTree compares the edge with tlog at every size, loaded and grown.
func TestTree(t *testing.T) {
	l := newLog(t, 70)
	var grown Tree
	for size := int64(0); size <= 70; size++ {
		want, err := tlog.TreeHash(size, l)
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := LoadTree(size, l)
		if err != nil {
			t.Fatal(err)
		}
		for name, tree := range map[string]*Tree{"grown": &grown, "loaded": loaded} {
			if got, err := tree.Root(); err != nil || got != want || tree.Size() != size {
				t.Fatalf("%s tree of %d: %v, %v; want %v", name, size, got, err, want)
			}
			if len(tree.Edge()) != len(loaded.Edge()) {
				t.Fatalf("%s tree of %d has %d nodes", name, size, len(tree.Edge()))
			}
		}
		if size < 70 {
			if _, err := grown.Append(l.copied[size].Hash); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := LoadTree(71, l); err == nil {
		t.Error("loaded a tree without its hashes")
	}
}

// TestReceiptEveryBit alters every part of a receipt.
func TestReceiptEveryBit(t *testing.T) {
	l := newLog(t, 11)
	for i := range int64(11) {
		if rec, err := l.receipt(t, i, 11).Verify(origin, l.vkey); err != nil || rec.V != 1 {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	refused := func(name string, edit func(*Receipt)) {
		t.Helper()
		r := l.receipt(t, 4, 11)
		edit(r)
		if _, err := r.Verify(origin, l.vkey); err == nil {
			t.Errorf("%s: verifies", name)
		}
	}
	good := l.receipt(t, 4, 11)
	for i := range good.Leaf {
		refused(fmt.Sprint("leaf byte ", i), func(r *Receipt) { r.Leaf = bytes.Clone(r.Leaf); r.Leaf[i] ^= 1 })
	}
	for i := range good.Path {
		refused(fmt.Sprint("path ", i), func(r *Receipt) { r.Path[i] = bytes.Clone(r.Path[i]); r.Path[i][31] ^= 1 })
		refused(fmt.Sprint("short path ", i), func(r *Receipt) { r.Path[i] = r.Path[i][:31] })
	}
	for i := range good.Checkpoint {
		refused(fmt.Sprint("checkpoint byte ", i), func(r *Receipt) {
			b := []byte(r.Checkpoint)
			b[i] ^= 1
			r.Checkpoint = string(b)
		})
	}
	refused("index", func(r *Receipt) { r.Index = 5 })
	refused("index below", func(r *Receipt) { r.Index = -1 })
	refused("index beyond", func(r *Receipt) { r.Index = 11 })
	refused("path cut", func(r *Receipt) { r.Path = r.Path[1:] })
	refused("path longer", func(r *Receipt) { r.Path = append(r.Path, make([]byte, 32)) })
	refused("endless path", func(r *Receipt) { r.Path = make([][]byte, 1000) })
	refused("no checkpoint", func(r *Receipt) { r.Checkpoint = "" })
	refused("another entry's leaf", func(r *Receipt) { r.Leaf = l.copied[5].Leaf })
	refused("huge checkpoint", func(r *Receipt) { r.Checkpoint += strings.Repeat("— x AAAAAAAA\n", 10_000) })
	if _, err := good.Verify("log.example/other", l.vkey); err == nil {
		t.Error("verifies for another origin")
	}
	if _, err := good.Verify(origin, "log.example+00000000+AAAA"); err == nil {
		t.Error("verifies under a broken key")
	}
}

func TestVerifyLog(t *testing.T) {
	l := newLog(t, 12)
	all := l.checkpoint(t, 12)
	if err := VerifyLog(l.entries(l.copied), all, l.checkpoint(t, 1), l.checkpoint(t, 7)); err != nil {
		t.Fatal(err)
	}
	forked := l.checkpoint(t, 7)
	forked.Root[0] ^= 1
	for name, err := range map[string]error{
		"root":               VerifyLog(l.entries(l.copied), &Checkpoint{Origin: origin, Size: 12}),
		"older root":         VerifyLog(l.entries(l.copied), all, forked),
		"empty":              VerifyLog(l.entries(nil), &Checkpoint{Origin: origin}),
		"short":              VerifyLog(l.entries(l.copied[:7]), l.checkpoint(t, 7), all),
		"more than covered":  VerifyLog(l.entries(l.copied), l.checkpoint(t, 7)),
		"fewer than covered": VerifyLog(l.entries(l.copied[:7]), all),
	} {
		if err == nil {
			t.Errorf("%s: verifies", name)
		}
	}
	for i := range l.copied {
		var e *EntryError
		bad := append([]Copied(nil), l.copied...)
		bad[i].Hash[3] ^= 1
		if err := VerifyLog(l.entries(bad), all); !errors.As(err, &e) || e.Index != int64(i) {
			t.Errorf("hash of entry %d: %v", i, err)
		}
	}
	if err := VerifyLog(l.entries(l.copied), &Checkpoint{Origin: origin, Size: 12}); !errors.Is(err, ErrRoot) {
		t.Errorf("%v, want %v", err, ErrRoot)
	}
}

// TestVerifyLogReadsRecords has a dishonest broker sign a log whose records
// contradict each other.
func TestVerifyLogReadsRecords(t *testing.T) {
	for name, edit := range map[string]func(*Record){
		"time goes back":       func(r *Record) { r.Time = 1 },
		"second genesis":       func(r *Record) { r.Kind = KindGenesis },
		"other deployment":     func(r *Record) { r.Deployment = "x" },
		"simulation":           func(r *Record) { r.Simulation = true },
		"object chain":         func(r *Record) { r.PrevObject-- },
		"object chain missing": func(r *Record) { r.PrevObject = 0 },
		"version":              func(r *Record) { r.V = 2 },
	} {
		l := newLog(t, 12, func(i int, r *Record) {
			if i == 8 {
				edit(r)
			}
		})
		var e *EntryError
		if err := VerifyLog(l.entries(l.copied), l.checkpoint(t, 12)); !errors.As(err, &e) || e.Index != 8 {
			t.Errorf("%s: %v, want entry 8 named", name, err)
		}
	}
	l := newLog(t, 3, func(i int, r *Record) { r.Kind = KindChange })
	if err := VerifyLog(l.entries(l.copied), l.checkpoint(t, 3)); err == nil {
		t.Error("a log without genesis verifies")
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range newLog(f, 4).copied {
		f.Add(c.Leaf)
	}
	f.Add([]byte(`{"v":1,"V":1}`))
	f.Add([]byte(`{"v":1,"deployment":"\u2028\u001b","time":0,"kind":"change"}`))
	f.Fuzz(func(t *testing.T, leaf []byte) {
		r, err := Decode(leaf)
		if err != nil {
			return
		}
		if again, err := r.Encode(); err != nil || !bytes.Equal(again, leaf) {
			t.Errorf("%q has a second form %q (%v)", leaf, again, err)
		}
		if bytes.ContainsAny(leaf, "\n\r\x1b\x00") {
			t.Errorf("control characters in %q", leaf)
		}
	})
}

func FuzzDigest(f *testing.F) {
	f.Add([]byte(strings.Repeat("0a", 32)))
	f.Add([]byte(strings.Repeat("0A", 32)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Digest
		if err := d.UnmarshalText(b); err == nil && !strings.EqualFold(d.String(), string(b)) {
			t.Errorf("%q read as %v", b, d)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	l := newLog(f, 5)
	good := l.receipt(f, 1, 5).Checkpoint
	f.Add(good)
	f.Add("")
	f.Add(strings.Replace(good, "\n5\n", "\n05\n", 1))
	f.Fuzz(func(t *testing.T, text string) {
		cp, err := OpenCheckpoint([]byte(text), origin, l.vkey)
		if err == nil && !strings.HasPrefix(text, cp.Text()) {
			t.Errorf("%q read as %q", text, cp.Text())
		}
	})
}
