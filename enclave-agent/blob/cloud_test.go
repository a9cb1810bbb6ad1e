package blob

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGoogleWithoutCredentials: an error, and not a word on standard output, where plain
// text goes.
func TestGoogleWithoutCredentials(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "absent"))
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	stdout := os.Stdout
	os.Stdout = out
	_, err = New(nil, nil).Open(t.Context(), "gs://bucket/name")
	os.Stdout = stdout
	if err == nil || !strings.Contains(err.Error(), "gs://bucket/name") {
		t.Error(err)
	}
	if fi, err := out.Stat(); err != nil || fi.Size() != 0 {
		t.Errorf("%d bytes on standard output, %v", fi.Size(), err)
	}
}

func TestUnknownOption(t *testing.T) {
	for _, name := range []string{"s3://bucket/name?sig=SECRET", "azblob://bucket/name?sig=SECRET"} {
		if _, err := New(nil, nil).Open(t.Context(), name); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFailed(t *testing.T) {
	u := &url.URL{Scheme: "azblob", Host: "c", Path: "/b", RawQuery: "sig=SECRET"}
	err := failed(u, errors.New("Get \"https://a.example/c/b?sv=1&sig=SECRET\": dial\nmore\nlines"))
	if want := "azblob://c/b: Get \"https://a.example/c/b?…\": dial"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if failed(u, nil) != nil {
		t.Error("an error out of nothing")
	}
	if err := failed(u, context.Canceled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
