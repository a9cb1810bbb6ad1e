package interop

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/openskr/openskr/interop/compat"
)

func TestGoSecrets(t *testing.T) {
	c, name := secretsClient(t, admin()), fresh("secret")
	value := strings.Repeat("päss\n", 4000) // 24 000 bytes
	var first azsecrets.Secret
	operation(t, compat.Go, "secret set", func(t *testing.T) {
		end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		first = set(t, c, name, azsecrets.SetSecretParameters{
			Value: &value, ContentType: ptr("text/plain"), Tags: map[string]*string{"a": ptr("b")}, SecretAttributes: &azsecrets.SecretAttributes{Expires: &end},
		})
		if *first.Value != value || *first.ContentType != "text/plain" || *first.Tags["a"] != "b" || !first.Attributes.Expires.Equal(end) || first.ID.Version() == "" {
			t.Errorf("%+v", first.Attributes)
		}
		_, err := c.SetSecret(t.Context(), fresh("big"), azsecrets.SetSecretParameters{Value: ptr(strings.Repeat("a", 25<<10+1))}, nil)
		fails(t, err, http.StatusBadRequest, "BadParameter")
		set(t, c, name, azsecrets.SetSecretParameters{Value: ptr("two")})
	})
	operation(t, compat.Go, "secret get", func(t *testing.T) {
		latest, err := c.GetSecret(t.Context(), name, "", nil)
		if err != nil || *latest.Value != "two" {
			t.Fatalf("%+v, %v", latest, err)
		}
		old, err := c.GetSecret(t.Context(), name, first.ID.Version(), nil)
		if err != nil || *old.Value != value {
			t.Fatal(err)
		}
		_, err = c.GetSecret(t.Context(), fresh("nothing"), "", nil)
		fails(t, err, notFound, "SecretNotFound")
	})
	operation(t, compat.Go, "secret update", func(t *testing.T) {
		u, err := c.UpdateSecretProperties(t.Context(), name, first.ID.Version(), azsecrets.UpdateSecretPropertiesParameters{
			ContentType: ptr("x"), SecretAttributes: &azsecrets.SecretAttributes{Enabled: ptr(false)}, Tags: map[string]*string{},
		}, nil)
		if err != nil || u.Value != nil || *u.ContentType != "x" || *u.Attributes.Enabled || len(u.Tags) != 0 {
			t.Fatalf("%+v, %v", u, err)
		}
		_, err = c.GetSecret(t.Context(), name, first.ID.Version(), nil)
		fails(t, err, forbidden, "Forbidden")
	})
}

func TestGoSecretLists(t *testing.T) {
	c, name := secretsClient(t, admin()), fresh("listed")
	const versions = 27
	for range versions {
		set(t, c, name, azsecrets.SetSecretParameters{Value: ptr("v")})
	}
	operation(t, compat.Go, "secret list", func(t *testing.T) {
		names := collect(t, c.NewListSecretPropertiesPager(nil), func(p azsecrets.ListSecretPropertiesResponse) (out []string) {
			for _, s := range p.Value {
				out = append(out, s.ID.Name())
			}
			return out
		})
		if !slices.Contains(names, name) {
			t.Error("not listed")
		}
	})
	operation(t, compat.Go, "secret list versions", func(t *testing.T) {
		got := collect(t, c.NewListSecretPropertiesVersionsPager(name, nil), func(p azsecrets.ListSecretPropertiesVersionsResponse) (out []string) {
			for _, s := range p.Value {
				out = append(out, s.ID.Version())
			}
			return out
		})
		slices.Sort(got)
		if len(slices.Compact(got)) != versions {
			t.Errorf("%d versions", len(got))
		}
	})
}

