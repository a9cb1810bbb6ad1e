package keyvault

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/release/keyvault"
)

// SecretBundle is a secret version as clients read it. Without its value it is the
// answer to everything but get and set.
type SecretBundle struct {
	Value       Text              `json:"value,omitzero"`
	ID          string            `json:"id"` // URL with version
	ContentType string            `json:"contentType,omitempty"`
	Attributes  SecretAttributes  `json:"attributes"`
	Tags        map[string]string `json:"tags,omitempty"`
	// Of a deleted secret; times in Unix seconds.
	RecoveryID         string `json:"recoveryId,omitempty"`
	DeletedDate        int64  `json:"deletedDate,omitzero"`
	ScheduledPurgeDate int64  `json:"scheduledPurgeDate,omitzero"`
}

// SecretItem is an entry of a list of secrets; it never has a value.
type SecretItem struct {
	ID          string            `json:"id"`
	ContentType string            `json:"contentType,omitempty"`
	Attributes  SecretAttributes  `json:"attributes"`
	Tags        map[string]string `json:"tags,omitempty"`
	// Of a deleted secret, as in SecretBundle.
	RecoveryID         string `json:"recoveryId,omitempty"`
	DeletedDate        int64  `json:"deletedDate,omitzero"`
	ScheduledPurgeDate int64  `json:"scheduledPurgeDate,omitzero"`
}

// SecretAttributes in an answer; times in Unix seconds.
type SecretAttributes struct {
	Enabled         bool   `json:"enabled"`
	NotBefore       int64  `json:"nbf,omitzero"`
	Expires         int64  `json:"exp,omitzero"`
	Created         int64  `json:"created"`
	Updated         int64  `json:"updated"`
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays int    `json:"recoverableDays"`
}

// Text is a JSON string that can be cleared; nil is none, empty is one.
type Text []byte

// MarshalJSONTo implements json.MarshalerTo.
func (t Text) MarshalJSONTo(e *jsontext.Encoder) error {
	quoted, err := jsontext.AppendQuote(make([]byte, 0, len(t)+2), t)
	if err != nil {
		return err
	}
	defer clear(quoted)
	return e.WriteValue(quoted)
}

// Clear implements route.Holding.
func (b *SecretBundle) Clear() { clear(b.Value) }

// secretBundle renders a version, with its value unless that is nil.
func (d *door) secretBundle(c *route.Call, row *keyvault.Row, value []byte) *SecretBundle {
	b := &SecretBundle{
		Value: value, ID: kid(c, row, true), ContentType: row.ContentType, Attributes: secretAttributes(row), Tags: row.Tags,
	}
	b.RecoveryID, b.DeletedDate, b.ScheduledPurgeDate = deletion(c, row)
	return b
}

// secretItem renders an entry of a list.
func (d *door) secretItem(versioned bool) func(*route.Call, *keyvault.Row) SecretItem {
	return func(c *route.Call, row *keyvault.Row) SecretItem {
		i := SecretItem{ID: kid(c, row, versioned), ContentType: row.ContentType, Attributes: secretAttributes(row), Tags: row.Tags}
		i.RecoveryID, i.DeletedDate, i.ScheduledPurgeDate = deletion(c, row)
		return i
	}
}

func secretAttributes(row *keyvault.Row) SecretAttributes {
	a := attributesOf(row)
	return SecretAttributes{
		Enabled: a.Enabled, NotBefore: a.NotBefore, Expires: a.Expires, Created: a.Created, Updated: a.Updated,
		RecoveryLevel: a.RecoveryLevel, RecoverableDays: a.RecoverableDays,
	}
}
