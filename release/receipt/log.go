package receipt

import (
	"errors"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"
)

// Copied is one entry of a copy of a log: its leaf and the leaf hash kept with it.
type Copied struct {
	Index int64
	Leaf  []byte
	Hash  tlog.Hash
}

// EntryError names the first entry of a copy that is wrong.
type EntryError struct {
	Index int64
	Err   error
}

func (e *EntryError) Error() string { return fmt.Sprintf("log entry %d: %v", e.Index, e.Err) }

func (e *EntryError) Unwrap() error { return e.Err }

// ErrRoot says that a copy agrees with itself, but is not the log that the
// checkpoint commits to.
var ErrRoot = errors.New("not the log of this checkpoint")

// VerifyLog reads a whole copy of a log, in order, and checks that
//
//   - its entries are numbered 0, 1, … without gap,
//   - each leaf has the hash kept with it and is one record in canonical form,
//   - the first record is the genesis and the only one; deployment and simulation never change,
//   - no record is older than the one before,
//   - each record names the previous one about the same object,
//   - after cp.Size entries the tree has the root of cp, and there are no more.
//
// also holds older checkpoints, whose roots must occur on the way: they prove that
// nothing they commit to was changed since. Memory grows with the number of
// objects, not of entries.
func VerifyLog(entries iter.Seq2[Copied, error], cp *Checkpoint, also ...*Checkpoint) error {
	v := logVerifier{about: map[string]int64{}, marks: append([]*Checkpoint{cp}, also...)}
	for c, err := range entries {
		if err == nil {
			err = v.add(c)
		}
		if err != nil {
			return &EntryError{Index: v.tree.Size(), Err: err}
		}
		if err := v.passMarks(); err != nil {
			return err
		}
	}
	for _, m := range v.marks {
		if m.Size > v.tree.Size() {
			return &EntryError{Index: v.tree.Size(), Err: fmt.Errorf("missing: the copy ends here, the checkpoint has %d entries", m.Size)}
		}
	}
	switch {
	case v.tree.Size() == 0:
		return errors.New("the copy holds no entry")
	case v.tree.Size() != cp.Size:
		return &EntryError{Index: cp.Size, Err: errors.New("not covered by the checkpoint: give a newer one")}
	}
	return nil
}

type logVerifier struct {
	tree  Tree
	first *Record
	last  int64 // time
	about map[string]int64
	marks []*Checkpoint
}

func (v *logVerifier) add(c Copied) error {
	at := v.tree.Size()
	if c.Index != at {
		return fmt.Errorf("entry %d stands in its place", c.Index)
	}
	hash := tlog.RecordHash(c.Leaf)
	if hash != c.Hash {
		return errors.New("leaf and leaf hash do not belong together")
	}
	r, err := Decode(c.Leaf)
	if err != nil {
		return err
	}
	if v.first == nil {
		v.first = r
	}
	switch {
	case (r.Kind == KindGenesis) != (at == 0):
		return fmt.Errorf("kind %q at this place", r.Kind)
	case r.Deployment != v.first.Deployment || r.Simulation != v.first.Simulation:
		return errors.New("record of another deployment")
	case r.Time < v.last:
		return fmt.Errorf("time %d is before that of the entry before, %d", r.Time, v.last)
	case r.ObjectID == "" && r.PrevObject != 0, r.ObjectID != "" && r.PrevObject != v.about[r.ObjectID]:
		return fmt.Errorf("previous record about its object is named as %d, is %d (0: none)", r.PrevObject, v.about[r.ObjectID])
	}
	if r.ObjectID != "" {
		v.about[r.ObjectID] = at + 1
	}
	v.last = r.Time
	_, err = v.tree.Append(hash)
	return err
}

// passMarks compares the root wherever a checkpoint speaks.
func (v *logVerifier) passMarks() error {
	for _, m := range v.marks {
		if m.Size != v.tree.Size() {
			continue
		}
		root, err := v.tree.Root()
		if err != nil {
			return err
		}
		if root != m.Root {
			return fmt.Errorf("%w: root of the first %d entries is %v, the checkpoint has %v", ErrRoot, m.Size, root, m.Root)
		}
	}
	return nil
}
