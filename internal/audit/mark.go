package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// The high-water mark is the last checkpoint that the log signed, in a file on another
// disk than the store. Who puts back the whole store, with its own checkpoint, cannot
// put that back as well (docs/operations.md).

// MarkState is how a log stands to its high-water mark.
type MarkState string

// States of a mark.
const (
	MarkGood       MarkState = "good"       // the log goes on from it
	MarkBehind     MarkState = "behind"     // the log has fewer entries
	MarkForked     MarkState = "forked"     // the log has other ones
	MarkMissing    MarkState = "missing"    // there is no file
	MarkUnreadable MarkState = "unreadable" // it is not a checkpoint that this log signed
	MarkForeign    MarkState = "foreign"    // it is one of another log
)

// MarkJudgement is what was found.
type MarkJudgement struct {
	State  MarkState
	Size   int64     // entries of the log
	Marked int64     // and under the mark, 0: unknown
	Root   tlog.Hash // of the mark
}

// maxMark bounds the file, in bytes. A checkpoint with two signatures has 400.
const maxMark = 64 << 10

// parseMark reads a mark that one of the log's keys signed.
func parseMark(text []byte, origin string, vkeys []string) (*receipt.Checkpoint, error) {
	if len(text) > maxMark {
		return nil, fmt.Errorf("it has more than %d bytes", maxMark)
	}
	var all error
	for _, vkey := range vkeys {
		cp, err := receipt.OpenCheckpoint(text, origin, vkey)
		switch {
		case err != nil:
			all = errors.Join(all, err)
		case cp.Size < 1:
			return nil, errors.New("it is of an empty log")
		default:
			return cp, nil
		}
	}
	return nil, all
}

// foreign says whether text is a checkpoint of another log, as far as can be told
// without its key.
func foreign(text []byte, origin string) bool {
	name, _, _ := bytes.Cut(text, []byte("\n"))
	return string(name) != origin && bytes.Contains(text, []byte("\n\n— "))
}

// JudgeMark compares the log with the mark in the file at path. The error says
// rollback_detected in every state but [MarkGood].
func (l *Log) JudgeMark(ctx context.Context, path string) (j MarkJudgement, err error) {
	j.Size = l.Size()
	text, err := readMark(path)
	if errors.Is(err, fs.ErrNotExist) {
		j.State = MarkMissing
		return j, rollback("the log has %d entries, and nothing says how many it had: there is no high-water mark %s", j.Size, path)
	}
	var cp *receipt.Checkpoint
	if err == nil {
		cp, err = parseMark(text, l.cfg.Origin, l.cfg.VKeys)
	}
	switch {
	case err != nil && foreign(text, l.cfg.Origin):
		j.State = MarkForeign
		return j, rollback("the high-water mark %s is of another log, of which this one (%d entries) knows nothing: name the right file", path, j.Size)
	case err != nil:
		j.State = MarkUnreadable
		return j, rollback("the high-water mark %s proves nothing about this log of %d entries: %w", path, j.Size, err)
	}
	j.Marked, j.Root = cp.Size, cp.Root
	if j.State, err = l.follows(ctx, l.signed.Load(), cp.Size, cp.Root); err != nil {
		err = fmt.Errorf("high-water mark %s: %w", path, err)
	}
	return j, err
}

// follows says whether the log s goes on from the one of that size and root, by the
// stored hashes, which are proven to be those of s first.
func (l *Log) follows(ctx context.Context, s *signed, size int64, root tlog.Hash) (MarkState, error) {
	if s.size < size {
		return MarkBehind, rollback("the log has %d entries and had %d: the store was put back to an older state", s.size, size)
	}
	have, err := l.rootAt(ctx, s, size)
	if err != nil {
		return "", err
	}
	if have != root {
		return MarkForked, rollback("the log has %d entries, and its first %d are not those it had: the store is another, or was put back and went on", s.size, size)
	}
	return MarkGood, nil
}

func rollback(format string, args ...any) error {
	return release.Refuse(release.ReasonRollback, "%w. Put the newest store back; if there is none, see docs/operations.md and run `openskr log accept`",
		fmt.Errorf(format, args...))
}

func readMark(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return io.ReadAll(io.LimitReader(f, maxMark+1))
}

// WriteMark puts a checkpoint in the file at path, which a power cut leaves as it was
// or as it shall be. The checkpoint must be of a durable commit.
func WriteMark(path, checkpoint string) (err error) {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("high-water mark: %w; its folder must be there and writable: is its disk mounted?", err)
	}
	_, err = io.WriteString(f, checkpoint)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("high-water mark: %w", err), os.Remove(tmp))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("high-water mark: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}
