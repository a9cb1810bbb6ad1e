// Package keyvault is the Key Vault door: the data plane of keys and secrets as Azure's clients
// speak it (docs/wire/native.md lists what this version offers and what it adds).
// It is laxer than the native door where those clients need it, and nowhere else.
// It knows no HTTP framework.
package keyvault

import (
	"context"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// Service is the vault behind the door. Implemented by *keyvault.Service.
type Service interface {
	Create(ctx context.Context, vault, name string, in keyvault.CreateKey) (*keyvault.Row, error)
	Import(ctx context.Context, vault, name string, in keyvault.ImportKey) (*keyvault.Row, error)
	Update(ctx context.Context, vault, name, version string, in keyvault.UpdateKey) (*keyvault.Row, error)
	Get(ctx context.Context, vault, name, version string) (*keyvault.Row, error)
	List(ctx context.Context, vault string, c keyvault.Collection, after string, limit int) ([]*keyvault.Row, error)
	Versions(ctx context.Context, vault string, c keyvault.Collection, name string, after int64, limit int) ([]*keyvault.Row, error)
	SetSecret(ctx context.Context, vault, name string, value []byte, in keyvault.SecretSettings) (*keyvault.Row, error)
	GetSecret(ctx context.Context, vault, name, version string) (*keyvault.Row, []byte, error)
	UpdateSecret(ctx context.Context, vault, name, version string, in keyvault.SecretSettings) (*keyvault.Row, error)
	Delete(ctx context.Context, vault string, c keyvault.Collection, name string) (*keyvault.Row, error)
	Deleted(ctx context.Context, vault string, c keyvault.Collection, name string) (*keyvault.Row, error)
	ListDeleted(ctx context.Context, vault string, c keyvault.Collection, after string, limit int) ([]*keyvault.Row, error)
	Recover(ctx context.Context, vault string, c keyvault.Collection, name string) (*keyvault.Row, error)
	Purge(ctx context.Context, vault string, c keyvault.Collection, name string) error
	Backup(ctx context.Context, vault string, c keyvault.Collection, name string) ([]byte, error)
	Restore(ctx context.Context, vault string, c keyvault.Collection, blob []byte) (*keyvault.Row, error)
	Vault(ctx context.Context, name string) (*keyvault.Vault, error)
	Rotate(ctx context.Context, vault, name string) (*keyvault.Row, error)
	RotationPolicy(ctx context.Context, vault, name string) (*keyvault.RotationPolicy, error)
	SetRotationPolicy(ctx context.Context, vault, name string, in keyvault.RotationPolicy) (*keyvault.RotationPolicy, error)
	Operate(ctx context.Context, vault, name, version string, in keyvault.Operation) (*keyvault.Outcome, error)
	ParseKID(url string) (release.KeyRef, error)
}

// Config is what the door stands on; every field is required.
type Config struct {
	Service  Service
	Access   Access
	Releaser Releaser
	Answers  Answers
	Metrics  Metrics
	Now      func() time.Time
	PageKey  [32]byte // MACs page tokens
}

// Metrics counts releases. Implemented by *telemetry.Metrics.
type Metrics interface {
	Release(door, reason string, took time.Duration)
}
