package main

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// TestScheduledPurge: what was deleted is purged when its retention is over, by
// whichever broker runs then; after a jump of the clock not before somebody looked at it.
func TestScheduledPurge(t *testing.T) {
	r := newRig(t, nil)
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Int64 // ns
	open := func() *broker {
		t.Helper()
		b, err := openBroker(t.Context(), brokerOptions{
			Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{},
			Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open()
	ctx := t.Context()
	purge := func(want release.Reason) {
		t.Helper()
		for _, task := range b.tasks() {
			if err := task.Do(ctx); (err != nil) != (want != "") && task.Name == "purge what was deleted" || err != nil && release.ReasonOf(err) != want {
				t.Errorf("%s: %v, want %q", task.Name, err, want)
			}
		}
	}
	left := func(want bool) {
		t.Helper()
		if _, err := b.keys.Deleted(ctx, keyvault.DefaultVault, keyvault.Keys, "scheduled"); (err == nil) != want {
			t.Errorf("there: %v, want %v", err, want)
		}
	}
	if _, err := b.keys.Create(ctx, keyvault.DefaultVault, "scheduled", keyvault.CreateKey{Kty: keyvault.KtyEC}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.keys.Delete(ctx, keyvault.DefaultVault, keyvault.Keys, "scheduled"); err != nil {
		t.Fatal(err)
	}
	purge("")
	left(true)
	ahead.Store(int64(91 * 24 * time.Hour))
	purge(release.ReasonClockUntrusted)
	left(true)
	if err := b.close(); err != nil {
		t.Fatal(err)
	}

	b = open() // a restart forgets nothing
	purge(release.ReasonClockUntrusted)
	left(true)
	if err := (clockPort{b}).Accept(ctx, b.records(ctx, "clock/accept")); err != nil {
		t.Fatal(err)
	}
	purge("")
	left(false)
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	for _, rec := range r.operations(t) {
		if rec.Operation == "keys/purge" {
			if rec.Caller == nil || rec.Caller.Kind != "system" {
				t.Errorf("%+v", rec)
			}
			return
		}
	}
	t.Error("no record of the purge")
}
