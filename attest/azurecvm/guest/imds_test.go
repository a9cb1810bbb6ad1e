package guest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/attest/azurecvm/format"
)

// host answers as a metadata service does, one answer after the other.
type host struct {
	answers []answer
	seen    []*http.Request
	bodies  []string
}

type answer struct {
	code int
	body string
	err  error
}

func (h *host) RoundTrip(r *http.Request) (*http.Response, error) {
	a := h.answers[min(len(h.seen), len(h.answers)-1)]
	h.seen = append(h.seen, r)
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	h.bodies = append(h.bodies, string(b))
	if a.err != nil {
		return nil, a.err
	}
	if a.code == 0 { // never
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: a.code, Status: http.StatusText(a.code), Body: io.NopCloser(strings.NewReader(a.body)), Header: http.Header{"Location": {"http://elsewhere/"}}}, nil
}

func asking(h *host) *imds {
	i := newIMDS("")
	i.client.Transport = h
	return i
}

func TestCertificates(t *testing.T) {
	for name, c := range map[string]struct {
		answer answer
		want   []string
	}{
		"both":           {answer{code: 200, body: `{"vcekCert":"A","certificateChain":"B","tcbm":"x","cacheControl":"1"}`}, []string{"A", "B"}},
		"leaf only":      {answer{code: 200, body: `{"vcekCert":"A"}`}, []string{"A"}},
		"none":           {answer{code: 200, body: `{"certificateChain":"B"}`}, nil},
		"no JSON":        {answer{code: 200, body: `<html>`}, nil},
		"too long":       {answer{code: 200, body: `{"vcekCert":"` + strings.Repeat("A", maxAnswer) + `"}`}, nil},
		"a redirect":     {answer{code: 302}, nil},
		"not found":      {answer{code: 404}, nil},
		"cut to nothing": {answer{code: 200}, nil},
	} {
		h := &host{answers: []answer{c.answer}}
		got, err := asking(h).certificates(t.Context())
		if (err == nil) != (c.want != nil) || len(got) != len(c.want) {
			t.Errorf("%s: %v, %v", name, got, err)
			continue
		}
		for i, e := range got {
			if e.Type != "certificate" || string(e.Data) != c.want[i] {
				t.Errorf("%s: endorsement %d is %s %q", name, i, e.Type, e.Data)
			}
		}
		if len(h.seen) != 1 {
			t.Errorf("%s: %d tries", name, len(h.seen))
		}
		r := h.seen[0]
		if r.URL.String() != "http://169.254.169.254/metadata/THIM/amd/certification" || r.Method != http.MethodGet || r.Header.Get("Metadata") != "true" {
			t.Errorf("%s: asked %s %s %v", name, r.Method, r.URL, r.Header)
		}
	}
}

func TestQuote(t *testing.T) {
	report := bytes.Repeat([]byte{0xfe}, 1024)
	for body, want := range map[string]string{
		`{"quote":"cXVvdGU"}`:  "quote",
		`{"quote":"cXVvdGU="}`: "quote", // padded
		`{"quote":""}`:         "",
		`{"quote":"%"}`:        "",
		`{}`:                   "",
		`{"quote":"` + strings.Repeat("A", maxTDQuote*4/3+8) + `"}`: "",
	} {
		h := &host{answers: []answer{{code: 200, body: body}}}
		got, err := asking(h).quote(t.Context(), report)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%.40s: %q, %v", body, got, err)
		}
		var sent struct{ Report string }
		if err := json.Unmarshal([]byte(h.bodies[0]), &sent); err != nil {
			t.Fatal(err)
		}
		if b, err := base64.RawURLEncoding.DecodeString(sent.Report); err != nil || !bytes.Equal(b, report) || h.seen[0].Method != http.MethodPost {
			t.Errorf("sent %q, %v", h.bodies[0], err)
		}
	}
}

// A busy service is asked again, in vain only for a bounded time.
func TestRetry(t *testing.T) {
	fine := answer{code: 200, body: `{"vcekCert":"A"}`}
	for name, c := range map[string]struct {
		answers []answer
		tries   int
		ok      bool
		longest time.Duration
	}{
		"once throttled": {[]answer{{code: 429}, fine}, 2, true, time.Second},
		"starting":       {[]answer{{code: 500}, {code: 410}, {err: errors.New("refused")}, fine}, 4, true, 3 * time.Second},
		"always down":    {[]answer{{code: 503}}, tries, false, 3 * time.Second},
		"never answers":  {[]answer{{}}, tries, false, 25 * time.Second},
		"says no":        {[]answer{{code: 400}, fine}, 1, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &host{answers: c.answers}
				start := time.Now()
				_, err := asking(h).certificates(t.Context())
				if (err == nil) != c.ok || len(h.seen) != c.tries || time.Since(start) > c.longest {
					t.Errorf("%v after %d tries and %v", err, len(h.seen), time.Since(start))
				}
			})
		})
	}
}

func TestRetryEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		h := &host{answers: []answer{{code: 503}}}
		if _, err := asking(h).certificates(ctx); !errors.Is(err, context.DeadlineExceeded) || len(h.seen) != 1 {
			t.Errorf("%v after %d tries", err, len(h.seen))
		}
	})
}

// silent is a metadata service that takes requests and never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// Who has little time does not wait behind who has much.
func TestWaitIsOnesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Machine{imds: newIMDS("")}
		m.imds.client.Transport = silent{}
		ask := func(ctx context.Context) error {
			_, err := m.voucher(ctx, &format.HCL{Kind: format.HCLTDX}, []byte("report"))
			return err
		}
		go func() { _ = ask(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := ask(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// A proxy of the environment would be one more that the host's answer goes through.
func TestNoProxy(t *testing.T) {
	tr, ok := newIMDS("").client.Transport.(*http.Transport)
	if !ok || tr.Proxy != nil {
		t.Error("the metadata service is asked through a proxy")
	}
	if got := newIMDS("http://127.0.0.1:1/").base; got != "http://127.0.0.1:1" {
		t.Errorf("base %s", got)
	}
}
