package keyvault

import (
	"context"
	"net/http"
	"net/url"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// maxRestore bounds the body of a restore: a backup in base64.
const maxRestore = keyvault.MaxBackup/3*4 + 1024

// Backup is the answer to a backup, and the body of a restore.
type Backup struct {
	Value attest.Bytes `json:"value"`
}

type restore struct {
	Value string `json:"value"` // base64, either alphabet
}

func shapeRestore() *shape { return &shape{members: leaves("value"), guarded: []string{"value"}} }

// lasting is what deletion and backup need to know of a collection: how its objects
// look, and who may.
type lasting[T any] struct {
	collection keyvault.Collection
	bundle     func(*route.Call, *keyvault.Row) (any, error)
	item       func(*route.Call, *keyvault.Row) T

	read, remove, recover, purge, backup, restore identity.Action
}

func (d *door) lastingRoutes() []*route.Route {
	keys := lasting[Item]{
		keyvault.Keys, func(c *route.Call, r *keyvault.Row) (any, error) { return d.bundle(c, r) }, d.item(false),
		identity.DeletedKeysRead, identity.KeysDelete, identity.KeysRecover, identity.KeysPurge, identity.KeysBackup, identity.KeysRestore,
	}
	secrets := lasting[SecretItem]{
		keyvault.Secrets, func(c *route.Call, r *keyvault.Row) (any, error) { return d.secretBundle(c, r, nil), nil }, d.secretItem(false),
		identity.SecretsMetadata, identity.SecretsDelete, identity.SecretsRecover, identity.SecretsPurge, identity.SecretsBackup, identity.SecretsRestore,
	}
	return append(keys.routes(d), secrets.routes(d)...)
}

// routes of the collection (wire format: §2.1, §6.1).
func (l lasting[T]) routes(d *door) []*route.Route {
	name := string(l.collection)
	live, deleted := "/"+name, "/deleted"+name
	add := func(method, path, op string, action identity.Action, queue route.Queue, do route.Handler) *route.Route {
		return &route.Route{Method: method, Path: path, Name: name + "/" + op, Access: route.Role, Action: action, Queue: queue, Do: do}
	}
	list := func(ctx context.Context, c *route.Call, after string, limit int) ([]*keyvault.Row, error) {
		return d.Service.ListDeleted(ctx, c.Vault, l.collection, after, limit)
	}
	bring := add(http.MethodPost, live+"/restore", "restore", l.restore, route.Making, folded(shapeRestore(), l.restored(d)))
	bring.Body, bring.Limit = route.JSON, maxRestore
	return []*route.Route{
		add(http.MethodDelete, live+"/:name", "delete", l.remove, route.NoQueue, l.row(d, Service.Delete)),
		add(http.MethodGet, deleted, "listdeleted", l.read, route.NoQueue, names(d, deleted, list, l.item)),
		add(http.MethodGet, deleted+"/:name", "getdeleted", l.read, route.NoQueue, l.row(d, Service.Deleted)),
		add(http.MethodPost, deleted+"/:name/recover", "recover", l.recover, route.NoQueue, l.row(d, Service.Recover)),
		add(http.MethodDelete, deleted+"/:name", "purge", l.purge, route.NoQueue, l.purged(d)),
		add(http.MethodPost, live+"/:name/backup", "backup", l.backup, route.Making, l.backedUp(d)),
		bring,
	}
}

// row makes the handler of what answers with the latest version of an object.
func (l lasting[T]) row(d *door, do func(s Service, ctx context.Context, vault string, c keyvault.Collection, name string) (*keyvault.Row, error)) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		name, _, err := target(c)
		if err != nil {
			return nil, err
		}
		row, err := do(d.Service, ctx, c.Vault, l.collection, name)
		if err != nil {
			return nil, err
		}
		return l.bundle(c, row)
	}
}

func (l lasting[T]) purged(d *door) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		name, _, err := target(c)
		if err != nil {
			return nil, err
		}
		if err := d.Service.Purge(ctx, c.Vault, l.collection, name); err != nil {
			return nil, err
		}
		return &route.Raw{Status: http.StatusNoContent}, nil
	}
}

func (l lasting[T]) backedUp(d *door) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		name, _, err := target(c)
		if err != nil {
			return nil, err
		}
		blob, err := d.Service.Backup(ctx, c.Vault, l.collection, name)
		if err != nil {
			return nil, err
		}
		return Backup{Value: blob}, nil
	}
}

func (l lasting[T]) restored(d *door) func(context.Context, *route.Call, *restore) (any, error) {
	return func(ctx context.Context, c *route.Call, req *restore) (any, error) {
		blob, err := anyBase64(req.Value)
		if err != nil {
			return nil, release.Refuse(release.ReasonBackupInvalid, "member value is not base64url")
		}
		row, err := d.Service.Restore(ctx, c.Vault, l.collection, blob)
		if err != nil {
			return nil, err
		}
		return l.bundle(c, row)
	}
}

// Deletion says when something was deleted and when it will be purged, and where it
// is until then. It is empty on what is live.
func deletion(c *route.Call, row *keyvault.Row) (recoveryID string, deleted, purge int64) {
	if row.Deleted == 0 {
		return "", 0, 0
	}
	return "https://" + c.Host + "/deleted" + string(row.Collection) + "/" + url.PathEscape(row.Name), row.Deleted, row.Purge
}

// recoverable is an answer that says how what it shows can be lost.
type recoverable interface {
	recovery(level string, days int)
}

// settled makes what every answer of a handler says of its recovery true of the vault
// as it is now, in this one place.
func (d *door) settled(do route.Handler) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		answer, err := do(ctx, c)
		shown, ok := answer.(recoverable)
		if err != nil || !ok {
			return answer, err
		}
		v, err := d.Service.Vault(ctx, c.Vault)
		if err != nil {
			return nil, err
		}
		shown.recovery(v.RecoveryLevel(), v.RetentionDays)
		return answer, nil
	}
}

func (b *Bundle) recovery(level string, days int) {
	b.Attributes.RecoveryLevel, b.Attributes.RecoverableDays = level, days
}

func (b *SecretBundle) recovery(level string, days int) {
	b.Attributes.RecoveryLevel, b.Attributes.RecoverableDays = level, days
}

func (i *Item) recovery(level string, days int) {
	i.Attributes.RecoveryLevel, i.Attributes.RecoverableDays = level, days
}

func (i *SecretItem) recovery(level string, days int) {
	i.Attributes.RecoveryLevel, i.Attributes.RecoverableDays = level, days
}

func (p Page[T]) recovery(level string, days int) {
	for i := range p.Value {
		if shown, ok := any(&p.Value[i]).(recoverable); ok {
			shown.recovery(level, days)
		}
	}
}
