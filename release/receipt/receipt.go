// Package receipt is what an outsider needs to check that a decision is in the
// log: the record, its place in the Merkle tree and the signed checkpoint. It
// depends on the standard library and golang.org/x/mod alone, on nothing else of
// this project, so that it can be vendored by an auditor.
//
// Hashing, proofs and checkpoints are those of C2SP tlog-tiles, tlog-checkpoint
// and RFC 6962.
package receipt

import (
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Receipt proves that Leaf is entry Index of the log that Checkpoint commits to.
type Receipt struct {
	Leaf       []byte   `json:"leaf"` // encoded Record
	Index      int64    `json:"index"`
	Path       [][]byte `json:"path"` // inclusion proof, RFC 6962 §2.1.1, 32 bytes each
	Checkpoint string   `json:"checkpoint"`
}

// LeafHash is the RFC 6962 hash of the leaf. It is the aad of an HPKE wrap.
func LeafHash(leaf []byte) [32]byte { return tlog.RecordHash(leaf) }

// Verify checks the checkpoint's signature and origin and the inclusion proof,
// and returns the record. vkey is the log's key in the encoding of package note,
// pinned by the caller and never taken from the log.
func (r *Receipt) Verify(origin, vkey string) (*Record, error) {
	cp, err := OpenCheckpoint([]byte(r.Checkpoint), origin, vkey)
	if err != nil {
		return nil, err
	}
	if r.Index < 0 || r.Index >= cp.Size || len(r.Path) > 64 {
		return nil, errors.New("receipt: index outside the checkpoint's tree")
	}
	proof := make(tlog.RecordProof, len(r.Path))
	for i, h := range r.Path {
		if len(h) != tlog.HashSize {
			return nil, errors.New("receipt: proof hash of wrong size")
		}
		proof[i] = tlog.Hash(h)
	}
	if err := tlog.CheckRecord(proof, cp.Size, cp.Root, r.Index, tlog.RecordHash(r.Leaf)); err != nil {
		return nil, fmt.Errorf("receipt: inclusion proof: %w", err)
	}
	return Decode(r.Leaf)
}

// Checkpoint is the signed state of a log.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
}

// OpenCheckpoint verifies a signed checkpoint against the pinned origin and key.
func OpenCheckpoint(text []byte, origin, vkey string) (*Checkpoint, error) {
	if len(text) > 64<<10 {
		return nil, errors.New("checkpoint: too large")
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: verifier key: %w", err)
	}
	n, err := note.Open(text, note.VerifierList(v))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	for _, s := range n.Sigs { // note is lax about base64: one checkpoint must have one spelling
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return nil, fmt.Errorf("checkpoint: signature: %w", err)
		}
	}
	return parseCheckpoint(n.Text, origin)
}
