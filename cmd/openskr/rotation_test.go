package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// TestRotationAfterBreak: a rotation that fell due while no broker ran is made by the next
// one that does, once, and as soon as its clock is accepted after so long a break.
func TestRotationAfterBreak(t *testing.T) {
	const name, away = "turned", 31 * 24 * time.Hour
	r := newRig(t, func(ctx context.Context, b *broker) {
		if _, err := b.keys.Create(ctx, keyvault.DefaultVault, name, keyvault.CreateKey{Kty: keyvault.KtyEC}); err != nil {
			t.Fatal(err)
		}
		after, err := keyvault.ParseDuration("P30D")
		if err != nil {
			t.Fatal(err)
		}
		p := keyvault.RotationPolicy{Actions: []keyvault.LifetimeAction{{Action: keyvault.ActionRotate, AfterCreate: after}}}
		if _, err := b.keys.SetRotationPolicy(ctx, keyvault.DefaultVault, name, p); err != nil {
			t.Fatal(err)
		}
	})
	later := servedBroker{Ahead: away}
	// once does what a broker does in its first minute, and gives the versions there are.
	once := func() []*keyvault.Row {
		t.Helper()
		cfg, err := loadConfig(r.dir, "")
		if err != nil {
			t.Fatal(err)
		}
		b, err := openBroker(t.Context(), brokerOptions{Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: later.now})
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range b.tasks() {
			if err := task.Do(t.Context()); err != nil {
				t.Error(task.Name, err)
			}
		}
		rows, err := b.keys.Versions(t.Context(), keyvault.DefaultVault, keyvault.Keys, name, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.close(); err != nil {
			t.Fatal(err)
		}
		return rows
	}
	if n := len(once()); n != 1 {
		t.Fatalf("%d versions before anybody accepted the clock", n)
	}

	r.client.Transport.(*http.Transport).TLSClientConfig.Time = later.now
	r.start(later)
	bearer := r.adminToken(t)
	eventually(t, "the rotation", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/keys/"+name+"/versions?api-version=7.4", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var list struct{ Value []any }
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, err)
		}
		return len(list.Value) == 2
	})
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	rows := once()
	var made []*receipt.Record
	for _, rec := range r.operations(t) {
		if rec.Operation == "keys/rotate" {
			made = append(made, rec)
		}
	}
	if len(rows) != 2 || len(made) != 1 {
		t.Fatalf("%d versions and %d records of a rotation", len(rows), len(made))
	}
	rec, row := made[0], rows[1]
	if rec.Object != name || rec.Version != row.Version || rec.Caller == nil || rec.Caller.Kind != "system" ||
		time.UnixMilli(rec.Time).Sub(time.Unix(rows[0].Created, 0)) < away-time.Minute {
		t.Errorf("%+v of %+v", rec, row)
	}
}
