// Package reference keeps reference values: what the measurements of a good
// machine are. Each is an entry of a named set, an object of its own whose every
// change is a log record in the same transaction. What is in force is what release
// policies read as data.references; how to use it is docs/references.md.
package reference

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
)

// Limits.
const (
	MaxBatch   = 256     // entries of one Add
	MaxEntries = 100_000 // of all sets together, also those that have ended
	maxLabel   = 128     // characters
	maxValue   = 4 << 10 // bytes of an object's value
)

// Forever is the `until` that policies see of an entry without an end: the last
// second of the year 9999. A policy can compare it like any other.
const Forever = 253402300799

var setName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// Entry is one reference value. Times are Unix seconds.
type Entry struct {
	Kind  string `json:"kind"`
	Value string `json:"value"` // lower-case hex; of a command line its text
	Label string `json:"label"` // for people, at most 128 characters
	From  int64  `json:"from"`  // in force from this second on; 0: from the start
	Until int64  `json:"until"` // and before this one; 0: without end
}

// Kept is an entry as it is kept: who reads it also sees when it was changed.
type Kept struct {
	Entry
	Created    int64 `json:"created"` // Unix seconds
	Updated    int64 `json:"updated"`
	Generation int64 `json:"generation"`
	Index      int64 `json:"index"` // of the record of the last change
}

// At says whether e is in force at that time.
func (e *Entry) At(unix int64) bool { return !e.staged(unix) && !e.ended(unix) }

func (e *Entry) staged(unix int64) bool { return unix < e.From }
func (e *Entry) ended(unix int64) bool  { return e.Until != 0 && unix >= e.Until }

// State of an entry at a time: "staged", "active" or "retired".
func (e *Entry) State(unix int64) string {
	switch {
	case e.ended(unix):
		return "retired"
	case e.staged(unix):
		return "staged"
	}
	return "active"
}

// Check refuses an entry that could match nothing or mislead a reader.
func (e *Entry) Check() error {
	if e.Kind == kindCommandLine {
		if e.Value == "" || len(e.Value) > maxText || strings.ContainsFunc(e.Value, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) {
			return bad("%s: want 1 to %d bytes of printable text", e.Kind, maxText)
		}
		return e.checkRest()
	}
	want := sizes(e.Kind)
	switch {
	case want == nil:
		return bad("kind %.32q: want one of %s", e.Kind, strings.Join(Kinds(), ", "))
	case !slices.Contains(want, len(e.Value)/2) || len(e.Value)%2 != 0:
		return bad("%s: a value of %d characters: want hex of %s bytes", e.Kind, len(e.Value), sizeText(want))
	case strings.Trim(e.Value, "0123456789abcdef") != "":
		return bad("%s %.16s…: want lower-case hex digits only", e.Kind, strconv.QuoteToASCII(e.Value))
	}
	return e.checkRest()
}

// checkRest checks label and times.
func (e *Entry) checkRest() error {
	switch {
	case utf8.RuneCountInString(e.Label) > maxLabel || strings.ContainsFunc(e.Label, func(r rune) bool { return !unicode.IsPrint(r) }):
		return bad("%s %.16s…: a label has at most %d printable characters", e.Kind, e.Value, maxLabel)
	case e.From < 0 || e.Until < 0 || e.From > Forever || e.Until > Forever:
		return bad("%s %.16s…: times are Unix seconds up to the year 9999", e.Kind, e.Value)
	case e.Until != 0 && e.Until <= e.From:
		return bad("%s %.16s…: until must be after from", e.Kind, e.Value)
	}
	return nil
}

func sizeText(sizes []int) string {
	out := make([]string, len(sizes))
	for i, n := range sizes {
		out[i] = strconv.Itoa(n)
	}
	return strings.Join(out, " or ")
}

func bad(format string, args ...any) error {
	return release.Refuse(release.ReasonBadRequest, format, args...)
}

// CheckSet refuses a name that is no set's. In Rego it stands in data.references.NAME.
func CheckSet(name string) error {
	if !setName.MatchString(name) {
		return bad("set %.64q: want %s", name, setName)
	}
	return nil
}

// key orders the entries of a set.
func (e *Entry) key() string { return e.Kind + "/" + e.Value }

// detail is what the record says of e: digests of what somebody wrote.
func (e *Entry) detail() map[string]string {
	d := map[string]string{"kind": e.Kind, "value": digest(e.Value)}
	if e.Label != "" {
		d["label"] = digest(e.Label)
	}
	if e.From != 0 {
		d["from"] = strconv.FormatInt(e.From, 10)
	}
	if e.Until != 0 {
		d["until"] = strconv.FormatInt(e.Until, 10)
	}
	return d
}

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// document is the value of an object; set, kind and value are its name.
type document struct {
	Label   string `json:"label"`
	From    int64  `json:"from"`
	Until   int64  `json:"until"`
	Created int64  `json:"created"`
	Updated int64  `json:"updated"`
}

func (k *Kept) encode() ([]byte, error) {
	return strict.Marshal(document{k.Label, k.From, k.Until, k.Created, k.Updated})
}

func decode(o *release.Object) (set string, k *Kept, err error) {
	set, rest, _ := strings.Cut(o.Name, "/")
	kind, value, _ := strings.Cut(rest, "/")
	var d document
	if err := strict.Unmarshal(o.Value, maxValue, &d); err != nil {
		return "", nil, release.Refuse(release.ReasonIntegrity, "reference %s: %w", o.Name, err)
	}
	k = &Kept{
		Entry:   Entry{Kind: kind, Value: value, Label: d.Label, From: d.From, Until: d.Until},
		Created: d.Created, Updated: d.Updated, Generation: o.Generation, Index: o.Index,
	}
	return set, k, nil
}

// Moment reads an RFC 3339 time or a date, which is its first second in UTC.
func Moment(s string) (int64, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.DateOnly, s)
	}
	if err != nil || t.Unix() <= 0 || t.Unix() > Forever {
		return 0, bad("%.32q: want a date like 2027-01-31 or a time like 2027-01-31T08:00:00Z", s)
	}
	return t.Unix(), nil
}
