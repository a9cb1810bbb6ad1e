package jose

import (
	"crypto/ecdsa"
	"crypto/sha1" //nolint:gosec // a name
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"

	jwxkey "github.com/lestrrat-go/jwx/v2/jwk"
)

// Every spelling that MSAL's libraries send reads as the same hash.
func TestThumbprints(t *testing.T) {
	short, long := sha1.Sum([]byte("certificate\x01")), sha256.Sum256([]byte("certificate\x01"))
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		head := `{"alg":"RS256","typ":"JWT","x5t":"` + enc.EncodeToString(short[:]) + `","x5t#S256":"` + enc.EncodeToString(long[:]) + `"}`
		f, err := SplitForeign(b64.EncodeToString([]byte(head))+".e30.AA", MaxToken)
		if err != nil {
			t.Fatal(err)
		}
		s, l, err := f.Thumbprints()
		if err != nil || [20]byte(s) != short || [32]byte(l) != long {
			t.Errorf("%s: %x %x, %v", head, s, l, err)
		}
	}
	for _, head := range []string{`{"alg":"RS256","x5t":"AAAA"}`, `{"alg":"RS256","x5t":1}`, `{"alg":"RS256","x5t#S256":"?"}`, `{"alg":"RS256","x5t":null}`} {
		f, err := SplitForeign(b64.EncodeToString([]byte(head))+".e30.AA", MaxToken)
		if err != nil {
			t.Fatal(err)
		}
		if s, l, err := f.Thumbprints(); err == nil {
			t.Errorf("%s: %x %x", head, s, l)
		}
	}
}

// The published keys of access tokens are what another implementation reads.
func TestPublishTokenKeys(t *testing.T) {
	a, b := newKey(t), newKey(t)
	keys, err := NewKeys(&a.PublicKey, &b.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	set, err := keys.Publish()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := jwxkey.Parse(doc)
	if err != nil || theirs.Len() != 2 {
		t.Fatalf("%s: %v", doc, err)
	}
	for kid, want := range keys {
		k, ok := theirs.LookupKeyID(kid)
		if !ok {
			t.Fatalf("no key %s", kid)
		}
		var pub ecdsa.PublicKey
		if err := k.Raw(&pub); err != nil || !pub.Equal(want) {
			t.Errorf("%s: another key (%v)", kid, err)
		}
	}
}
