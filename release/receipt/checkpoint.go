package receipt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// parseCheckpoint reads the note text of c2sp.org/tlog-checkpoint: origin, size,
// root, each on a line. Extension lines are refused: this log writes none.
func parseCheckpoint(text, origin string) (*Checkpoint, error) {
	body, ok := strings.CutSuffix(text, "\n")
	lines := strings.Split(body, "\n")
	if !ok || len(lines) != 3 {
		return nil, errors.New("checkpoint: want exactly origin, size and root lines")
	}
	if lines[0] != origin {
		return nil, fmt.Errorf("checkpoint: origin %q, want %q", lines[0], origin)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return nil, errors.New("checkpoint: malformed size")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return nil, errors.New("checkpoint: malformed root hash")
	}
	return &Checkpoint{Origin: origin, Size: size, Root: tlog.Hash(root)}, nil
}

// Text gives the note text of c.
func (c *Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// Sign makes the signed checkpoint.
//
// While a log key is replaced, both keys sign: a verifier that knows either one is
// content.
func (c *Checkpoint) Sign(signers ...note.Signer) (string, error) {
	b, err := note.Sign(&note.Note{Text: c.Text()}, signers...)
	return string(b), err
}
