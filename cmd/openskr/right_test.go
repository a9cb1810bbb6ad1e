package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/reference"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// TestRightAtTheChange: documents are changed for nobody whose right was taken back
// since it was judged.
func TestRightAtTheChange(t *testing.T) {
	r := newRig(t, nil)
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := openBroker(t.Context(), brokerOptions{Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	id := identity.ExternalID("https://issuer.example", "somebody")
	as := func(generation int64) *route.Call {
		return &route.Call{Caller: &identity.Caller{ID: id, State: []release.ObjectState{{Kind: release.ObjectRoles, Name: id, Generation: generation}}}}
	}
	for name, do := range map[string]func(c *route.Call) error{
		"vault": func(c *route.Call) error {
			_, err := b.keys.UpdateVault(c.With(t.Context()), keyvault.DefaultVault, keyvault.VaultSettings{})
			return err
		},
		"references": func(c *route.Call) error {
			_, err := b.references.Add(c.With(t.Context()), "web", []reference.Entry{{Kind: "pcr4", Value: strings.Repeat("ab", 32)}}, true)
			return err
		},
	} {
		if err := do(as(7)); release.ReasonOf(err) != release.ReasonStateChanged {
			t.Errorf("%s: %v", name, err)
		}
		if err := do(as(0)); release.ReasonOf(err) == release.ReasonStateChanged {
			t.Errorf("%s, whose right stands: %v", name, err)
		}
	}
}
