package interop

import (
	"bytes"
	"net/http"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/openskr/openskr/interop/compat"
)

func TestGoKeyDeletion(t *testing.T) {
	c, name := keysClient(t, admin()), fresh("deleted")
	first := create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)})
	create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)})
	operation(t, compat.Go, "key delete", func(t *testing.T) {
		d, err := c.DeleteKey(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d.RecoveryID == nil || d.DeletedDate == nil || !d.ScheduledPurgeDate.After(*d.DeletedDate) || *d.Attributes.RecoverableDays < 7 {
			t.Errorf("%+v %+v", d.DeletedKey, d.Attributes)
		}
		_, err = c.GetKey(t.Context(), name, "", nil)
		fails(t, err, notFound, "KeyNotFound")
		_, err = c.CreateKey(t.Context(), name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)}, nil)
		fails(t, err, http.StatusConflict, "Conflict")
	})
	operation(t, compat.Go, "key get deleted", func(t *testing.T) {
		d, err := c.GetDeletedKey(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d.Key.KID.Name() != name || d.RecoveryID == nil {
			t.Errorf("%+v", d.DeletedKey)
		}
		_, err = c.GetDeletedKey(t.Context(), fresh("nothing"), nil)
		fails(t, err, notFound, "KeyNotFound")
	})
	operation(t, compat.Go, "key list deleted", func(t *testing.T) {
		if !slices.Contains(deletedKeys(t, c), name) {
			t.Error("not listed")
		}
	})
	operation(t, compat.Go, "key recover", func(t *testing.T) {
		r, err := c.RecoverDeletedKey(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		old, err := c.GetKey(t.Context(), name, first.Key.KID.Version(), nil)
		if err != nil || !bytes.Equal(old.Key.X, first.Key.X) || r.Key.KID.Name() != name {
			t.Errorf("%+v, %v", r.Key, err)
		}
	})
	operation(t, compat.Go, "key purge", func(t *testing.T) {
		if _, err := c.DeleteKey(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.PurgeDeletedKey(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		_, err := c.GetDeletedKey(t.Context(), name, nil)
		fails(t, err, notFound, "KeyNotFound")
		create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)}) // the name is free
	})
}

func TestGoKeyBackup(t *testing.T) {
	c, name := keysClient(t, admin()), fresh("backup")
	first := create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)})
	second := create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC), Tags: map[string]*string{"a": ptr("b")}})
	var blob []byte
	operation(t, compat.Go, "key backup", func(t *testing.T) {
		b, err := c.BackupKey(t.Context(), name, nil)
		if err != nil || len(b.Value) == 0 {
			t.Fatalf("%d bytes, %v", len(b.Value), err)
		}
		blob = b.Value
	})
	operation(t, compat.Go, "key restore", func(t *testing.T) {
		_, err := c.RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: blob}, nil)
		fails(t, err, http.StatusConflict, "Conflict")
		if _, err := c.DeleteKey(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.PurgeDeletedKey(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		r, err := c.RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: blob}, nil)
		if err != nil {
			t.Fatal(err)
		}
		old, err := c.GetKey(t.Context(), name, first.Key.KID.Version(), nil)
		if err != nil || *r.Key.KID != *second.Key.KID || !bytes.Equal(old.Key.X, first.Key.X) || *r.Tags["a"] != "b" {
			t.Errorf("%+v, %v", r.KeyBundle, err)
		}
		bad := bytes.Clone(blob)
		bad[len(bad)/2] ^= 1
		if _, err := c.RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: bad}, nil); err == nil {
			t.Error("a changed backup was restored")
		}
	})
}

func TestGoKeyRotation(t *testing.T) {
	c, name := keysClient(t, admin()), fresh("rotated")
	first := create(t, c, name, azkeys.CreateKeyParameters{
		Kty: ptr(azkeys.KeyTypeRSA), KeySize: ptr[int32](3072), KeyOps: []*azkeys.KeyOperation{ptr(azkeys.KeyOperationWrapKey), ptr(azkeys.KeyOperationUnwrapKey)},
	})
	operation(t, compat.Go, "key rotate", func(t *testing.T) {
		k, err := c.RotateKey(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if *k.Key.KID == *first.Key.KID || len(k.Key.N) != 384 || bytes.Equal(k.Key.N, first.Key.N) || len(k.Key.KeyOps) != 2 {
			t.Errorf("%+v", k.Key)
		}
	})
	operation(t, compat.Go, "key get rotation policy", func(t *testing.T) {
		p, err := c.GetKeyRotationPolicy(t.Context(), name, nil)
		if err != nil || len(p.LifetimeActions) != 1 || *p.LifetimeActions[0].Action.Type != azkeys.KeyRotationPolicyActionNotify {
			t.Errorf("%+v, %v", p, err)
		}
	})
	operation(t, compat.Go, "key set rotation policy", func(t *testing.T) {
		p, err := c.UpdateKeyRotationPolicy(t.Context(), name, azkeys.KeyRotationPolicy{
			Attributes: &azkeys.KeyRotationPolicyAttributes{ExpiryTime: ptr("P90D")},
			LifetimeActions: []*azkeys.LifetimeAction{
				{Action: &azkeys.LifetimeActionType{Type: ptr(azkeys.KeyRotationPolicyActionRotate)}, Trigger: &azkeys.LifetimeActionTrigger{TimeBeforeExpiry: ptr("P30D")}},
				{Action: &azkeys.LifetimeActionType{Type: ptr(azkeys.KeyRotationPolicyActionNotify)}, Trigger: &azkeys.LifetimeActionTrigger{TimeBeforeExpiry: ptr("P35D")}},
			},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.GetKeyRotationPolicy(t.Context(), name, nil)
		if err != nil || *got.Attributes.ExpiryTime != "P90D" || len(got.LifetimeActions) != 2 || p.ID == nil || got.Attributes.Created == nil {
			t.Errorf("%+v, %v", got, err)
		}
		_, err = c.UpdateKeyRotationPolicy(t.Context(), name, azkeys.KeyRotationPolicy{Attributes: &azkeys.KeyRotationPolicyAttributes{ExpiryTime: ptr("P1D")}}, nil)
		fails(t, err, http.StatusBadRequest, "BadParameter")
	})
}

// deletedKeys names every deleted key.
func deletedKeys(t *testing.T, c *azkeys.Client) []string {
	t.Helper()
	return collect(t, c.NewListDeletedKeyPropertiesPager(nil), func(p azkeys.ListDeletedKeyPropertiesResponse) (out []string) {
		for _, k := range p.Value {
			if k.RecoveryID == nil || k.ScheduledPurgeDate == nil {
				t.Errorf("%+v", k)
			}
			out = append(out, k.KID.Name())
		}
		return out
	})
}

// collect reads every page.
func collect[Page any](t *testing.T, p *runtime.Pager[Page], items func(Page) []string) []string {
	t.Helper()
	var out []string
	for p.More() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, items(page)...)
	}
	return out
}
