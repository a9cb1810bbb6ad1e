package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/release/receipt"
)

// line is one entry of an exported log: JSON Lines, members in this order
// (docs/audit-record.md).
type line struct {
	Index int64           `json:"index"`
	Hash  receipt.Digest  `json:"hash"`
	Leaf  json.RawMessage `json:"leaf"`
}

// maxLine bounds a line: the largest leaf and what stands around it.
const maxLine = maxLeaf + 256

// Export writes the entries of the log as a copy that VerifyCopy reads, and gives
// the checkpoint that covers exactly those.
func (l *Log) Export(ctx context.Context, w io.Writer) (checkpoint string, err error) {
	s := l.signed.Load()
	return s.note, exportLeaves(w, l.cfg.Store.Leaves(ctx, 0, s.size))
}

func exportLeaves(w io.Writer, leaves iter.Seq2[store.Leaf, error]) error {
	out := bufio.NewWriter(w)
	for e, err := range leaves {
		if err != nil {
			return err
		}
		b, err := encodeLine(line{Index: e.Index, Hash: receipt.Digest(tlog.RecordHash(e.Leaf)), Leaf: e.Leaf})
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
		if _, err := out.Write(b); err != nil {
			return err
		}
	}
	return out.Flush()
}

// encodeLine keeps the bytes of the leaf as they are.
func encodeLine(l line) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(l)
	return b.Bytes(), err
}

// VerifyCopy verifies a copy of a log without a broker, configuration or secret:
// path is an exported file (Export) or the database itself or a backup of it.
// checkpoint is one that the caller kept, vkey the log's key that the caller
// pinned; neither is taken from the copy. It must cover the whole of an exported
// file. A database may have grown since: its own checkpoint then covers the rest,
// and checkpoint must be one of its past. The first bad entry is named by a
// [receipt.EntryError].
func VerifyCopy(ctx context.Context, path, origin, vkey string, checkpoint []byte) error {
	cp, err := receipt.OpenCheckpoint(checkpoint, origin, vkey)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := newLineReader(f)
	if head, _ := r.Peek(len(sqlite.Magic)); string(head) == sqlite.Magic { // a short file has no magic
		return verifyDatabase(ctx, path, origin, vkey, cp)
	}
	return receipt.VerifyLog(readLines(r), cp)
}

func newLineReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, maxLine) }

func readLines(r *bufio.Reader) iter.Seq2[receipt.Copied, error] {
	return func(yield func(receipt.Copied, error) bool) {
		for {
			c, err := readLine(r)
			if errors.Is(err, io.EOF) || !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// readLine accepts only the exact bytes that Export writes, so that every byte of
// a copy is checked. io.EOF: the end, after a whole line.
func readLine(r *bufio.Reader) (receipt.Copied, error) {
	b, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF) && len(b) == 0:
		return receipt.Copied{}, io.EOF
	case errors.Is(err, io.EOF):
		return receipt.Copied{}, errors.New("the line is cut off")
	case errors.Is(err, bufio.ErrBufferFull):
		return receipt.Copied{}, fmt.Errorf("line longer than %d bytes", maxLine)
	case err != nil:
		return receipt.Copied{}, err
	}
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return receipt.Copied{}, fmt.Errorf("not an exported entry: %w", err)
	}
	again, err := encodeLine(l)
	if err != nil {
		return receipt.Copied{}, err
	}
	if !bytes.Equal(again, b) {
		return receipt.Copied{}, errors.New("not in the form that an export has")
	}
	return receipt.Copied{Index: l.Index, Leaf: bytes.Clone(l.Leaf), Hash: tlog.Hash(l.Hash)}, nil
}

func verifyDatabase(ctx context.Context, path, origin, vkey string, cp *receipt.Checkpoint) error {
	st, err := sqlite.OpenCopy(ctx, path)
	if err != nil {
		return err
	}
	defer st.Close()
	state, err := st.State(ctx)
	if err != nil {
		return fmt.Errorf("checkpoint of the copy: %w", err)
	}
	own, err := receipt.OpenCheckpoint([]byte(state.Note), origin, vkey)
	if err != nil {
		return fmt.Errorf("of the copy: %w", err)
	}
	return receipt.VerifyLog(databaseEntries(ctx, st), own, cp)
}

// databaseEntries compares every stored hash of the tree on the way, so that an
// entry is named also when its leaf hash was made to fit.
func databaseEntries(ctx context.Context, st *store.Store) iter.Seq2[receipt.Copied, error] {
	return func(yield func(receipt.Copied, error) bool) {
		var tree receipt.Tree
		hashes := st.Hashes(ctx)
		for e, err := range st.AllLeaves(ctx) {
			if err == nil && e.Index == tree.Size() {
				err = appendStored(&tree, e.Leaf, hashes)
			}
			if !yield(receipt.Copied{Index: e.Index, Leaf: e.Leaf, Hash: tlog.RecordHash(e.Leaf)}, err) {
				return
			}
		}
	}
}
