package wrap

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
)

// TestRecent: what is kept is what was parsed, what is refused is refused again, and
// there is never more than a bound.
func TestRecent(t *testing.T) {
	made := func() []byte {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return rsaJWK(base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "AQAB")
	}
	good, other := made(), made()
	k := &Recent{}
	w := Wrapper{Recent: k}
	plain := Wrapper{}
	for range 2 {
		for _, b := range [][]byte{good, other} {
			want, err := plain.Check(b, EncRSA256)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := w.Check(b, EncRSA256); err != nil || got != want {
				t.Errorf("%x, %v, want %x", got, err, want)
			}
			if _, err := w.Check(b, EncRSASHA1); err == nil {
				t.Error("SHA-1 is allowed for a recipient that is kept")
			}
		}
		for _, bad := range []string{"", "{}", strings.Replace(string(good), `"kty":"RSA"`, `"kty":"oct"`, 1), string(good) + " x", strings.Repeat(" ", MaxJWK) + string(good)} {
			if _, err := w.Check([]byte(bad), EncRSA256); err == nil {
				t.Errorf("%.40q is taken", bad)
			}
		}
	}
	if len(k.seen) != 2 {
		t.Errorf("%d are kept, want 2", len(k.seen))
	}
	for i := range maxRecent + 1 {
		if _, err := w.Check(append([]byte(strings.Repeat(" ", i+1)), good...), EncRSA256); err != nil {
			t.Fatal(err)
		}
	}
	if len(k.seen) > maxRecent {
		t.Errorf("%d are kept, bound %d", len(k.seen), maxRecent)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := w.Check(other, EncRSA256); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
