package endorser_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/endorser"
)

// DS-05: a flood of chips fetches little, drives out no CRL and fills neither disk
// nor memory.
func TestFloodOfChips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a := newAuthority(t, serve(document(1, time.Now(), 100*month)))
		e, o := build(t, a, endorser.Config{Dir: dir, Chips: 8, ChipsPerMinute: 10})
		mustEndorse(t, e, crl)
		served := 0
		for n := range 1000 { // within a second
			if _, err := e.Endorse(t.Context(), chip(n)); err == nil {
				served++
			} else if !errors.Is(err, endorser.ErrThrottled) {
				t.Fatal(err)
			}
		}
		if served != 10 {
			t.Errorf("%d fetched, want 10", served)
		}
		o.want(t, endorser.OutcomeThrottled, 990)
		for n := range 30 {
			time.Sleep(time.Minute)
			_, _ = e.Endorse(t.Context(), chip(5000+n))
		}
		if got := len(e.Snapshot()); got != 9 {
			t.Errorf("%d in memory, want 8 chips and the CRL", got)
		}
		if got := len(ls(t, dir)); got != 9 {
			t.Errorf("%d files, want 8 chips and the CRL", got)
		}
		n := len(a.asked())
		mustEndorse(t, e, crl)
		mustEndorse(t, e, chip(5029))
		a.wantCalls(t, n)
	})
}

func TestRunRefreshesAndTakesInImports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		dir := t.TempDir()
		a := newAuthority(t, func(w http.ResponseWriter, r *http.Request) { serve(document(1, time.Now(), month))(w, r) })
		e, o := build(t, a, endorser.Config{Dir: dir})
		mustEndorse(t, e, crl)
		mustEndorse(t, e, chip(1))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { e.Run(ctx); close(done) }()
		time.Sleep(10*24*time.Hour + time.Hour)
		// Every 19 to 24 hours, the chip never.
		if n := len(a.asked()) - 2; n < 10 || n > 13 {
			t.Errorf("%d refreshes in ten days", n)
		}
		o.want(t, "amd-vcek "+endorser.OutcomeOK, 1)

		// Another process imports, and somebody forges and goes back.
		a.change(status(http.StatusBadGateway))
		other, _ := build(t, nil, endorser.Config{Dir: dir, Offline: true})
		if _, changed, err := other.Import(tcb, &attest.Document{Data: document(3, time.Now(), month), Chain: []byte("x")}); err != nil || !changed {
			t.Fatalf("import: %v %v", changed, err)
		}
		writeFile(t, filepath.Join(dir, "amd-crl-0000.json"), "{")
		n := len(a.asked())
		time.Sleep(2 * time.Minute)
		mustEndorse(t, e, tcb)
		a.wantCalls(t, n)
		if got := issuedOf(e, tcb); got.Before(start.Add(10 * 24 * time.Hour)) {
			t.Errorf("the import is not in: %v", e.Snapshot())
		}
		file := only(t, dir, "amd-crl-*.json", "amd-crl-0000.json")
		writeFile(t, file, `{"v":1,"kind":"amd-crl","id":"vcek/Milan","data":"e30","fetched":"2000-01-01T00:00:00Z"}`)
		time.Sleep(2 * time.Minute)
		o.want(t, "amd-crl "+endorser.OutcomeInvalid, 1) // once: the good one is put back
		mustEndorse(t, e, crl)
		stop()
		<-done
	})
}

// A running broker does not follow its folder back, and puts right what somebody put in.
func TestFolderGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, old := t.TempDir(), t.TempDir()
		e, o := build(t, nil, endorser.Config{Dir: dir, Offline: true})
		other, _ := build(t, nil, endorser.Config{Dir: old, Offline: true})
		for from, number := range map[*endorser.Endorser]int64{e: 7, other: 6} {
			if _, _, err := from.Import(crl, &attest.Document{Data: document(number, time.Now(), month)}); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(only(t, old, "*.json", ""))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		go e.Run(ctx)
		synctest.Wait()
		writeFile(t, only(t, dir, "*.json", ""), string(b))
		time.Sleep(10 * time.Minute)
		stop()
		o.want(t, endorser.OutcomeRollback, 1)
		for _, at := range []*endorser.Endorser{e, restarted(t, dir)} {
			mustEndorse(t, at, crl)
			if got := at.Snapshot(); got[0].Number != 7 {
				t.Errorf("number %d, want 7", got[0].Number)
			}
		}
	})
}

