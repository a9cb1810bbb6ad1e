package audit

import (
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// TestRotationOnce: of many schedulers on one log one rotates and one tells, and what
// they did is known after a restart.
func TestRotationOnce(t *testing.T) {
	b := newBench(t)
	ctx, v := t.Context(), b.vault()
	if _, err := v.Create(ctx, keyvault.DefaultVault, "k", keyvault.CreateKey{Kty: keyvault.KtyOct}); err != nil {
		t.Fatal(err)
	}
	day, err := keyvault.ParseDuration("P1D")
	if err != nil {
		t.Fatal(err)
	}
	policy := keyvault.RotationPolicy{Actions: []keyvault.LifetimeAction{
		{Action: keyvault.ActionRotate, AfterCreate: day}, {Action: keyvault.ActionNotify, AfterCreate: day},
	}}
	if _, err := v.SetRotationPolicy(ctx, keyvault.DefaultVault, "k", policy); err != nil {
		t.Fatal(err)
	}
	due := func() {
		t.Helper()
		var all sync.WaitGroup
		for range 4 {
			v := b.vault()
			all.Go(func() {
				if err := v.RotateDue(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	count := func(want int) {
		t.Helper()
		n := map[string]int{}
		for _, r := range b.records() {
			if n[r.Operation]++; r.Operation == "keys/rotate" && r.Kind != receipt.KindChange {
				t.Errorf("%+v", r)
			}
		}
		if n["keys/rotate"] != want || n["keys/nearexpiry"] != want {
			t.Errorf("%d rotations and %d notices, want %d", n["keys/rotate"], n["keys/nearexpiry"], want)
		}
	}
	due()
	count(0)
	b.now.Add((25 * time.Hour).Milliseconds())
	due()
	count(1)
	b.close()
	b.open()
	due()
	count(1)
	b.now.Add((25 * time.Hour).Milliseconds())
	due()
	count(2)
}

// TestSecretReadWhileSet: each value that is read has its record of that very version.
func TestSecretReadWhileSet(t *testing.T) {
	b := newBench(t)
	ctx, v := t.Context(), b.vault()
	set := func(value string) {
		if _, err := v.SetSecret(ctx, keyvault.DefaultVault, "s", []byte(value), keyvault.SecretSettings{}); err != nil {
			t.Error(err)
		}
	}
	set("0")
	var mu sync.Mutex
	read := map[string]int{}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 8 {
				row, _, err := v.GetSecret(ctx, keyvault.DefaultVault, "s", "")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				read[row.Version]++
				mu.Unlock()
			}
		})
	}
	for range 4 {
		set("1")
	}
	all.Wait()
	for _, r := range b.records() {
		if r.Operation == "secrets/get" && r.Decision == receipt.Allow {
			read[r.Version]--
		}
	}
	for version, n := range read {
		if n > 0 {
			t.Errorf("version %s was read %d times without a record", version, n)
		}
	}
}
