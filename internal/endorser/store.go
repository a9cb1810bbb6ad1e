package endorser

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/strict"
)

const (
	suffix   = ".json"
	unborn   = ".new-" // a file that is being written
	maxChain = 64 << 10
)

// store is a folder of documents, one file each. Whoever can write there can delete,
// and can go back to what was genuine once; everything else is found out.
type store struct {
	dir   string
	limit int // of a document, bytes
}

// envelope is the content of a file.
type envelope struct {
	V       int             `json:"v"`
	Kind    attest.NeedKind `json:"kind"`
	ID      string          `json:"id"`
	Data    attest.Bytes    `json:"data"`
	Chain   string          `json:"chain,omitzero"`
	Fetched time.Time       `json:"fetched"`
}

func decodeEnvelope(b []byte, limit int) (attest.Need, *attest.Document, error) {
	var v envelope
	if err := strict.Unmarshal(b, fileLimit(limit), &v); err != nil {
		return attest.Need{}, nil, err
	}
	if v.V != 1 {
		return attest.Need{}, nil, fmt.Errorf("version %d: want 1", v.V)
	}
	doc := &attest.Document{Data: v.Data, Fetched: v.Fetched}
	if v.Chain != "" {
		doc.Chain = []byte(v.Chain)
	}
	return attest.Need{Kind: v.Kind, ID: v.ID}, doc, nil
}

func fileLimit(limit int) int { return limit*4/3 + 2*maxChain }

// fileName has the kind in front, for people, and a hash behind, since IDs hold slashes.
func fileName(need attest.Need) string {
	sum := sha256.Sum256([]byte(string(need.Kind) + "\x00" + need.ID))
	return string(need.Kind) + "-" + hex.EncodeToString(sum[:16]) + suffix
}

// read gives the document of need; fs.ErrNotExist when there is none.
func (s *store) read(need attest.Need) (*attest.Document, error) {
	name := fileName(need)
	got, doc, err := s.open(name)
	if err != nil {
		return nil, err
	}
	if got != need {
		return nil, fmt.Errorf("%s holds another document", name)
	}
	return doc, nil
}

func (s *store) open(name string) (attest.Need, *attest.Document, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_RDONLY|syscall.O_NONBLOCK, 0) // not held up by a pipe
	if err != nil {
		return attest.Need{}, nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return attest.Need{}, nil, errors.Join(fmt.Errorf("%s is no file", name), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(fileLimit(s.limit))+1))
	if err != nil {
		return attest.Need{}, nil, err
	}
	return decodeEnvelope(b, s.limit)
}

// write puts a document in place whole and durable: a reader, and a power cut, see the
// old one or the new one.
func (s *store) write(need attest.Need, doc *attest.Document) error {
	b, err := strict.Marshal(envelope{1, need.Kind, need.ID, doc.Data, string(doc.Chain), doc.Fetched.UTC()})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, unborn)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	// Public documents; the operator who imports may be another user than the broker.
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.dir, fileName(need)))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *store) remove(need attest.Need) { _ = os.Remove(filepath.Join(s.dir, fileName(need))) }

// needs lists what is stored, VCEKs left out. Files that cannot be read, or that hold
// another document than their name says, are in bad.
func (s *store) needs() (out []attest.Need, bad []string, err error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		name := f.Name()
		if !strings.HasSuffix(name, suffix) || isChip(name) || len(out) >= maxOthers {
			continue
		}
		if need, _, err := s.open(name); err != nil || fileName(need) != name {
			bad = append(bad, name)
		} else {
			out = append(out, need)
		}
	}
	return out, bad, nil
}

func isChip(name string) bool { return strings.HasPrefix(name, string(attest.NeedAMDVCEK)+"-") }

// prune removes the oldest VCEKs beyond limit, and what a crash left half written.
func (s *store) prune(limit int, now time.Time) error {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	type aged struct {
		name string
		at   time.Time
	}
	var chips []aged
	for _, f := range files {
		name := f.Name()
		unborn := strings.HasPrefix(name, unborn)
		if !unborn && !isChip(name) {
			continue
		}
		info, err := f.Info()
		switch {
		case err != nil: // gone meanwhile
		case !unborn:
			chips = append(chips, aged{name, info.ModTime()})
		case now.Sub(info.ModTime()) > time.Hour:
			_ = os.Remove(filepath.Join(s.dir, name))
		}
	}
	slices.SortFunc(chips, func(a, b aged) int { return b.at.Compare(a.at) })
	for i := limit; i < len(chips); i++ {
		_ = os.Remove(filepath.Join(s.dir, chips[i].name))
	}
	return nil
}
