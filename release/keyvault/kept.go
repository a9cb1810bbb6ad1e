package keyvault

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/openskr/openskr/attest/verified"
)

// Rows that were read and found genuine are remembered, sealed as they are, until the
// store says that one of them was written. What gives something away is judged again
// inside its append, from the database.
const (
	keptRows  = 1024
	keptPages = 64
	keptBytes = 16 << 10 // of the largest row that is remembered
)

// believed are rows and the mark of the store from before they were read.
type believed struct {
	mark int64
	rows []*Row
}

// keeper remembers rows by what was asked for.
type keeper struct{ rows, pages *verified.Cache[believed] }

func newKeeper() keeper {
	return keeper{verified.NewCache[believed](keptRows), verified.NewCache[believed](keptPages)}
}

// remembered gives rows that were kept under the same mark, or reads and checks them.
// The rows are shared: nobody changes one.
func remembered(c *verified.Cache[believed], key [32]byte, mark int64, read func() ([]*Row, error)) ([]*Row, error) {
	if k, ok := c.Get(key, time.Time{}); ok && k.mark == mark {
		return k.rows, nil
	}
	rows, err := read()
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if len(r.Policy.Data)+len(r.Public)+len(r.Sealed) > keptBytes {
			return rows, nil
		}
	}
	c.Put(key, believed{mark, rows}, time.Time{}, time.Time{})
	return rows, nil
}

func rowKey(vault string, c Collection, name, version string) [32]byte {
	return verified.Key([]byte(vault), []byte(c), []byte(FoldName(name)), []byte(version))
}

func pageKey(vault string, c Collection, after string, limit int) [32]byte {
	return verified.Key([]byte(vault), []byte(c), []byte(FoldName(after)), binary.BigEndian.AppendUint64(nil, uint64(limit)))
}

// FoldName gives the spelling under which names that are the same compare equal: ASCII
// letters in lower case, as the store does.
func FoldName(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}