func TestGoSecretDeletion(t *testing.T) {
	c, name := secretsClient(t, admin()), fresh("deleted")
	set(t, c, name, azsecrets.SetSecretParameters{Value: ptr("v")})
	operation(t, compat.Go, "secret delete", func(t *testing.T) {
		d, err := c.DeleteSecret(t.Context(), name, nil)
		if err != nil || d.RecoveryID == nil || !d.ScheduledPurgeDate.After(*d.DeletedDate) || d.Value != nil {
			t.Fatalf("%+v, %v", d.DeletedSecret, err)
		}
		_, err = c.GetSecret(t.Context(), name, "", nil)
		fails(t, err, notFound, "SecretNotFound")
		_, err = c.SetSecret(t.Context(), name, azsecrets.SetSecretParameters{Value: ptr("v")}, nil)
		fails(t, err, http.StatusConflict, "Conflict")
	})
	operation(t, compat.Go, "secret get deleted", func(t *testing.T) {
		d, err := c.GetDeletedSecret(t.Context(), name, nil)
		if err != nil || d.ID.Name() != name || d.Value != nil {
			t.Errorf("%+v, %v", d.DeletedSecret, err)
		}
	})
	operation(t, compat.Go, "secret list deleted", func(t *testing.T) {
		names := collect(t, c.NewListDeletedSecretPropertiesPager(nil), func(p azsecrets.ListDeletedSecretPropertiesResponse) (out []string) {
			for _, s := range p.Value {
				out = append(out, s.ID.Name())
			}
			return out
		})
		if !slices.Contains(names, name) {
			t.Error("not listed")
		}
	})
	operation(t, compat.Go, "secret recover", func(t *testing.T) {
		if _, err := c.RecoverDeletedSecret(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		if s, err := c.GetSecret(t.Context(), name, "", nil); err != nil || *s.Value != "v" {
			t.Error(err)
		}
	})
	operation(t, compat.Go, "secret purge", func(t *testing.T) {
		discard(t, c, name)
		_, err := c.GetDeletedSecret(t.Context(), name, nil)
		fails(t, err, notFound, "SecretNotFound")
	})
}

func TestGoSecretBackup(t *testing.T) {
	c, name := secretsClient(t, admin()), fresh("backup")
	first := set(t, c, name, azsecrets.SetSecretParameters{Value: ptr("one")})
	set(t, c, name, azsecrets.SetSecretParameters{Value: ptr("two")})
	var blob []byte
	operation(t, compat.Go, "secret backup", func(t *testing.T) {
		b, err := c.BackupSecret(t.Context(), name, nil)
		if err != nil || len(b.Value) == 0 || bytes.Contains(b.Value, []byte("two")) {
			t.Fatalf("%d bytes, %v", len(b.Value), err)
		}
		blob = b.Value
	})
	operation(t, compat.Go, "secret restore", func(t *testing.T) {
		_, err := c.RestoreSecret(t.Context(), azsecrets.RestoreSecretParameters{SecretBackup: blob}, nil)
		fails(t, err, http.StatusConflict, "Conflict")
		discard(t, c, name)
		if _, err := c.RestoreSecret(t.Context(), azsecrets.RestoreSecretParameters{SecretBackup: blob}, nil); err != nil {
			t.Fatal(err)
		}
		for version, want := range map[string]string{"": "two", first.ID.Version(): "one"} {
			if s, err := c.GetSecret(t.Context(), name, version, nil); err != nil || *s.Value != want {
				t.Error(err)
			}
		}
	})
}

func secretsClient(t *testing.T, cred azcore.TokenCredential) *azsecrets.Client {
	t.Helper()
	c, err := azsecrets.NewClient(suite.broker.Vault, cred, nil)
	return must(t, c, err)
}

func set(t *testing.T, c *azsecrets.Client, name string, p azsecrets.SetSecretParameters) azsecrets.Secret {
	t.Helper()
	s, err := c.SetSecret(t.Context(), name, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Secret
}

// discard deletes and purges a secret.
func discard(t *testing.T, c *azsecrets.Client, name string) {
	t.Helper()
	if _, err := c.DeleteSecret(t.Context(), name, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PurgeDeletedSecret(t.Context(), name, nil); err != nil {
		t.Fatal(err)
	}
}
