package receipt

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is the right edge of a log's Merkle tree (RFC 6962 §2.1): the complete
// subtrees that its root is made of. It is all that appending and signing need,
// and grows with the logarithm of the log. The zero value is the empty tree.
type Tree struct {
	size int64
	edge [63]tlog.Hash // edge[l]: node (l, size>>l - 1), when bit l of size is set
}

// LoadTree reads the edge of a tree of that size from stored hashes. Nothing is
// verified: compare Root with a signed checkpoint.
func LoadTree(size int64, r tlog.HashReader) (*Tree, error) {
	t := &Tree{size: size}
	var levels []int
	var at []int64
	for l := range t.edge {
		if size>>l&1 == 1 {
			levels, at = append(levels, l), append(at, tlog.StoredHashIndex(l, size>>l-1))
		}
	}
	if len(at) == 0 {
		return t, nil
	}
	hashes, err := r.ReadHashes(at)
	if err != nil {
		return nil, err
	}
	for i, l := range levels {
		t.edge[l] = hashes[i]
	}
	return t, nil
}

// Size is the number of entries.
func (t *Tree) Size() int64 { return t.size }

// Append adds the hash of one leaf and gives the hashes that become stored, from
// index StoredHashCount(size) on.
func (t *Tree) Append(leaf tlog.Hash) ([]tlog.Hash, error) {
	stored, err := tlog.StoredHashesForRecordHash(t.size, leaf, t)
	if err != nil {
		return nil, err
	}
	copy(t.edge[:], stored) // node (l, …) for every level this entry completes
	t.size++
	return stored, nil
}

// Root is the hash of the whole tree.
func (t *Tree) Root() (tlog.Hash, error) { return tlog.TreeHash(t.size, t) }

// Edge gives the nodes of the edge by stored index.
func (t *Tree) Edge() map[int64]tlog.Hash {
	out := make(map[int64]tlog.Hash)
	for l, h := range t.edge {
		if t.size>>l&1 == 1 {
			out[tlog.StoredHashIndex(l, t.size>>l-1)] = h
		}
	}
	return out
}

// ReadHashes implements [tlog.HashReader] for the nodes of the edge.
func (t *Tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		l, n := tlog.SplitStoredHashIndex(x)
		if t.size>>l&1 == 0 || n != t.size>>l-1 {
			return nil, fmt.Errorf("hash %d is not on the edge of a tree of %d", x, t.size)
		}
		out[i] = t.edge[l]
	}
	return out, nil
}
