package audit

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// filled is a log with n releases, and its copies.
func filled(t *testing.T, n int) (b *bench, lines [][]byte, cp []byte) {
	b = newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	for range n {
		b.append(b.allow(k, m))
	}
	data, cp := b.export()
	return b, bytes.SplitAfter(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")), cp
}

func (b *bench) verify(data, cp []byte) error {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "copy")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		b.t.Fatal(err)
	}
	return VerifyCopy(context.Background(), file, origin, b.vkey, cp)
}

func TestVerifyCopyNamesTheBadEntry(t *testing.T) {
	b, lines, cp := filled(t, 6)
	last := len(lines) - 1
	lines[last] = append(lines[last], '\n')
	join := func(edit func(l [][]byte) [][]byte) []byte {
		return bytes.Join(edit(append([][]byte(nil), lines...)), nil)
	}
	if err := b.verify(join(func(l [][]byte) [][]byte { return l }), cp); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		bad  int64
	}{
		"deleted":         {join(func(l [][]byte) [][]byte { return append(l[:4], l[5:]...) }), 4},
		"repeated":        {join(func(l [][]byte) [][]byte { return append(l[:5], append([][]byte{l[4]}, l[5:]...)...) }), 5},
		"swapped":         {join(func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l }), 3},
		"cut off":         {join(func(l [][]byte) [][]byte { return l[:5] }), 5},
		"half a line":     {join(func(l [][]byte) [][]byte { return append(l[:5], l[5][:20]) }), 5},
		"one too many":    {join(func(l [][]byte) [][]byte { return append(l, l[last]) }), int64(last) + 1},
		"blank line":      {join(func(l [][]byte) [][]byte { return append([][]byte{[]byte("\n")}, l...) }), 0},
		"garbage":         {[]byte("not a log"), 0},
		"zeros":           {make([]byte, 4096), 0},
		"endless line":    {bytes.Repeat([]byte("x"), 1<<20), 0},
		"only line feeds": {[]byte("\n\n\n"), 0},
	} {
		if err := b.verify(c.data, cp); badEntry(err) != c.bad {
			t.Errorf("%s: %v, want entry %d named", name, err, c.bad)
		}
	}
	if err := b.verify(nil, cp); err == nil {
		t.Error("an empty file verifies")
	}
	if err := VerifyCopy(context.Background(), filepath.Join(t.TempDir(), "none"), origin, b.vkey, cp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// TestVerifyCopyRefusesCheckpoints that are not the ones of this log.
func TestVerifyCopyRefusesCheckpoints(t *testing.T) {
	b, lines, cp := filled(t, 3)
	data := append(bytes.Join(lines, nil), '\n')
	signer, _ := logKey(t)
	skey, other, err := note.GenerateKey(strings.NewReader(strings.Repeat("y", 64)), "log.example")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	size := b.log.Size()
	sign := func(c receipt.Checkpoint, s note.Signer) []byte {
		text, err := c.Sign(s)
		if err != nil {
			t.Fatal(err)
		}
		return []byte(text)
	}
	root := b.log.signed.Load().root
	for name, bad := range map[string][]byte{
		"empty":          nil,
		"garbage":        []byte("x"),
		"unsigned":       []byte((&receipt.Checkpoint{Origin: origin, Size: size, Root: root}).Text()),
		"other key":      sign(receipt.Checkpoint{Origin: origin, Size: size, Root: root}, stranger),
		"other origin":   sign(receipt.Checkpoint{Origin: "log.example/x", Size: size, Root: root}, signer),
		"other root":     sign(receipt.Checkpoint{Origin: origin, Size: size}, signer),
		"larger":         sign(receipt.Checkpoint{Origin: origin, Size: size + 1, Root: root}, signer),
		"smaller":        sign(receipt.Checkpoint{Origin: origin, Size: size - 1, Root: root}, signer),
		"cut off":        cp[:len(cp)-5],
		"extension line": bytes.Replace(cp, []byte("\n\n"), []byte("\nx\n\n"), 1),
	} {
		if err := b.verify(data, bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := VerifyCopy(context.Background(), b.path, origin, other, cp); err == nil {
		t.Error("verified under another key of the same name")
	}
}

// TestVerifyDatabase verifies the live store, a backup and edited backups.
func TestVerifyDatabase(t *testing.T) {
	b, _, cp := filled(t, 20)
	ctx := context.Background()
	if err := VerifyCopy(ctx, b.path, origin, b.vkey, cp); err != nil {
		t.Fatalf("live: %v", err)
	}
	k := b.key("more", "1", 1)
	b.append(b.allow(k, b.machine("m2", release.MachineApproved)))
	if err := VerifyCopy(ctx, b.path, origin, b.vkey, cp); err != nil {
		t.Fatalf("live, grown since the checkpoint: %v", err)
	}
	now := []byte(b.log.Checkpoint())
	for name, c := range map[string]struct {
		query string
		bad   int64
	}{
		"nothing":           {`SELECT 1`, -1},
		"leaf":              {`UPDATE log_leaves SET leaf = CAST(replace(CAST(leaf AS TEXT), '"allow"', '"deny"') AS BLOB) WHERE idx = 9`, 9},
		"leaf hash":         {`UPDATE log_hashes SET hash = zeroblob(32) WHERE idx = 0`, 0},
		"inner hash":        {`UPDATE log_hashes SET hash = zeroblob(32) WHERE idx = 2`, 1},
		"leaf deleted":      {`DELETE FROM log_leaves WHERE idx = 11`, 11},
		"tail deleted":      {`DELETE FROM log_leaves WHERE idx > 15`, 16},
		"leaves reordered":  {`UPDATE log_leaves SET idx = CASE idx WHEN 7 THEN -8 WHEN 8 THEN -7 END WHERE idx IN (7, 8)`, 7},
		"checkpoint":        {`UPDATE log_checkpoint SET size = 3`, -1},
		"leaf of no record": {`INSERT INTO log_leaves VALUES (26, 'x')`, 26},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "backup.db")
		if err := b.st.Backup(ctx, file); err != nil {
			t.Fatal(err)
		}
		c2 := &bench{t: t, path: file}
		c2.edit(c.query)
		for _, f := range []string{"-wal", "-shm"} {
			_ = os.Remove(file + f)
		}
		err := VerifyCopy(ctx, file, origin, b.vkey, now)
		if badEntry(err) != c.bad || (name == "nothing") != (err == nil) && name != "checkpoint" {
			t.Errorf("%s: %v, want entry %d", name, err, c.bad)
		}
	}
	half := filepath.Join(t.TempDir(), "half.db")
	if err := b.st.Backup(ctx, half); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(half, 20_000); err != nil {
		t.Fatal(err)
	}
	if err := VerifyCopy(ctx, half, origin, b.vkey, now); err == nil {
		t.Error("half a database verifies")
	}
}

// FuzzReadLine: no bytes but those of an export are read, and none crash.
func FuzzReadLine(f *testing.F) {
	l, _ := encodeLine(line{Index: 3, Leaf: []byte(`{"v":1}`)})
	for _, s := range []string{string(l), "", "\n", "{}\n", `{"index":1,"hash":"","leaf":null}` + "\n", `{"index":1,"index":2}` + "\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var again []byte
		for c, err := range readLines(newLineReader(bytes.NewReader(data))) {
			if err != nil {
				return
			}
			b, err := encodeLine(line{Index: c.Index, Hash: receipt.Digest(c.Hash), Leaf: c.Leaf})
			if err != nil {
				t.Fatal(err)
			}
			again = append(again, b...)
		}
		if !bytes.Equal(again, data) {
			t.Errorf("read %q as %q", data, again)
		}
	})
}

// TestFlippedDatabaseBytes flips bytes anywhere in a backup: what still verifies
// holds the same entries, and nothing panics.
func TestFlippedDatabaseBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("many verifications, one after the other")
	}
	b, _, cp := filled(t, 20)
	ctx := context.Background()
	good := filepath.Join(t.TempDir(), "backup.db")
	if err := b.st.Backup(ctx, good); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	want := b.scratch()
	file := filepath.Join(t.TempDir(), "flipped.db")
	r := rand.New(rand.NewPCG(5, 6))
	found := 0
	for range 150 {
		flipped := bytes.Clone(data)
		flipped[r.IntN(len(data))] ^= byte(1 + r.IntN(255))
		if err := os.WriteFile(file, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if VerifyCopy(ctx, file, origin, b.vkey, cp) != nil {
			found++
			continue
		}
		st, err := sqlite.OpenCopy(ctx, file)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for e, err := range st.AllLeaves(ctx) {
			if err != nil || !bytes.Equal(e.Leaf, want[i]) {
				t.Fatalf("entry %d differs in a copy that verifies", i)
			}
			i++
		}
		_ = st.Close()
	}
	if found == 0 {
		t.Error("no flip was found: the test tests nothing")
	}
}
