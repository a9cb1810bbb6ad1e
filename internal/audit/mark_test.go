package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// marking gives the log a high-water mark beside its folder.
func (b *bench) marking(c *Config) { c.Mark = b.mark() }

func (b *bench) mark() string { return filepath.Dir(filepath.Dir(b.path)) + "/high-water" }

// files are those of the store, as a copy of its folder has them.
func (b *bench) files() map[string][]byte {
	b.t.Helper()
	out := map[string][]byte{}
	entries, err := os.ReadDir(filepath.Dir(b.path))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(filepath.Dir(b.path), e.Name())); err != nil {
			b.t.Fatal(err)
		}
	}
	return out
}

// putBack makes the folder of the store hold those files and no others.
func (b *bench) putBack(files map[string][]byte) {
	b.t.Helper()
	dir := filepath.Dir(b.path)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		b.t.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
}

// some appends n records of their own commits.
func (b *bench) some(n int) {
	b.t.Helper()
	for range n {
		if _, err := b.log.Change(context.Background(), &release.Record{Operation: "test"}, func(Tx, int64) error { return nil }); err != nil {
			b.t.Fatal(err)
		}
	}
}

// marked is a log of 9 entries under a mark, stopped, its files as of 5 entries, and
// the state it had then.
func marked(t *testing.T) (b *bench, then map[string][]byte, at store.State) {
	b = newBench(t)
	b.some(4)
	var err error
	if at, err = b.st.State(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.close()
	then = b.files()
	if err := WriteMark(b.mark(), at.Note); err != nil {
		t.Fatal(err)
	}
	b.open(b.marking)
	b.some(4)
	b.close()
	return b, then, at
}

func signedNote(t *testing.T, name, origin string, size int64) string {
	t.Helper()
	skey, _, err := note.GenerateKey(strings.NewReader(strings.Repeat("y", 64)), name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := (&receipt.Checkpoint{Origin: origin, Size: size}).Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestMark (ST-11, AU-05): a store that as a whole is not what it was is not opened.
func TestMark(t *testing.T) {
	write := func(text string) func(*bench, map[string][]byte, store.State) {
		return func(b *bench, _ map[string][]byte, _ store.State) {
			if err := os.WriteFile(b.mark(), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	fork := func(n int) func(*bench, map[string][]byte, store.State) {
		return func(b *bench, then map[string][]byte, _ store.State) {
			b.putBack(then)
			b.now.Add(1000)
			b.open() // somewhere else, without the mark
			b.some(n)
			b.close()
		}
	}
	for name, c := range map[string]struct {
		attack func(b *bench, then map[string][]byte, at store.State)
		want   MarkState
		says   []string
	}{
		"nothing": {func(*bench, map[string][]byte, store.State) {}, MarkGood, nil},
		"yesterday's store put back": {
			func(b *bench, then map[string][]byte, _ store.State) { b.putBack(then) },
			MarkBehind,
			[]string{"5 entries", "had 9"},
		},
		"the last 4 entries cut off": {func(b *bench, _ map[string][]byte, at store.State) {
			b.edit(`DELETE FROM log_leaves WHERE idx >= ?`, at.Size)
			b.edit(`DELETE FROM log_hashes WHERE idx >= ?`, tlog.StoredHashIndex(0, at.Size))
			b.edit(`UPDATE log_checkpoint SET size = ?, prior = ?, note = ?`, at.Size, at.Prior, at.Note)
		}, MarkBehind, []string{"5 entries", "had 9"}},
		"a fork of the same size": {fork(4), MarkForked, []string{"9 entries", "first 9"}},
		"a longer fork":           {fork(40), MarkForked, []string{"45 entries", "first 9"}},
		"no mark": {func(b *bench, _ map[string][]byte, _ store.State) {
			if err := os.Remove(b.mark()); err != nil {
				t.Fatal(err)
			}
		}, MarkMissing, []string{"9 entries", "openskr log accept"}},
		"an empty mark":                {write(""), MarkUnreadable, []string{"9 entries"}},
		"garbage":                      {write(strings.Repeat("\x00", 4096)), MarkUnreadable, nil},
		"a huge mark":                  {write(strings.Repeat("x", maxMark+1)), MarkUnreadable, nil},
		"of the same log by other key": {write(signedNote(t, "log.example", origin, 9)), MarkUnreadable, nil},
		"of another log":               {write(signedNote(t, "log.example", "log.example/other", 9)), MarkForeign, []string{"another log"}},
		"an older one, as a killed broker leaves it": {
			func(b *bench, _ map[string][]byte, at store.State) { write(at.Note)(b, nil, at) },
			MarkGood, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, then, at := marked(t)
			c.attack(b, then, at)
			err := b.tryOpen(b.marking)
			if c.want == MarkGood {
				if err != nil {
					t.Fatal(err)
				}
				b.some(1)
				b.close()
				b.wantMark(b.log.Checkpoint())
				return
			}
			if release.ReasonOf(err) != release.ReasonRollback {
				t.Fatalf("opened: %v", err)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			b.open() // without the mark nothing is found: the attack is one
			if j, err := b.log.JudgeMark(t.Context(), b.mark()); j.State != c.want || err == nil {
				t.Errorf("state %s, %v, want %s", j.State, err, c.want)
			}
		})
	}
}

func (b *bench) wantMark(checkpoint string) {
	b.t.Helper()
	if text, err := os.ReadFile(b.mark()); err != nil || string(text) != checkpoint {
		b.t.Errorf("the mark is %q, %v, want %q", text, err, checkpoint)
	}
}

// TestMarkOfAnEditedPast: a fork, into whose hashes those were put that the mark is
// compared with. They must lead to the root that the log has now, too.
func TestMarkOfAnEditedPast(t *testing.T) {
	b := newBench(t)
	b.some(2)
	b.close()
	then := b.files()
	b.open()
	b.some(2)
	if err := WriteMark(b.mark(), b.log.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	edge := []int64{tlog.StoredHashIndex(2, 0), tlog.StoredHashIndex(0, 4)} // of 5 entries
	hashes, err := b.st.Hashes(t.Context()).ReadHashes(edge)
	if err != nil {
		t.Fatal(err)
	}
	b.close()
	b.putBack(then)
	b.now.Add(1000)
	b.open()
	b.some(6)
	b.close()
	for i, h := range hashes {
		b.edit(`UPDATE log_hashes SET hash = ? WHERE idx = ?`, h[:], edge[i])
	}
	b.open() // nothing is found without the mark
	b.close()
	if err := b.tryOpen(b.marking); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("opened: %v", err)
	}
}

// TestMarkOfAReplacedKey: between announcing and retiring both keys sign.
func TestMarkOfAReplacedKey(t *testing.T) {
	b, _, _ := marked(t)
	skey, vkey, err := note.GenerateKey(strings.NewReader(strings.Repeat("z", 64)), "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	b.open(b.marking, func(c *Config) { c.Signers, c.VKeys = append(c.Signers, signer), append(c.VKeys, vkey) })
	b.some(1)
	b.close()
	b.open(b.marking, func(c *Config) { c.Signers, c.VKeys = []note.Signer{signer}, []string{vkey} })
}

// TestPutBackWhileRunning: what a broker has seen it does not go back behind.
func TestPutBackWhileRunning(t *testing.T) {
	b := newBench(t)
	b.some(3)
	at, err := b.st.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.some(3)
	b.edit(`DELETE FROM log_leaves WHERE idx >= ?`, at.Size)
	b.edit(`DELETE FROM log_hashes WHERE idx >= ?`, tlog.StoredHashIndex(0, at.Size))
	b.edit(`UPDATE log_checkpoint SET size = ?, prior = ?, note = ?`, at.Size, at.Prior, at.Note)
	var reasons []release.Reason
	for range 3 {
		_, err := b.log.Change(context.Background(), &release.Record{}, func(Tx, int64) error { return nil })
		reasons = append(reasons, release.ReasonOf(err))
	}
	if reasons[1] != release.ReasonRollback || reasons[2] != release.ReasonRollback || reasons[0] == "" {
		t.Errorf("appended to a log that was put back: %v", reasons)
	}
}

// FuzzMark: what is taken for a mark is a checkpoint of this log by its key.
func FuzzMark(f *testing.F) {
	signer, vkey := logKey(f)
	good, err := (&receipt.Checkpoint{Origin: origin, Size: 7, Root: tlog.Hash{1}}).Sign(signer)
	if err != nil {
		f.Fatal(err)
	}
	empty, err := (&receipt.Checkpoint{Origin: origin}).Sign(signer)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{good, empty, good[:len(good)-4], good + good, "", origin + "\n7\n", strings.Replace(good, "7", strconv.Itoa(1<<62), 1)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cp, err := parseMark(data, origin, []string{vkey})
		if err == nil && (cp.Size != 7 || cp.Root != tlog.Hash{1} || cp.Origin != origin || !strings.HasPrefix(string(data), good[:strings.Index(good, "—")])) {
			t.Errorf("read %q as %+v", data, cp)
		}
		_ = foreign(data, origin)
	})
}
