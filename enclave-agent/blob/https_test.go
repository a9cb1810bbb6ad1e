package blob

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// flaky serves one blob and breaks answers off.
type flaky struct {
	mu       sync.Mutex
	body     []byte
	etag     string
	each     int // bytes before an answer breaks off, 0: never
	hang     bool
	status   []int // of the first answers
	asked    []string
	onAnswer func(f *flaky)
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, ".encryptiondata") {
		http.NotFound(w, r)
		return
	}
	f.asked = append(f.asked, r.Header.Get("Range"))
	if f.onAnswer != nil {
		f.onAnswer(f)
	}
	if len(f.status) > 0 {
		w.WriteHeader(f.status[0])
		f.status = f.status[1:]
		return
	}
	w.Header().Set("ETag", f.etag)
	offset := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &offset); err == nil {
		if r.Header.Get("If-Match") != f.etag {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, len(f.body)-1, len(f.body)))
		w.Header().Set("Content-Length", strconv.Itoa(len(f.body)-offset))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(f.body)))
	}
	end := len(f.body)
	if f.each > 0 {
		end = min(end, offset+f.each)
	}
	_, _ = w.Write(f.body[offset:end]) // the client may have gone
	if end < len(f.body) {
		_ = http.NewResponseController(w).Flush()
		if f.hang {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
}

// trusting is the transport as it is, but for whose certificates it trusts.
func trusting(t *testing.T, server *httptest.Server) http.RoundTripper {
	t.Helper()
	tr, ok := newTransport().(*http.Transport)
	if !ok {
		t.Fatal("another transport")
	}
	tr.TLSClientConfig.RootCAs = x509.NewCertPool()
	tr.TLSClientConfig.RootCAs.AddCert(server.Certificate())
	return tr
}

// read serves h and reads the blob from it.
func read(t *testing.T, h http.Handler) (got []byte, pauses int, err error) {
	t.Helper()
	server := httptest.NewTLSServer(h)
	defer server.Close()
	s := New(nil, nil)
	s.transport = trusting(t, server)
	if f, ok := h.(*flaky); ok && f.hang {
		s.stall = 300 * time.Millisecond
	}
	s.wait = func(ctx context.Context, d time.Duration) error {
		if d <= 0 || d > 20*time.Second {
			t.Errorf("a pause of %v", d)
		}
		pauses++
		return ctx.Err()
	}
	src, err := s.Open(t.Context(), server.URL+"/blob?sig=SECRET")
	if err != nil {
		return nil, pauses, err
	}
	defer src.Close()
	got, err = io.ReadAll(src)
	return got, pauses, err
}

func TestResumed(t *testing.T) {
	body := make([]byte, 1<<20)
	_, _ = rand.Read(body)
	for name, f := range map[string]*flaky{
		"whole":             {},
		"broken off":        {each: 300 << 10},
		"hangs":             {each: 600 << 10, hang: true},
		"busy at the start": {status: []int{503, 429, 500}},
		"broken often":      {each: 50 << 10},
	} {
		f.body, f.etag = body, `"v1"`
		got, pauses, err := read(t, f)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if !f.hang && pauses != len(f.asked)-1 {
			t.Errorf("%s: %d pauses, asked %q", name, pauses, f.asked)
		}
	}
	if got, _, err := read(t, &flaky{}); err != nil || len(got) != 0 {
		t.Errorf("empty: %v", err)
	}
}

func TestNotResumed(t *testing.T) {
	changes := func(f *flaky) {
		if len(f.asked) == 2 {
			f.etag = `"v2"`
		}
	}
	for name, c := range map[string]struct {
		f     *flaky
		asked int
		want  string
	}{
		"changed":     {&flaky{etag: `"v1"`, each: 1000, onAnswer: changes}, 2, ErrChanged.Error()},
		"no ETag":     {&flaky{each: 1000}, 1, "no ETag"},
		"weak ETag":   {&flaky{etag: `W/"v1"`, each: 1000}, 1, "no ETag"},
		"not found":   {&flaky{status: []int{404}}, 1, "404"},
		"always busy": {&flaky{status: []int{503, 503, 503, 503, 503, 503, 503}}, attempts, "503"},
		"redirected":  {&flaky{status: []int{302}}, 1, "302"},
	} {
		c.f.body = make([]byte, 5000)
		_, _, err := read(t, c.f)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
		if len(c.f.asked) != c.asked {
			t.Errorf("%s: asked %d times: %q", name, len(c.f.asked), c.f.asked)
		}
	}
	_, _, err := read(t, (&flaky{etag: `"v1"`, each: 1000, onAnswer: changes, body: make([]byte, 5000)}))
	if !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
}

// TestOtherPart: a server that ignores the range must not have its first bytes taken
// for later ones.
func TestOtherPart(t *testing.T) {
	first := true
	_, _, err := read(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", "1000")
		if !first {
			w.Header().Set("Content-Range", "bytes 0-999/1000")
			w.WriteHeader(http.StatusPartialContent)
		}
		first = false
		_, _ = w.Write(make([]byte, 500))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	if err == nil || !strings.Contains(err.Error(), "another part") {
		t.Error(err)
	}
}

// TestOtherBlob: a server that does not know If-Match goes on with another blob.
func TestOtherBlob(t *testing.T) {
	versions := []string{`"v1"`, `"v2"`}
	_, _, err := read(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", versions[0])
		w.Header().Set("Content-Length", "1000")
		if versions = versions[1:]; len(versions) == 0 {
			w.Header().Set("Content-Range", "bytes 500-1499/1500")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 1000))
			return
		}
		_, _ = w.Write(make([]byte, 500))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	if !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
}

// TestRedirect: to HTTPS alone, and what is there does not learn the address.
func TestRedirect(t *testing.T) {
	var referer string
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		referer = r.Referer()
		_, _ = io.WriteString(w, "there")
	}))
	defer other.Close()
	to := other.URL
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) })
	if got, _, err := read(t, h); err != nil || string(got) != "there" || referer != "" {
		t.Errorf("%q, Referer %q, %v", got, referer, err)
	}
	to = strings.Replace(other.URL, "https:", "http:", 1)
	if _, _, err := read(t, h); err == nil || !strings.Contains(err.Error(), "not https://") {
		t.Errorf("to http://: %v", err)
	}
	loop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
	if _, _, err := read(t, loop); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("in a circle: %v", err)
	}
}

