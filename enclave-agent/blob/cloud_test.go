package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
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

// object is one of S3. Each answer breaks off, and each look at it has the next ETag.
type object struct {
	mu    sync.Mutex
	body  []byte
	etags []string
	asked []string // Range
}

func (o *object) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w.Header().Set("ETag", o.etags[0])
	w.Header().Set("Content-Length", strconv.Itoa(len(o.body)))
	if r.Method == http.MethodHead {
		o.etags = append(o.etags[1:], o.etags[0])
		return
	}
	o.asked = append(o.asked, r.Header.Get("Range"))
	offset := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &offset); err == nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, len(o.body)-1, len(o.body)))
		w.Header().Set("Content-Length", strconv.Itoa(len(o.body)-offset))
		w.WriteHeader(http.StatusPartialContent)
	}
	end := min(len(o.body), offset+300<<10)
	_, _ = w.Write(o.body[offset:end]) // the client may have gone
	if end < len(o.body) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// TestCloudResumed: what breaks off goes on where it was, unless it is another blob by then.
func TestCloudResumed(t *testing.T) {
	body := make([]byte, 1<<20)
	_, _ = rand.Read(body)
	for name, tt := range map[string]struct {
		etags []string
		want  error
		asked int
	}{
		"the same": {[]string{`"1"`}, nil, 4},
		"changed":  {[]string{`"1"`, `"1"`, `"2"`}, ErrChanged, 2},
	} {
		o := &object{body: body, etags: tt.etags}
		server := httptest.NewServer(o)
		s := New(nil, nil)
		s.wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
		src, err := s.Open(t.Context(), "s3://bucket/name?anonymous=true&region=r&use_path_style=true&endpoint="+url.QueryEscape(server.URL))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(src)
		server.Close()
		if !errors.Is(err, tt.want) || !bytes.Equal(got, body[:len(got)]) || err == nil && len(got) != len(body) || len(o.asked) != tt.asked {
			t.Errorf("%s: %d bytes, %v, asked %q", name, len(got), err, o.asked)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}
