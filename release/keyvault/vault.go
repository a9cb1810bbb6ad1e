package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/openskr/openskr/release"
)

// Limits of how long what was deleted can be recovered, in days (Key Vault's).
const (
	minRetention     = 7
	maxRetention     = 90
	defaultRetention = maxRetention
)

// Vault says what a vault is and how it treats what is in it: the value of an object
// of kind [release.ObjectVault]. A vault is never deleted.
type Vault struct {
	Name             string `json:"name"`
	Created          int64  `json:"created"`           // Unix seconds; 0: the default vault, of which nothing was said yet
	RetentionDays    int    `json:"retention_days"`    // 7 to 90
	PurgeProtection  bool   `json:"purge_protection"`  // nobody purges before the retention is over; never taken back
	LegacyAlgorithms bool   `json:"legacy_algorithms"` // RSA1_5 and AES-CBC are on
}

// VaultSettings are what an administrator says about a vault. nil means not said: the
// default for a new vault, unchanged for an update.
type VaultSettings struct {
	RetentionDays                     *int
	PurgeProtection, LegacyAlgorithms *bool
}

// Vault gives a vault's settings as they are now. The default vault is always there.
// ReasonNotFound.
func (s *Service) Vault(ctx context.Context, name string) (*Vault, error) {
	if s.Objects == nil || !ValidVault(name) {
		return implied(name)
	}
	o, err := s.Objects.Object(ctx, release.ObjectVault, name)
	if err != nil && release.ReasonOf(err) == release.ReasonNotFound {
		return implied(name)
	}
	if err != nil {
		return nil, err
	}
	return decodeVault(o)
}

// implied is a vault that nothing is written about: the default one, or none.
func implied(name string) (*Vault, error) {
	if name != DefaultVault {
		return nil, release.Refuse(release.ReasonNotFound, "no vault %.64q: make it with `openskr vault create`", name)
	}
	return &Vault{Name: name, RetentionDays: defaultRetention}, nil
}

func decodeVault(o *release.Object) (*Vault, error) {
	var v Vault
	if err := json.Unmarshal(o.Value, &v); err != nil {
		return nil, release.Refuse(release.ReasonIntegrity, "settings of vault %s: %w", o.Name, err)
	}
	if v.Name != o.Name || v.RetentionDays < minRetention || v.RetentionDays > maxRetention {
		return nil, release.Refuse(release.ReasonIntegrity, "settings of vault %s are not its own", o.Name)
	}
	return &v, nil
}

// Vaults lists vaults whose name sorts after `after`, in name order.
func (s *Service) Vaults(ctx context.Context, after string, limit int) ([]*Vault, error) {
	var out []*Vault
	if s.Objects != nil {
		list, err := s.Objects.List(ctx, release.ObjectVault, after, limit)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			v, err := decodeVault(o)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
	}
	at, listed := slices.BinarySearchFunc(out, DefaultVault, func(v *Vault, name string) int { return strings.Compare(v.Name, name) })
	if !listed && after < DefaultVault && at < limit {
		own, err := s.Vault(ctx, DefaultVault) // it may have been written about since
		if err != nil {
			return nil, err
		}
		out = slices.Insert(out, at, own)
	}
	return out[:min(limit, len(out))], nil
}

// CreateVault makes a vault. ReasonConflict when there is one of that name.
func (s *Service) CreateVault(ctx context.Context, name string, in VaultSettings) (*Vault, error) {
	if !ValidVault(name) {
		return nil, release.Refuse(release.ReasonBadRequest, "vault name %.64q: want 3 to 24 of a-z, 0-9 and -, a letter first and no hyphen last", name)
	}
	return s.changeVault(ctx, "vaults/create", name, func(old *Vault) (*Vault, error) {
		if old != nil || name == DefaultVault {
			return nil, release.Refuse(release.ReasonConflict, "vault %s exists", name)
		}
		return in.apply(&Vault{Name: name, Created: s.Now().Unix(), RetentionDays: defaultRetention})
	})
}

