package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/enclave-agent/agenttest"
)

// answer makes the broker answer path with a handler of the test.
func answer(b *broker, path string, h http.HandlerFunc) {
	b.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		h(w, r)
		return true
	}
}

func TestAnswersRefused(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, nil)
	asJSON := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		path  string
		h     http.HandlerFunc
		check string
	}{
		"redirect to metadata": {"/v1/release", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusTemporaryRedirect)
		}, "redirect"},
		"redirect of challenge": {"/v1/challenge", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/v1/challenge2", http.StatusFound)
		}, "redirect"},
		"oversize":       {"/v1/release", asJSON(`{"response":"` + strings.Repeat("A", maxBody) + `"}`), "size"},
		"endless":        {"/v1/release", endless, "size"},
		"HTML":           {"/v1/release", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "media"},
		"no JSON":        {"/v1/release", asJSON(`{`), "body"},
		"unknown member": {"/v1/release", asJSON(`{"response":"a.b.c","key":"AAAA"}`), "body"},
		"twice":          {"/v1/release", asJSON(`{"response":"a.b.c","response":"a.b.c"}`), "body"},
		"re-cased":       {"/v1/release", asJSON(`{"Response":"a.b.c"}`), "body"},
		"trailing":       {"/v1/release", asJSON(`{"response":"a.b.c"} {}`), "body"},
		"empty":          {"/v1/release", asJSON(`{}`), "jws"},
	} {
		answer(b, c.path, c.h)
		r, err := a.Key(t.Context(), agenttest.KeyURL)
		var found *Invalid
		if !errors.As(err, &found) || found.Check != c.check || r != nil {
			t.Errorf("%s: %v, want check %s", name, err, c.check)
		}
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	for r.Context().Err() == nil {
		if _, err := w.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

func TestRefusals(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, nil)
	for name, c := range map[string]struct {
		reason string
		exit   int
		next   string // at the end
	}{
		"policy":     {"policy_denied", ExitRefused, "correlation c-1"},
		"purpose":    {"purpose_not_stated", ExitRefused, "openskr-agent unlock, crypttab and seal-disk alone get it"},
		"old broker": {"purpose_mismatch", ExitRefused, "update the broker first"},
		"pending":    {"machine_pending", ExitPending, "correlation c-1"},
		"hostile":    {"\x1b[2J", ExitRefused, "correlation c-1"},
		"long":       {strings.Repeat("a", 65), ExitRefused, "correlation c-1"},
	} {
		answer(b, "/v1/release", func(w http.ResponseWriter, _ *http.Request) { agenttest.Refuse(w, 403, c.reason) })
		before := b.Challenges
		_, err := a.Key(t.Context(), agenttest.KeyURL)
		if ExitCode(err) != c.exit {
			t.Errorf("%s: %v: exit %d, want %d", name, err, ExitCode(err), c.exit)
		}
		var r *Refused
		if !errors.As(err, &r) || strings.ContainsRune(r.Error(), '\x1b') || len(r.Reason) > 64 || r.Correlation != "c-1" {
			t.Errorf("%s: %q", name, err)
		}
		if b.Challenges != before+1 {
			t.Errorf("%s: a refusal was tried again", name)
		}
		if !strings.HasSuffix(err.Error(), c.next) {
			t.Errorf("%s: %q, want the end %q", name, err, c.next)
		}
	}
	answer(b, "/v1/release", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	if _, err := a.Key(t.Context(), agenttest.KeyURL); ExitCode(err) != ExitRefused {
		t.Errorf("refusal without a body: %v", err)
	}
}

// AG-15: what may get better is asked again, with growing pauses; the rest is not.
func TestRetries(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, nil)
	if _, err := a.Enroll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		status int
		header string
		rounds int           // of three that fail, then one that would work
		least  time.Duration // of each pause
	}{
		"503":                {503, "", 3, firstPause / 2},
		"503 with time":      {503, "7", 3, 7 * time.Second},
		"429 with time":      {429, "2", 3, 2 * time.Second},
		"absurd time":        {503, "99999999999", 3, firstPause / 2},
		"negative time":      {503, "-5", 3, firstPause / 2},
		"500 is not retried": {500, "", 0, 0},
		"502 is not retried": {502, "", 0, 0},
		"connection cut":     {0, "", 3, firstPause / 2},
	} {
		n, pauses := 0, []time.Duration{}
		answerN := func(w http.ResponseWriter, r *http.Request) bool {
			if n++; r.URL.Path != "/v1/challenge" || n > 3 {
				return false
			}
			if c.status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Retry-After", c.header)
			agenttest.Refuse(w, c.status, "overloaded")
			return true
		}
		b.Intercept = answerN
		a.wait = func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil }
		r, err := a.Key(t.Context(), agenttest.KeyURL)
		if c.rounds == 0 {
			if !errors.Is(err, ErrUnreachable) || ExitCode(err) != ExitUnreachable || len(pauses) != 0 {
				t.Errorf("%s: %v, %v", name, err, pauses)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r.Material.Close()
		if len(pauses) != c.rounds || slices.Min(pauses) < c.least || slices.Max(pauses) > max(c.least, 4*firstPause) {
			t.Errorf("%s: pauses %v", name, pauses)
		}
	}
}

// A release that failed on the way is asked again with another nonce.
func TestEveryAttemptTakesANewChallenge(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, nil)
	a.wait = func(context.Context, time.Duration) error { return nil }
	var bodies []string
	answer(b, "/v1/release", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		if len(bodies) == 3 {
			agenttest.Refuse(w, 403, "policy_denied")
			return
		}
		agenttest.Refuse(w, 503, "overloaded")
	})
	if _, err := a.Key(t.Context(), agenttest.KeyURL); ExitCode(err) != ExitRefused {
		t.Fatal(err)
	}
	if b.Challenges != 3 || bodies[0] == bodies[1] || bodies[1] == bodies[2] {
		t.Errorf("%d challenges for 3 attempts", b.Challenges)
	}
}

