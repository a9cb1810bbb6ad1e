package audit

import (
	"context"
	"sync"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

type plainRoot struct{}

func (plainRoot) Seal(p, _ []byte) ([]byte, error)   { return append([]byte(nil), p...), nil }
func (plainRoot) Unseal(s, _ []byte) ([]byte, error) { return append([]byte(nil), s...), nil }

// vault is a vault on the bench's log.
func (b *bench) vault() *keyvault.Service {
	b.t.Helper()
	s, err := keyvault.New(keyvault.Config{
		Store: b.log.Keys(), Root: plainRoot{}, Deployment: "dep-1", BaseURL: "https://v.example",
		Check: func(context.Context, release.ReleasePolicy) error { return nil }, Ready: func(context.Context) error { return nil },
		Now: b.log.cfg.Now, Log: b.log,
		Right: func(context.Context) []release.ObjectState { return nil }, Objects: b.log.Objects(),
		Record: func(_ context.Context, op string) *release.Record {
			return &release.Record{Kind: receipt.KindChange, Operation: op}
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s.Close)
	return s
}

// TestDisabledWhileSigning: many sign while the key is being disabled. Each
// signature that left has its record before the one of the change, and none is
// made after it.
func TestDisabledWhileSigning(t *testing.T) {
	b := newBench(t)
	v := b.vault()
	ctx := t.Context()
	row, err := v.Create(ctx, keyvault.DefaultVault, "k", keyvault.CreateKey{Kty: keyvault.KtyEC})
	if err != nil {
		t.Fatal(err)
	}
	sign := keyvault.Operation{Op: keyvault.OpSign, Algorithm: "ES256", Value: make([]byte, 32)}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		signed int
		enough = make(chan struct{})
	)
	for range 8 {
		wg.Go(func() {
			for {
				_, err := v.Operate(ctx, keyvault.DefaultVault, "k", "", sign)
				if err != nil {
					if got := release.ReasonOf(err); got != release.ReasonKeyDisabled {
						t.Errorf("refused with %s: %v", got, err)
					}
					return
				}
				mu.Lock()
				if signed++; signed == 32 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	off := false
	if _, err := v.Update(ctx, keyvault.DefaultVault, "k", "", keyvault.UpdateKey{Settings: keyvault.Settings{Enabled: &off}}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	allowed, disabled := 0, false
	for _, rec := range b.records() {
		switch {
		case rec.ObjectID != row.ObjectID:
		case rec.Operation == "keys/update":
			disabled = true
		case rec.Kind == receipt.KindOperation && rec.Decision == receipt.Allow:
			allowed++
			if disabled {
				t.Error("an operation is allowed after the key was disabled")
			}
		}
	}
	if !disabled || allowed < signed {
		t.Errorf("%d signatures, %d records, disabled %v", signed, allowed, disabled)
	}
}

// records reads the whole log.
func (b *bench) records() (out []*receipt.Record) {
	b.t.Helper()
	entries, err := b.log.Entries(context.Background(), 0, 1<<16)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		rec, err := receipt.Decode(e.Leaf)
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, rec)
	}
	return out
}

// TestOperationsOfAClosedLog: no record, no operation; the log's fate is a 503.
func TestOperationsOfAClosedLog(t *testing.T) {
	b := newBench(t)
	v := b.vault()
	if _, err := v.Create(t.Context(), keyvault.DefaultVault, "k", keyvault.CreateKey{Kty: keyvault.KtyOct}); err != nil {
		t.Fatal(err)
	}
	if err := b.log.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := v.Operate(t.Context(), keyvault.DefaultVault, "k", "", keyvault.Operation{Op: keyvault.OpWrap, Algorithm: "A256KW", Value: make([]byte, 16)})
	if out != nil || release.ReasonOf(err) != release.ReasonLogUnavailable {
		t.Errorf("%v, %v", out, err)
	}
}