// A pipe in the place of a document holds nobody up.
func TestFolderWithPipes(t *testing.T) {
	dir := t.TempDir()
	e, _ := build(t, nil, endorser.Config{Dir: dir, Offline: true})
	if _, _, err := e.Import(crl, &attest.Document{Data: document(1, time.Now(), month)}); err != nil {
		t.Fatal(err)
	}
	file := only(t, dir, "*.json", "")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(dir, "intel-tcb-0000.json")} {
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e, o := build(t, nil, endorser.Config{Dir: dir, Offline: true})
	wantError(t, e, crl, endorser.ErrMissing)
	o.want(t, endorser.OutcomeInvalid, 1)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	e.Run(ctx) // looks around once
}

func restarted(t *testing.T, dir string) *endorser.Endorser {
	t.Helper()
	e, _ := build(t, nil, endorser.Config{Dir: dir, Offline: true})
	return e
}

func issuedOf(e *endorser.Endorser, need attest.Need) time.Time {
	for _, en := range e.Snapshot() {
		if en.Need == need {
			return en.Issued
		}
	}
	return time.Time{}
}

func only(t *testing.T, dir, pattern, except string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if filepath.Base(f) != except {
			out = append(out, f)
		}
	}
	if len(out) != 1 {
		t.Fatalf("%s: %q", pattern, files)
	}
	return out[0]
}

// Run finds a forged file before anybody asks, and gets the document anew.
func TestRunHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a := newAuthority(t, serve(document(1, time.Now(), month)))
		e, _ := build(t, a, endorser.Config{Dir: dir})
		mustEndorse(t, e, crl)
		writeFile(t, only(t, dir, "amd-crl-*.json", ""), `{"v":1,"kind":"amd-crl","id":"vcek/Milan","data":"e30","fetched":"2000-01-01T00:00:00Z"}`)
		e, _ = build(t, a, endorser.Config{Dir: dir})
		ctx, stop := context.WithCancel(t.Context())
		go e.Run(ctx)
		synctest.Wait()
		time.Sleep(time.Second)
		stop()
		a.wantCalls(t, 2)
		if len(e.Snapshot()) != 1 {
			t.Errorf("held: %v", e.Snapshot())
		}
	})
}

func TestImport(t *testing.T) {
	now := time.Now()
	e, _ := build(t, nil, endorser.Config{Dir: t.TempDir(), Offline: true, Issuers: map[string]string{issuer: issuer + "/keys"}})
	doc := &attest.Document{Data: document(2, now, month)}
	for _, c := range []struct {
		name    string
		need    attest.Need
		doc     *attest.Document
		changed bool
		err     error
	}{
		{"new", crl, doc, true, nil},
		{"again", crl, doc, false, nil},
		{"newer", crl, &attest.Document{Data: document(3, now, month)}, true, nil},
		{"older", crl, doc, false, endorser.ErrRollback},
		{"forged", crl, &attest.Document{Data: []byte(`{"number":9}`)}, false, endorser.ErrInvalid},
		{"ended", tcb, &attest.Document{Data: document(1, now.Add(-2*month), month)}, false, endorser.ErrStale},
		{"nothing known", attest.Need{Kind: "x"}, doc, false, endorser.ErrNeed},
		{"keys of an issuer", keys, &attest.Document{Data: []byte(`{"keys":[{"kty":"EC"}]}`)}, false, endorser.ErrNeed},
	} {
		_, changed, err := e.Import(c.need, c.doc)
		if changed != c.changed || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: changed %v, error %v", c.name, changed, err)
		}
	}
	got := e.Snapshot()
	if len(got) != 2 || got[0].Need != crl || got[0].Number != 3 || got[0].Fetched.IsZero() {
		t.Errorf("held: %+v", got)
	}
}

func TestFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "")
	if _, err := endorser.New(endorser.Config{Dir: filepath.Join(file, "sub")}); err == nil {
		t.Error("made a folder below a file")
	}
	// One that vanishes costs a fetch after the next start, not the release.
	dir := t.TempDir()
	a := newAuthority(t, serve(document(1, time.Now(), month)))
	e, _ := build(t, a, endorser.Config{Dir: dir})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	mustEndorse(t, e, crl)
}

const issuer = "https://issuer.example"

var keys = attest.Need{Kind: attest.NeedJWKS, ID: issuer}

func TestKeysOfIssuers(t *testing.T) {
	const set = `{"keys":[{"kty":"EC","crv":"P-256","x":"x","y":"y"}]}`
	for name, c := range map[string]struct {
		discovery, set string
		ok             bool
	}{
		"same host":       {`{"issuer":"https://issuer.example","jwks_uri":"https://issuer.example/keys","more":1}`, set, true},
		"another host":    {`{"issuer":"https://issuer.example","jwks_uri":"https://keys.example/keys?v=1"}`, set, true},
		"another issuer":  {`{"issuer":"https://evil.example","jwks_uri":"https://issuer.example/keys"}`, set, false},
		"plain HTTP":      {`{"issuer":"https://issuer.example","jwks_uri":"http://issuer.example/keys"}`, set, false},
		"an address":      {`{"issuer":"https://issuer.example","jwks_uri":"https://169.254.169.254/keys"}`, set, false},
		"an IPv6 address": {`{"issuer":"https://issuer.example","jwks_uri":"https://[::1]/keys"}`, set, false},
		"a local name":    {`{"issuer":"https://issuer.example","jwks_uri":"https://localhost/keys"}`, set, false},
		"a port":          {`{"issuer":"https://issuer.example","jwks_uri":"https://keys.example:22/keys"}`, set, false},
		"no discovery":    {`<html>`, set, false},
		"no keys":         {`{"issuer":"https://issuer.example","jwks_uri":"https://issuer.example/keys"}`, `{"keys":[]}`, false},
		"an error page":   {`{"issuer":"https://issuer.example","jwks_uri":"https://issuer.example/keys"}`, `{"error":"x"}`, false},
	} {
		a := newAuthority(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/keys") {
				serve([]byte(c.set))(w, r)
				return
			}
			serve([]byte(c.discovery))(w, r)
		})
		dir := t.TempDir()
		e, _ := build(t, a, endorser.Config{Dir: dir, Issuers: map[string]string{issuer: issuer + "/.well-known/openid-configuration"}})
		doc, err := e.Endorse(t.Context(), keys)
		if c.ok && (err != nil || string(doc.Data) != set) || !c.ok && err == nil {
			t.Errorf("%s: %v", name, err)
		}
		if files := ls(t, dir); len(files) != 0 {
			t.Errorf("%s: keys are not signed and lie in a folder: %q", name, files)
		}
	}
}

func TestKeysAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, serve([]byte(`{"keys":[{"kty":"EC"}]}`)))
		e, o := build(t, a, endorser.Config{Issuers: map[string]string{issuer: issuer + "/keys?x=y"}})
		mustEndorse(t, e, keys)
		a.change(status(http.StatusBadGateway))
		e.Use(inspect)
		time.Sleep(4*time.Minute - time.Second) // JW-18: a withdrawn key is noticed within five
		mustEndorse(t, e, keys)
		a.wantCalls(t, 1)
		time.Sleep(2 * time.Second)
		mustEndorse(t, e, keys)
		a.wantCalls(t, 2)
		time.Sleep(22 * time.Hour)
		mustEndorse(t, e, keys)
		o.want(t, endorser.OutcomeStale, 2)
		time.Sleep(2 * time.Hour)
		wantError(t, e, keys, endorser.ErrAuthority)
	})
}