// TestLongerPart: a later answer adds nothing to a blob of a known size.
func TestLongerPart(t *testing.T) {
	got, _, err := read(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", "bytes 4-99/100")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 96))
			return
		}
		w.Header().Set("Content-Length", "10")
		_, _ = w.Write(make([]byte, 4))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	if err != nil || len(got) != 10 {
		t.Errorf("%d bytes, want 10: %v", len(got), err)
	}
}

// TestNotDecompressed: what comes is what is stored, so that a server makes no more of it.
func TestNotDecompressed(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(make([]byte, 1<<20)); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	got, _, err := read(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if offered := r.Header.Get("Accept-Encoding"); offered != "" {
			t.Errorf("it takes %s", offered)
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}))
	if err != nil || !bytes.Equal(got, packed.Bytes()) {
		t.Errorf("%d bytes of %d, %v", len(got), packed.Len(), err)
	}
}

func TestMetadataOfHTTPS(t *testing.T) {
	for name, c := range map[string]struct {
		header, beside string
		status         int
		want           string
		bad            bool
	}{
		"header":     {header: "{}", beside: "other", want: "{}"},
		"beside":     {beside: "[]", want: "[]"},
		"none":       {status: 404},
		"not for us": {status: 403},
		"broken":     {status: 500, bad: true},
		"too long":   {beside: strings.Repeat(" ", MaxMetadata+1), bad: true},
	} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/dir/blob" {
				if c.header != "" {
					w.Header().Set("x-ms-meta-encryptiondata", c.header)
				}
				return
			}
			if r.URL.Path != "/dir/blob.encryptiondata" || r.URL.RawQuery != "sig=S" {
				t.Errorf("%s asked for", r.URL)
			}
			if c.status != 0 {
				w.WriteHeader(c.status)
			}
			_, _ = io.WriteString(w, c.beside)
		}))
		s := New(nil, nil)
		s.transport = trusting(t, server)
		src, err := s.Open(t.Context(), server.URL+"/dir/blob?sig=S")
		if err != nil {
			t.Fatal(err)
		}
		got, err := src.Metadata(t.Context(), "encryptiondata")
		if (err != nil) != c.bad || !c.bad && c.status == 0 && string(got) != c.want || c.status != 0 && got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		_ = src.Close()
		server.Close()
	}
}

// TestUntrusted: a certificate that the system does not know.
func TestUntrusted(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	server.Config.ErrorLog = nil
	s := New(nil, nil)
	s.wait = func(context.Context, time.Duration) error { return nil }
	_, err := s.Open(t.Context(), server.URL+"/blob?sig=SECRET")
	if err == nil || strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}
