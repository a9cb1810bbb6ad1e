package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/release/receipt"
)

// eventually polls another process, which cannot be waited for otherwise.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never happened: " + what)
		}
	}
}

// operations reads the operations of a stopped broker's log, with their
// configuration digests.
func (r *rig) operations(t *testing.T) (out []*receipt.Record) {
	t.Helper()
	leaves, _ := r.stored(t)
	for _, leaf := range leaves {
		rec, err := receipt.Decode(leaf)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rec)
	}
	return out
}

func TestReload(t *testing.T) {
	r := newRig(t, nil)
	r.start(servedBroker{})
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	allow := filepath.Join(t.TempDir(), "allow")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(allow, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Repeat("ab", 32) + "\n")
	cfg.EKAllow, cfg.OpenEnrolment = allow, true
	if err := cfg.write(r.dir, "test"); err != nil {
		t.Fatal(err)
	}
	hup := func() {
		t.Helper()
		if err := r.child.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	warned := func() bool {
		body := r.get(t, "/readyz")
		return strings.Contains(body, "open_enrolment")
	}
	if warned() {
		t.Fatal("open enrolment before the reload")
	}
	hup()
	eventually(t, "the reload", warned)
	// A file that cannot be understood keeps everything as it was.
	write("not a hash\n")
	hup()
	cfg.OpenEnrolment = false
	if err := cfg.write(r.dir, "test"); err != nil {
		t.Fatal(err)
	}
	hup()
	if a, err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	} else if err := r.send(t.Context(), a); err != nil || a.status != http.StatusOK {
		t.Fatalf("release after a failed reload: %d %v", a.status, err)
	}
	if !warned() {
		t.Error("a failed reload took the old configuration away")
	}
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var start, reload []receipt.Digest
	for _, rec := range r.operations(t) {
		switch rec.Operation {
		case "broker/start":
			start = append(start, rec.Config)
		case "config/reload":
			reload = append(reload, rec.Config)
		}
	}
	if len(reload) != 1 || reload[0] == start[len(start)-1] {
		t.Errorf("want one reload record with a new configuration digest, got %v after %v", reload, start)
	}
}

func (r *rig) get(t *testing.T, path string) string {
	t.Helper()
	resp, err := r.client.Get(r.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 4096)
	n, _ := resp.Body.Read(b)
	return string(b[:n])
}

// TestDrain sends SIGTERM while a release waits for its commit: it is answered,
// and the broker ends well.
func TestDrain(t *testing.T) {
	r := newRig(t, nil)
	r.start(servedBroker{Delay: 400 * time.Millisecond})
	a, err := r.prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	before := r.logSize(t)
	go func() { done <- r.send(t.Context(), a) }()
	eventually(t, "the release in flight", func() bool { return r.logSize(t) > before || len(done) > 0 })
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatalf("the broker ended with %v", err)
	}
	if err := <-done; err != nil || a.status != http.StatusOK {
		t.Fatalf("release in flight at SIGTERM: %d %v", a.status, err)
	}
}

// logSize is the size of the write-ahead log: it grows with the commit that the
// release waits for.
func (r *rig) logSize(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(r.dir, "openskr.db-wal"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// TestDrainEnds: what does not finish in time is cut off, and the broker says so.
func TestDrainEnds(t *testing.T) {
	r := newRig(t, nil)
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.DrainTimeout = time.Nanosecond
	if err := cfg.write(r.dir, "test"); err != nil {
		t.Fatal(err)
	}
	r.start(servedBroker{Delay: time.Second})
	a, err := r.prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	before := r.logSize(t)
	go func() { done <- r.send(t.Context(), a) }()
	eventually(t, "the release in flight", func() bool { return r.logSize(t) > before || len(done) > 0 })
	if err := r.stop(syscall.SIGTERM); err == nil {
		t.Error("the broker ended as if every request had finished")
	}
	if err := <-done; err == nil {
		t.Errorf("release beyond the drain: %d", a.status)
	}
}

func TestSecondBrokerRefuses(t *testing.T) {
	r := newRig(t, nil)
	r.start(servedBroker{})
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = openBroker(t.Context(), brokerOptions{Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: time.Now})
	if err == nil || !strings.Contains(err.Error(), "in use by another broker") {
		t.Errorf("second broker: %v", err)
	}
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func TestLeafIsRenewed(t *testing.T) {
	r := newRig(t, nil)
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	b, err := openBroker(t.Context(), brokerOptions{Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	renewed := func(old *tls.Certificate) bool {
		t.Helper()
		c, err := b.leaf(old)
		if err != nil {
			t.Fatal(err)
		}
		return c != old
	}
	leaf, err := b.leaf(nil)
	if err != nil {
		t.Fatal(err)
	}
	if renewed(leaf) {
		t.Error("a fresh leaf was replaced")
	}
	now = leaf.Leaf.NotAfter.Add(-renewBefore + time.Minute)
	if !renewed(leaf) {
		t.Error("a leaf near its end was kept")
	}
}

// A change that SIGHUP cannot take over is named.
func TestReloadNamesRestart(t *testing.T) {
	r := newRig(t, nil)
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	b, err := openBroker(t.Context(), brokerOptions{Dir: r.dir, Config: cfg, Logger: slog.New(slog.NewTextHandler(&text, nil)), Level: &slog.LevelVar{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	fresh := *cfg
	fresh.NonceTTL, fresh.RequestsPerSecond = time.Minute, 7
	if err := fresh.write(r.dir, "test"); err != nil {
		t.Fatal(err)
	}
	if err := b.reload(t.Context(), serveOptions{dir: r.dir, cfg: cfg}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "needs a restart: nonce_ttl, requests_per_second") {
		t.Error(text.String())
	}
}

// Work on a stopped deployment records no start, and a doubted clock gives no
// record its time.
func TestQuietBroker(t *testing.T) {
	r := newRig(t, nil)
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	before := r.operations(t)
	later := func() time.Time { return time.Now().Add(time.Hour) }
	b, err := openBroker(t.Context(), brokerOptions{Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: later, Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	err = b.dep.Rotate(t.Context(), b.records(t.Context(), ""), deployment.KindToken, deployment.StepAnnounce)
	if err := errors.Join(err, b.close()); err != nil {
		t.Fatal(err)
	}
	after := r.operations(t)
	if len(after) != len(before)+1 || after[len(before)].Operation != "deployment/rotate" {
		t.Fatalf("%d records after %d, the last %+v", len(after), len(before), after[len(after)-1])
	}
	if at := time.UnixMilli(after[len(before)].Time); at.After(time.Now()) {
		t.Errorf("the record says %v", at)
	}
}
