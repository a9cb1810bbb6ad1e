package endorser_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/endorser"
)

func TestWarmPathCallsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, serve(document(1, time.Now(), month)))
		e, o := build(t, a, endorser.Config{Dir: t.TempDir()})
		for range 100 {
			mustEndorse(t, e, tcb)
		}
		a.wantCalls(t, 1)
		o.want(t, endorser.OutcomeOK, 1)
		time.Sleep(month - time.Second)
		mustEndorse(t, e, tcb)
		a.wantCalls(t, 1)
	})
}

func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		body := document(1, time.Now(), month)
		a := newAuthority(t, func(w http.ResponseWriter, _ *http.Request) {
			<-open
			_, _ = w.Write(body)
		})
		e, _ := build(t, a, endorser.Config{})
		gone, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { // the first, on whose account the fetch starts
			_, err := e.Endorse(gone, crl)
			left <- err
		}()
		synctest.Wait()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := e.Endorse(t.Context(), crl); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who left got %v", err)
		}
		close(open)
		wg.Wait()
		a.wantCalls(t, 1)
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a := newAuthority(t, serve(document(1, time.Now(), month)))
		e, _ := build(t, a, endorser.Config{Dir: dir})
		want := mustEndorse(t, e, tcb)
		again, o := build(t, a, endorser.Config{Dir: dir, Offline: true})
		got := mustEndorse(t, again, tcb)
		if !bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Chain, want.Chain) || !got.Fetched.Equal(want.Fetched) {
			t.Errorf("after a restart: %+v, want %+v", got, want)
		}
		a.wantCalls(t, 1)
		wantError(t, again, crl, endorser.ErrMissing)
		o.want(t, endorser.OutcomeUnavailable, 1)
	})
}

// CC-06: what is forged is used neither from the network nor from the folder.
func TestForged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a := newAuthority(t, serve([]byte(`{"good":false}`)))
		e, o := build(t, a, endorser.Config{Dir: dir})
		for range 10 {
			wantError(t, e, crl, endorser.ErrInvalid)
		}
		a.wantCalls(t, 1) // a negative answer is remembered
		o.want(t, endorser.OutcomeInvalid, 1)
		o.want(t, endorser.OutcomeUnavailable, 10)
		if files := ls(t, dir); len(files) != 0 {
			t.Fatalf("stored: %q", files)
		}
		time.Sleep(6 * time.Minute)
		a.change(serve(document(1, time.Now(), month)))
		mustEndorse(t, e, crl)
	})
}

func TestForgedOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		good := document(1, time.Now(), month)
		a := newAuthority(t, serve(good))
		e, _ := build(t, a, endorser.Config{Dir: dir})
		mustEndorse(t, e, crl)
		file := filepath.Join(dir, ls(t, dir)[0])
		forge := func() {
			writeFile(t, file, `{"v":1,"kind":"amd-crl","id":"vcek/Milan","data":"e30","fetched":"2026-01-01T00:00:00Z"}`)
		}
		forge()

		offline, o := build(t, a, endorser.Config{Dir: dir, Offline: true})
		doc := mustEndorse(t, offline, crl) // for the verifier to refuse: collateral_invalid
		if string(doc.Data) != "{}" || len(offline.Snapshot()) != 0 {
			t.Errorf("got %q, held %v", doc.Data, offline.Snapshot())
		}
		o.want(t, endorser.OutcomeInvalid, 1)

		online, o := build(t, a, endorser.Config{Dir: dir})
		if doc := mustEndorse(t, online, crl); !bytes.Equal(doc.Data, good) {
			t.Errorf("got %q, want what the authority gives", doc.Data)
		}
		o.want(t, endorser.OutcomeInvalid, 1)

		// The file of one document in the place of another, and garbage.
		genoa := `{"v":1,"kind":"amd-crl","id":"vcek/Genoa","data":"` + base64.RawURLEncoding.EncodeToString(good) + `","fetched":"2026-01-01T00:00:00Z"}`
		for _, text := range []string{genoa, "{", ""} {
			writeFile(t, file, text)
			offline, o := build(t, a, endorser.Config{Dir: dir, Offline: true})
			if doc, err := offline.Endorse(t.Context(), crl); err == nil && doc != nil {
				t.Errorf("%.40q: got a document", text)
			}
			o.want(t, endorser.OutcomeInvalid, 1)
		}
	})
}

