package keyvault

import (
	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// Bundle is a key version as clients read it: public parts only.
type Bundle struct {
	Key        PublicJWK         `json:"key"`
	Attributes Attributes        `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
	Policy     *Policy           `json:"release_policy,omitempty"`
	// AttestedOnly is ours, as in the request that set it.
	AttestedOnly bool `json:"attested_only,omitzero"`
	// Of a deleted key; times in Unix seconds.
	RecoveryID         string `json:"recoveryId,omitempty"`
	DeletedDate        int64  `json:"deletedDate,omitzero"`
	ScheduledPurgeDate int64  `json:"scheduledPurgeDate,omitzero"`
}

// Item is an entry of a list.
type Item struct {
	KID        string            `json:"kid"`
	Attributes Attributes        `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
	// Of a deleted key, as in Bundle.
	RecoveryID         string `json:"recoveryId,omitempty"`
	DeletedDate        int64  `json:"deletedDate,omitzero"`
	ScheduledPurgeDate int64  `json:"scheduledPurgeDate,omitzero"`
}

// PublicJWK has the members of RFC 7517 that are nobody's secret.
type PublicJWK struct {
	KID    string   `json:"kid"`
	Kty    string   `json:"kty"`
	KeyOps []string `json:"key_ops"`
	N      string   `json:"n,omitempty"`
	E      string   `json:"e,omitempty"`
	Crv    string   `json:"crv,omitempty"`
	X      string   `json:"x,omitempty"`
	Y      string   `json:"y,omitempty"`
}

// Attributes in an answer; times in Unix seconds.
type Attributes struct {
	Enabled         bool   `json:"enabled"`
	NotBefore       int64  `json:"nbf,omitzero"`
	Expires         int64  `json:"exp,omitzero"`
	Created         int64  `json:"created"`
	Updated         int64  `json:"updated"`
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays int    `json:"recoverableDays"`
	Exportable      bool   `json:"exportable"`
	AttestedOnly    bool   `json:"attestedOnly"` // ours

	Attestation *KeyAttestation `json:"attestation,omitempty"` // where it was asked for
}

// Policy is a release policy in an answer.
type Policy struct {
	ContentType string       `json:"contentType"`
	Data        attest.Bytes `json:"data"`
	Immutable   bool         `json:"immutable"`
}

func (d *door) bundle(c *route.Call, row *keyvault.Row) (*Bundle, error) {
	b := &Bundle{
		Attributes: attributesOf(row), Tags: row.Tags, AttestedOnly: row.AttestedOnly,
		Key: PublicJWK{KID: kid(c, row, true), Kty: row.Kty, Crv: row.Crv, KeyOps: row.KeyOps},
	}
	b.RecoveryID, b.DeletedDate, b.ScheduledPurgeDate = deletion(c, row)
	if b.Key.KeyOps == nil {
		b.Key.KeyOps = []string{}
	}
	if len(row.Public) > 0 {
		if err := json.Unmarshal(row.Public, &b.Key); err != nil { // n and e, or x and y, into the rest
			return nil, release.Refuse(release.ReasonIntegrity, "public members of %s: %w", b.Key.KID, err)
		}
	}
	if len(row.Policy.Data) > 0 {
		b.Policy = &Policy{ContentType: row.Policy.ContentType, Data: row.Policy.Data, Immutable: row.Policy.Immutable}
	}
	return b, nil
}

func (d *door) item(versioned bool) func(*route.Call, *keyvault.Row) Item {
	return func(c *route.Call, row *keyvault.Row) Item {
		i := Item{KID: kid(c, row, versioned), Attributes: attributesOf(row), Tags: row.Tags}
		i.RecoveryID, i.DeletedDate, i.ScheduledPurgeDate = deletion(c, row)
		return i
	}
}

// kid names a key or a secret under the host that the client used: it takes it apart
// again to find the vault.
func kid(c *route.Call, row *keyvault.Row, versioned bool) string {
	url := "https://" + c.Host + "/" + string(row.Collection) + "/" + row.Name
	if versioned {
		url += "/" + row.Version
	}
	return url
}

// attributesOf leaves what is the vault's to settled.
func attributesOf(row *keyvault.Row) Attributes {
	a := row.Attributes
	return Attributes{
		Enabled: a.Enabled, NotBefore: a.NotBefore, Expires: a.Expires, Created: row.Created, Updated: row.Updated,
		Exportable: a.Exportable, AttestedOnly: row.AttestedOnly,
	}
}
