package blob

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// TestGoogle reads an object and its metadata as from Google's storage, in the way that
// Google's library offers for emulators: nobody is asked for a token.
func TestGoogle(t *testing.T) {
	o := &object{etags: []string{`"1"`}, body: make([]byte, 1<<20)}
	_, _ = rand.Read(o.body)
	mux := http.NewServeMux()
	mux.Handle("/bucket/name", o)
	mux.HandleFunc("/storage/v1/b/bucket/o/name", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"bucket":"bucket","name":"name","etag":"1","generation":"1","size":"%d","metadata":{"encryptiondata":"{}"}}`, len(o.body))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	user := filepath.Join(t.TempDir(), "user.json")
	if err := os.WriteFile(user, []byte(`{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", user)
	t.Setenv("STORAGE_EMULATOR_HOST", server.Listener.Addr().String())
	src, err := New(nil, nil).Open(t.Context(), "gs://bucket/name")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if got, err := io.ReadAll(src); err != nil || !bytes.Equal(got, o.body) || src.Size != int64(len(o.body)) || len(o.asked) < 4 {
		t.Errorf("%d of %d bytes, %v, asked %q", len(got), src.Size, err, o.asked)
	}
	if m, err := src.Metadata(t.Context(), "encryptiondata"); err != nil || string(m) != "{}" {
		t.Errorf("%q, %v", m, err)
	}
}