// CC-08: nothing goes back, over restarts too.
func TestRollback(t *testing.T) {
	now := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	for name, old := range map[string][]byte{
		"lower number":                 document(6, now.Add(time.Minute), month),
		"same number, earlier issue":   document(7, now.Add(-time.Hour), 2*month),
		"lower number, earlier issue":  document(1, now.Add(-time.Hour), 2*month),
		"forged in the name of higher": []byte(`{"good":false,"number":9}`),
	} {
		t.Run(name, func(t *testing.T) {
			clock := now
			dir := t.TempDir()
			a := newAuthority(t, serve(document(7, now, month)))
			cfg := endorser.Config{Dir: dir, Now: func() time.Time { return clock }}
			e, _ := build(t, a, cfg)
			want := mustEndorse(t, e, crl).Data
			a.change(serve(old))

			e, o := build(t, a, cfg)
			if _, err := e.Refresh(t.Context(), crl); !errors.Is(err, endorser.ErrRollback) && !errors.Is(err, endorser.ErrInvalid) {
				t.Errorf("refresh: %v", err)
			}
			if _, _, err := e.Import(crl, &attest.Document{Data: old}); !errors.Is(err, endorser.ErrRollback) && !errors.Is(err, endorser.ErrInvalid) {
				t.Errorf("import: %v", err)
			}
			if doc := mustEndorse(t, e, crl); !bytes.Equal(doc.Data, want) {
				t.Errorf("got %s, want the old kept: %s", doc.Data, want)
			}
			if n := o.n[endorser.OutcomeRollback] + o.n[endorser.OutcomeInvalid]; n != 2 {
				t.Errorf("alarms: %v", o.n)
			}
			clock = now.Add(month) // past its end, the one seen still guards
			e, _ = build(t, a, cfg)
			if doc := mustEndorse(t, e, crl); !bytes.Equal(doc.Data, want) {
				t.Errorf("past its end: got %s, want the old kept: %s", doc.Data, want)
			}
		})
	}
}

// CC-07, CC-21: an authority that is down stops nothing until the document ends; then
// the document comes as it is, for the verifier to call it stale.
func TestAuthorityDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a := newAuthority(t, serve(document(1, start, month)))
		e, o := build(t, a, endorser.Config{})
		ctx, stop := context.WithCancel(t.Context())
		go e.Run(ctx)
		want := mustEndorse(t, e, tcb)
		a.change(status(http.StatusServiceUnavailable))
		time.Sleep(29 * 24 * time.Hour)
		mustEndorse(t, e, tcb)
		o.want(t, endorser.OutcomeStale, 0)
		time.Sleep(2 * 24 * time.Hour)
		stop()
		if doc := mustEndorse(t, e, tcb); !bytes.Equal(doc.Data, want.Data) {
			t.Errorf("got %s, want the stale one", doc.Data)
		}
		o.want(t, endorser.OutcomeStale, 1)
		o.want(t, endorser.OutcomeUnavailable, 0)
		// An authority that repeats what has ended makes it no fresher.
		time.Sleep(time.Hour)
		a.change(serve(want.Data))
		n := len(a.asked())
		for range 5 {
			mustEndorse(t, e, tcb)
		}
		o.want(t, endorser.OutcomeStale, 6)
		a.wantCalls(t, n+1)
	})
}

func TestUseForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, serve(document(1, time.Now(), month)))
		e, o := build(t, a, endorser.Config{Dir: t.TempDir()})
		mustEndorse(t, e, crl)
		e.Use(func(attest.Need, *attest.Document, time.Time) (attest.Validity, error) { panic("a bug of a parser") })
		_, _ = e.Endorse(t.Context(), crl)
		if len(e.Snapshot()) != 0 {
			t.Errorf("held: %v", e.Snapshot())
		}
		o.want(t, endorser.OutcomeInvalid, 2) // disk and network
		e.Use(inspect)
		mustEndorse(t, e, crl)
	})
}

func TestNoInspectorNoDocument(t *testing.T) {
	a := newAuthority(t, serve(document(1, time.Now(), month)))
	e, err := endorser.New(endorser.Config{Client: a.client})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, e, crl, endorser.ErrInvalid)
}

func TestFromTheFuture(t *testing.T) {
	a := newAuthority(t, serve(document(9, time.Now().Add(time.Hour), month)))
	e, _ := build(t, a, endorser.Config{})
	wantError(t, e, crl, endorser.ErrInvalid)
}

func ls(t *testing.T, dir string) []string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		out = append(out, f.Name())
	}
	return out
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestWaiting: whoever has to wait for an authority says so, and when it is over; one
// who is served from memory does not.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := document(1, time.Now(), month)
		a := newAuthority(t, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			_, _ = w.Write(body)
		})
		waiting, waits := 0, 0
		e, _ := build(t, a, endorser.Config{Waiting: func(context.Context) func() {
			waiting++
			waits++
			return func() { waiting-- }
		}})
		for range 3 {
			mustEndorse(t, e, crl)
		}
		if waiting != 0 || waits != 1 {
			t.Errorf("%d waits, %d not over", waits, waiting)
		}
	})
}
