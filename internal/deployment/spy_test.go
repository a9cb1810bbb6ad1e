package deployment

import (
	"bytes"
	"context"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// spyRoot remembers the vault key that was opened.
type spyRoot struct {
	keyvault.Root
	opened []byte
}

func (s *spyRoot) Unseal(sealed, aad []byte) ([]byte, error) {
	b, err := s.Root.Unseal(sealed, aad)
	s.opened = bytes.Clone(b)
	return b, err
}

// oneSecret is a store with a sealed vault key and one row that is nobody's.
type oneSecret struct {
	keyvault.Store
	sealed []byte
}

func (o oneSecret) Row(_ context.Context, vault string, _ keyvault.Collection, name, _ string) (*keyvault.Row, error) {
	return &keyvault.Row{Vault: vault, Collection: keyvault.Keys, Name: name, DEKEpoch: 1}, nil
}

func (o oneSecret) Mark(string, keyvault.Collection, string) int64 { return 0 }

func (o oneSecret) Secret(context.Context, string) ([]byte, error) { return o.sealed, nil }

func noCheck(context.Context, release.ReleasePolicy) error  { return nil }
func noReady(context.Context) error                         { return nil }
func noRecord(_ context.Context, op string) *release.Record { return record(op) }