// UpdateVault changes a vault's settings. What is deleted already keeps its date.
func (s *Service) UpdateVault(ctx context.Context, name string, in VaultSettings) (*Vault, error) {
	return s.changeVault(ctx, "vaults/update", name, func(old *Vault) (*Vault, error) {
		if old == nil {
			var err error
			if old, err = implied(name); err != nil {
				return nil, err
			}
			old.Created = s.Now().Unix()
		}
		return in.apply(old)
	})
}

func (s *Service) changeVault(ctx context.Context, op, name string, next func(old *Vault) (*Vault, error)) (v *Vault, err error) {
	if s.Objects == nil {
		return nil, release.Refuse(release.ReasonNotOffered, "this broker has the default vault alone")
	}
	if !ValidVault(name) {
		return implied(name)
	}
	rec := s.Record(ctx, op)
	_, err = s.Objects.ChangeObject(ctx, rec, release.ObjectVault, name, func(o *release.Object) ([]byte, error) {
		var old *Vault
		if o != nil {
			if old, err = decodeVault(o); err != nil {
				return nil, err
			}
		}
		made, err := next(old)
		if err != nil {
			return nil, err
		}
		rec.Vault = name
		rec.Detail = map[string]string{
			"retention_days": strconv.Itoa(made.RetentionDays), "purge_protection": strconv.FormatBool(made.PurgeProtection),
			"legacy_algorithms": strconv.FormatBool(made.LegacyAlgorithms),
		}
		v = made
		return json.Marshal(made)
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// apply puts settings on a vault and judges the whole.
func (in VaultSettings) apply(v *Vault) (*Vault, error) {
	if days := in.RetentionDays; days != nil {
		switch {
		case *days < minRetention || *days > maxRetention:
			return nil, release.Refuse(release.ReasonBadRequest, "retention of %d days, want %d to %d", *days, minRetention, maxRetention)
		case v.PurgeProtection && *days < v.RetentionDays:
			return nil, release.Refuse(release.ReasonPurgeProtected, "vault %s is protected from purges: its retention of %d days can only grow", v.Name, v.RetentionDays)
		}
		v.RetentionDays = *days
	}
	if p := in.PurgeProtection; p != nil {
		if v.PurgeProtection && !*p {
			return nil, release.Refuse(release.ReasonPurgeProtected, "protection of vault %s from purges cannot be taken back", v.Name)
		}
		v.PurgeProtection = *p
	}
	if in.LegacyAlgorithms != nil {
		v.LegacyAlgorithms = *in.LegacyAlgorithms
	}
	return v, nil
}

// RecoveryLevel is Key Vault's word for how what is in v can be lost (wire format: §2.2).
func (v *Vault) RecoveryLevel() string {
	level := "Recoverable"
	if v.RetentionDays < maxRetention {
		level = "CustomizedRecoverable"
	}
	if !v.PurgeProtection {
		level += "+Purgeable"
	}
	return level
}

// VaultURL is where clients reach a vault, "" when no suffix is configured for it.
func (s *Service) VaultURL(name string) string {
	switch {
	case name == DefaultVault:
		return s.BaseURL
	case len(s.Suffixes) == 0:
		return ""
	}
	return "https://" + name + "." + s.Suffixes[0]
}

// known refuses a vault that does not exist. Since no vault is ever deleted, one that
// was there stays known.
func (s *Service) known(ctx context.Context, vault string) error {
	if _, ok := s.vaults.Load(vault); ok || vault == DefaultVault {
		return nil
	}
	if _, err := s.Vault(ctx, vault); err != nil {
		return err
	}
	s.vaults.Store(vault, true)
	return nil
}

// vaultIn gives a vault's settings as tx sees them.
func vaultIn(tx Tx, name string) (*Vault, error) {
	o, err := tx.Object(release.ObjectVault, name)
	if errors.Is(err, ErrNotFound) {
		return implied(name)
	}
	if err != nil {
		return nil, err
	}
	return decodeVault(o)
}

// named refuses what can name no object of a vault that exists.
func (s *Service) named(ctx context.Context, vault, name string) error {
	if err := named(vault, name); err != nil {
		return err
	}
	return s.known(ctx, vault)
}