func TestDeadline(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, func(c *Config) { c.Timeout = 50 * time.Millisecond })
	a.wait = sleep
	answer(b, "/v1/enroll", func(w http.ResponseWriter, _ *http.Request) { agenttest.Refuse(w, 503, "overloaded") })
	if _, err := a.Key(t.Context(), agenttest.KeyURL); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

func TestSecondBroker(t *testing.T) {
	b, gone := agenttest.Start(t), httptest.NewTLSServer(nil)
	gone.Close()
	b.Trust.URLs = []string{gone.URL, b.Server.URL + "/"}
	r, err := newAgent(t, b, nil).Key(t.Context(), agenttest.KeyURL)
	if err != nil {
		t.Fatal(err)
	}
	r.Material.Close()
}

// AG-06: nothing is sent to a server that is not the pinned one.
func TestServerIsAuthenticated(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "/dev/null")
	for name, serve := range map[string]func(h http.Handler, b *broker) string{
		"other CA": func(h http.Handler, _ *broker) string {
			s := httptest.NewUnstartedServer(h)
			return run(t, s).URL
		},
		"other name": func(_ http.Handler, b *broker) string {
			return strings.Replace(b.Server.URL, "127.0.0.1", "localhost", 1)
		},
		"TLS 1.2": func(h http.Handler, b *broker) string {
			s := httptest.NewUnstartedServer(h)
			s.TLS = &tls.Config{Certificates: b.Server.TLS.Certificates, MaxVersion: tls.VersionTLS12}
			return run(t, s).URL
		},
		"plain HTTP": func(h http.Handler, _ *broker) string {
			s := httptest.NewServer(h)
			t.Cleanup(s.Close)
			return strings.Replace(s.URL, "http:", "https:", 1)
		},
	} {
		b := agenttest.Start(t)
		asked := false
		b.Intercept = func(http.ResponseWriter, *http.Request) bool { asked = true; return false }
		b.Trust.URLs = []string{serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }), b)}
		waited := false
		a := newAgent(t, b, nil)
		a.wait = func(context.Context, time.Duration) error { waited = true; return errors.New("once") }
		_, err := a.Key(t.Context(), agenttest.KeyURL)
		if ExitCode(err) != ExitUnreachable || asked {
			t.Errorf("%s: %v, request arrived: %v", name, err, asked)
		}
		if waited {
			t.Errorf("%s: tried again, which does not help", name)
		}
	}
}

// run starts a TLS server that complains to nobody.
func run(t *testing.T, s *httptest.Server) *httptest.Server {
	t.Helper()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// AG-17: see also TestEnvironmentIsIgnored.
func TestNoProxy(t *testing.T) {
	for _, v := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"} {
		t.Setenv(v, "http://127.0.0.1:1")
	}
	tr, ok := newAgent(t, agenttest.Start(t), nil).client.Transport.(*http.Transport)
	if !ok || tr.Proxy != nil {
		t.Error("a proxy from the environment would be used")
	}
}

func TestEnrollment(t *testing.T) {
	for status, exit := range map[string]int{"approved": ExitOK, "pending": ExitPending, "denied": ExitRefused} {
		b := agenttest.Start(t)
		b.Enrollment = status
		a := newAgent(t, b, nil)
		res, err := a.Enroll(t.Context())
		if err != nil || res.Status != status || res.MachineID != "m1" {
			t.Errorf("%s: %+v, %v", status, res, err)
		}
		_, err = a.Key(t.Context(), agenttest.KeyURL)
		if ExitCode(err) != exit {
			t.Errorf("%s: key: %v", status, err)
		}
		if status != "approved" && b.Challenges != 0 {
			t.Errorf("%s: evidence was sent without a certificate", status)
		}
	}
}

func TestEnrollAgainOnce(t *testing.T) {
	b, state := agenttest.Start(t), t.TempDir()
	if _, err := newAgent(t, b, func(c *Config) { c.State = state }).Enroll(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer(b, "/v1/release", func(w http.ResponseWriter, _ *http.Request) { agenttest.Refuse(w, 403, "ak_not_trusted") })
	_, err := newAgent(t, b, func(c *Config) { c.State = state }).Key(t.Context(), agenttest.KeyURL)
	if ExitCode(err) != ExitRefused || b.Enrolled != 2 {
		t.Errorf("%v after %d enrolments, want a refusal after 2", err, b.Enrolled)
	}
}

func TestJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 50 {
		d := jitter(time.Second)
		if d < 500*time.Millisecond || d > time.Second {
			t.Fatal(d)
		}
		seen[d] = true
	}
	if len(seen) < 10 {
		t.Error("no jitter")
	}
}
