package main

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
)

// TestClockWhileRunning: /readyz says that a clock which steps back stops releases,
// and the log says when the broker stopped.
func TestClockWhileRunning(t *testing.T) {
	r := newRig(t, nil)
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	var back atomic.Int64 // ns
	b, err := openBroker(t.Context(), brokerOptions{
		Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{},
		Now: func() time.Time { return time.Now().Add(-time.Duration(back.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ready := func(want release.Reason) {
		t.Helper()
		if _, err := b.warnings(t.Context()); (err != nil) != (want != "") || err != nil && release.ReasonOf(err) != want {
			t.Errorf("clock back by %v: %v", time.Duration(back.Load()), err)
		}
	}
	ready("")
	back.Store(int64(time.Hour))
	ready(release.ReasonClockUntrusted)
	if err := (clockPort{b}).Accept(t.Context(), b.records(t.Context(), "clock/accept")); err != nil {
		t.Fatal(err)
	}
	ready("")
	back.Store(int64(2 * time.Hour))
	ready(release.ReasonClockUntrusted)
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	all := r.operations(t)
	if last := all[len(all)-1]; last.Operation != "broker/stop" || last.Caller == nil || last.Caller.Kind != "system" {
		t.Errorf("the last record is %+v", last)
	}
}
