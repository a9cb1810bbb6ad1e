package v1

import (
	"context"
	"net/http"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release/keyvault"
)

// Vaults keeps vaults. Implemented by release/keyvault.
type Vaults interface {
	Vault(ctx context.Context, name string) (*keyvault.Vault, error)
	Vaults(ctx context.Context, after string, limit int) ([]*keyvault.Vault, error)
	CreateVault(ctx context.Context, name string, in keyvault.VaultSettings) (*keyvault.Vault, error)
	UpdateVault(ctx context.Context, name string, in keyvault.VaultSettings) (*keyvault.Vault, error)
	VaultURL(name string) string
}

// Vault is a vault and its settings.
type Vault struct {
	Name             string `json:"name"`
	URL              string `json:"url,omitempty"`     // absent: no suffix is configured for vaults
	Created          int64  `json:"created,omitempty"` // Unix seconds
	RetentionDays    int    `json:"retention_days"`
	PurgeProtection  bool   `json:"purge_protection"`
	LegacyAlgorithms bool   `json:"legacy_algorithms"`
}

// VaultPage answers GET /v1/vaults, by name. Next is the value of ?after= for the
// following page, absent on the last.
type VaultPage struct {
	Value []Vault `json:"value"`
	Next  string  `json:"next,omitempty"`
}

// VaultCreate is the body of POST /v1/vaults; what is absent has its default.
type VaultCreate struct {
	Name             string `json:"name"`
	RetentionDays    *int   `json:"retention_days"` // 7 to 90, default 90
	PurgeProtection  *bool  `json:"purge_protection"`
	LegacyAlgorithms *bool  `json:"legacy_algorithms"`
}

// VaultPatch is the body of PATCH /v1/vaults/{id}; what is absent stays.
type VaultPatch struct {
	RetentionDays    *int  `json:"retention_days"`
	PurgeProtection  *bool `json:"purge_protection"` // can be set, never reset
	LegacyAlgorithms *bool `json:"legacy_algorithms"`
}

func (d *door) vaultRoutes() []*route.Route {
	return []*route.Route{
		{Method: http.MethodGet, Path: "/v1/vaults", Name: "vaults/list", Access: route.Role, Action: identity.VaultsRead, Query: []string{"after", "limit"}, Do: d.listVaults},
		{Method: http.MethodGet, Path: "/v1/vaults/:id", Name: "vaults/get", Access: route.Role, Action: identity.VaultsRead, Do: d.getVault},
		{
			Method: http.MethodPost, Path: "/v1/vaults", Name: "vaults/create", Access: route.Role, Action: identity.VaultsWrite,
			Body: route.JSON, Limit: maxSmall, Do: route.Strict(d.createVault),
		},
		{
			Method: http.MethodPatch, Path: "/v1/vaults/:id", Name: "vaults/update", Access: route.Role, Action: identity.VaultsWrite,
			Body: route.JSON, Limit: maxSmall, Do: route.Strict(d.updateVault),
		},
	}
}

func (d *door) listVaults(ctx context.Context, c *route.Call) (any, error) {
	limit, err := number(c, "limit", 1, MaxPage, MaxPage)
	if err != nil {
		return nil, err
	}
	list, err := d.Vaults.Vaults(ctx, c.Query.Get("after"), int(limit)+1)
	if err != nil {
		return nil, err
	}
	page := VaultPage{Value: []Vault{}}
	for i, v := range list {
		if i == int(limit) {
			page.Next = list[i-1].Name
			break
		}
		page.Value = append(page.Value, d.vault(v))
	}
	return page, nil
}

func (d *door) getVault(ctx context.Context, c *route.Call) (any, error) {
	return d.vaultOf(d.Vaults.Vault(ctx, c.Params["id"]))
}

func (d *door) createVault(ctx context.Context, _ *route.Call, req *VaultCreate) (any, error) {
	return d.vaultOf(d.Vaults.CreateVault(ctx, req.Name, keyvault.VaultSettings{
		RetentionDays: req.RetentionDays, PurgeProtection: req.PurgeProtection, LegacyAlgorithms: req.LegacyAlgorithms,
	}))
}

func (d *door) updateVault(ctx context.Context, c *route.Call, req *VaultPatch) (any, error) {
	return d.vaultOf(d.Vaults.UpdateVault(ctx, c.Params["id"], keyvault.VaultSettings(*req)))
}

func (d *door) vaultOf(v *keyvault.Vault, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return d.vault(v), nil
}

func (d *door) vault(v *keyvault.Vault) Vault {
	return Vault{
		Name: v.Name, URL: d.Vaults.VaultURL(v.Name), Created: v.Created, RetentionDays: v.RetentionDays,
		PurgeProtection: v.PurgeProtection, LegacyAlgorithms: v.LegacyAlgorithms,
	}
}
