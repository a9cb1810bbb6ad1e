package keyvault

import (
	"bytes"
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
)

// TestContent: what a broker of another version may have sealed, and this one does not take.
func TestContent(t *testing.T) {
	policy := release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: []byte("package release")}
	policy.Digest = [32]byte{1} // not its own
	id := strings.Repeat("ab", 16)
	b := func(edit func(*backup)) *backup {
		out := &backup{header: header{V: 1, Vault: "default", Collection: Keys, Name: "k", ObjectID: id, Versions: 2}}
		for seq := range int64(2) {
			out.versions = append(out.versions, saved{
				&Row{Version: strings.Repeat("0", 31) + string('1'+rune(seq)), Seq: seq + 1, Generation: 1, Kty: KtyOct, Size: 128}, make([]byte, 16),
			})
		}
		edit(out)
		return out
	}
	same := func(c []byte) []byte { return c }
	for name, c := range map[string]struct {
		edit    func(*backup)
		content func([]byte) []byte
		good    bool
	}{
		"good":            {func(*backup) {}, same, true},
		"one byte more":   {func(*backup) {}, func(c []byte) []byte { return append(c, 0) }, false},
		"one byte less":   {func(*backup) {}, func(c []byte) []byte { return c[:len(c)-1] }, false},
		"nothing":         {func(*backup) {}, func([]byte) []byte { return nil }, false},
		"unknown member":  {func(*backup) {}, func(c []byte) []byte { return bytes.Replace(c, []byte(`"policies"`), []byte(`"policiez"`), 1) }, false},
		"another count":   {func(b *backup) { b.header.Versions = 3 }, same, false},
		"name":            {func(b *backup) { b.header.Name = "../k" }, same, false},
		"object id":       {func(b *backup) { b.header.ObjectID = "x" }, same, false},
		"order":           {func(b *backup) { b.versions[0].row.Seq = 2 }, same, false},
		"version":         {func(b *backup) { b.versions[1].row.Version = "latest" }, same, false},
		"generation":      {func(b *backup) { b.versions[1].row.Generation = 0 }, same, false},
		"key as secret":   {func(b *backup) { b.header.Collection = Secrets }, same, false},
		"foreign policy":  {func(b *backup) { b.versions[1].row.Policy = policy }, same, false},
		"without version": {func(b *backup) { b.versions, b.header.Versions = nil, 0 }, same, false},
	} {
		made := b(c.edit)
		content, err := made.content()
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseContent(made.header, c.content(content))
		if (err == nil) != c.good || err != nil && release.ReasonOf(err) != release.ReasonBackupInvalid {
			t.Errorf("%s: %v", name, err)
		}
		if c.good && (len(got.versions) != 2 || got.latest().Seq != 2) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
