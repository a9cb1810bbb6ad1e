package keyvault_test

import (
	"context"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

func TestVaultDefaults(t *testing.T) {
	l := newLab(t)
	v, err := l.Vault(t.Context(), keyvault.DefaultVault)
	want(t, "default", err, "")
	if *v != (keyvault.Vault{Name: "default", RetentionDays: 90}) || v.RecoveryLevel() != "Recoverable+Purgeable" {
		t.Errorf("%+v, %s", v, v.RecoveryLevel())
	}
	for _, name := range []string{"team-a", "", "..", "Default", "vault/default"} {
		_, err := l.Vault(t.Context(), name)
		want(t, name, err, release.ReasonNotFound)
	}
}

func TestVaultSettings(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	for _, name := range []string{"ab", "A-team", "1team", "team-", "a_b", "averyveryverylongvaultname", ""} {
		_, err := l.CreateVault(ctx, name, keyvault.VaultSettings{})
		want(t, "create "+name, err, release.ReasonBadRequest)
	}
	for _, days := range []int{6, 91, 0, -1} {
		_, err := l.CreateVault(ctx, "team-a", keyvault.VaultSettings{RetentionDays: &days})
		want(t, "retention", err, release.ReasonBadRequest)
	}
	v, err := l.CreateVault(ctx, "team-a", keyvault.VaultSettings{RetentionDays: ptr(7)})
	want(t, "create", err, "")
	if *v != (keyvault.Vault{Name: "team-a", Created: at.Unix(), RetentionDays: 7}) || v.RecoveryLevel() != "CustomizedRecoverable+Purgeable" {
		t.Errorf("%+v", v)
	}
	if rec := l.store.Leaves[len(l.store.Leaves)-1]; rec.Operation != "vaults/create" || rec.Vault != "team-a" || rec.Detail["retention_days"] != "7" {
		t.Errorf("record %+v", rec)
	}
	for _, name := range []string{"team-a", keyvault.DefaultVault} {
		_, err = l.CreateVault(ctx, name, keyvault.VaultSettings{})
		want(t, "again "+name, err, release.ReasonConflict)
	}
	_, err = l.UpdateVault(ctx, "nobody", keyvault.VaultSettings{})
	want(t, "update of none", err, release.ReasonNotFound)

	on, off := true, false
	for _, step := range []struct {
		name   string
		in     keyvault.VaultSettings
		reason release.Reason
	}{
		{"fewer days", keyvault.VaultSettings{RetentionDays: ptr(30)}, ""},
		{"protection", keyvault.VaultSettings{PurgeProtection: &on}, ""},
		{"protection again", keyvault.VaultSettings{PurgeProtection: &on}, ""},
		{"protection taken back", keyvault.VaultSettings{PurgeProtection: &off}, release.ReasonPurgeProtected},
		{"fewer days under protection", keyvault.VaultSettings{RetentionDays: ptr(29)}, release.ReasonPurgeProtected},
		{"more days under protection", keyvault.VaultSettings{RetentionDays: ptr(90), LegacyAlgorithms: &on}, ""},
		{"legacy off", keyvault.VaultSettings{LegacyAlgorithms: &off}, ""},
	} {
		_, err := l.UpdateVault(ctx, "team-a", step.in)
		want(t, step.name, err, step.reason)
	}
	v, err = l.Vault(ctx, "team-a")
	want(t, "after", err, "")
	if *v != (keyvault.Vault{Name: "team-a", Created: at.Unix(), RetentionDays: 90, PurgeProtection: true}) || v.RecoveryLevel() != "Recoverable" {
		t.Errorf("%+v", v)
	}
	_, err = l.UpdateVault(ctx, keyvault.DefaultVault, keyvault.VaultSettings{RetentionDays: ptr(10)})
	want(t, "default written about", err, "")
	if v, _ := l.Vault(ctx, keyvault.DefaultVault); v.RetentionDays != 10 || v.Created != at.Unix() {
		t.Errorf("%+v", v)
	}
}

func TestVaultList(t *testing.T) {
	l := newLab(t)
	names := func(after string, limit int) (out string) {
		list, err := l.Vaults(t.Context(), after, limit)
		want(t, "list", err, "")
		for _, v := range list {
			out += v.Name + " "
		}
		return out
	}
	if got := names("", 5); got != "default " {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"abc", "zzz"} {
		if _, err := l.CreateVault(t.Context(), name, keyvault.VaultSettings{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		after string
		limit int
		want  string
	}{
		{"", 5, "abc default zzz "},
		{"", 1, "abc "},
		{"abc", 1, "default "},
		{"abc", 2, "default zzz "},
		{"default", 2, "zzz "},
		{"zzz", 2, ""},
	} {
		if got := names(c.after, c.limit); got != c.want {
			t.Errorf("after %q, %d: %q, want %q", c.after, c.limit, got, c.want)
		}
	}
	if _, err := l.UpdateVault(t.Context(), keyvault.DefaultVault, keyvault.VaultSettings{}); err != nil {
		t.Fatal(err)
	}
	if got := names("", 5); got != "abc default zzz " {
		t.Errorf("written default: %q", got)
	}
}

// TestUnknownVault: nothing is asked of a vault that there is not, and no key is made for it.
func TestUnknownVault(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	for name, call := range map[string]func(vault string) error{
		"create": func(v string) error {
			_, err := l.Create(ctx, v, "k", keyvault.CreateKey{Kty: keyvault.KtyEC})
			return err
		},
		"update":   func(v string) error { _, err := l.Update(ctx, v, "k", "", keyvault.UpdateKey{}); return err },
		"get":      func(v string) error { _, err := l.Get(ctx, v, "k", ""); return err },
		"list":     func(v string) error { _, err := l.List(ctx, v, keyvault.Keys, "", 1); return err },
		"versions": func(v string) error { _, err := l.Versions(ctx, v, keyvault.Keys, "k", 0, 1); return err },
		"operate": func(v string) error {
			_, err := l.Operate(ctx, v, "k", "", keyvault.Operation{Op: keyvault.OpSign})
			return err
		},
		"delete":  func(v string) error { _, err := l.Delete(ctx, v, keyvault.Keys, "k"); return err },
		"deleted": func(v string) error { _, err := l.Deleted(ctx, v, keyvault.Keys, "k"); return err },
		"listed":  func(v string) error { _, err := l.ListDeleted(ctx, v, keyvault.Keys, "", 1); return err },
		"recover": func(v string) error { _, err := l.Recover(ctx, v, keyvault.Keys, "k"); return err },
		"purge":   func(v string) error { return l.Purge(ctx, v, keyvault.Keys, "k") },
		"backup":  func(v string) error { _, err := l.Backup(ctx, v, keyvault.Keys, "k"); return err },
		"restore": func(v string) error { _, err := l.Restore(ctx, v, keyvault.Keys, []byte("x")); return err },
		"set secret": func(v string) error {
			_, err := l.SetSecret(ctx, v, "k", []byte("v"), keyvault.SecretSettings{})
			return err
		},
	} {
		want(t, name, call("team-x"), release.ReasonNotFound)
	}
	if len(l.store.Rows)+len(l.store.Secrets)+len(l.store.Leaves) != 0 {
		t.Errorf("%d rows, %d secrets, %d records", len(l.store.Rows), len(l.store.Secrets), len(l.store.Leaves))
	}
	if _, err := l.CreateVault(ctx, "team-x", keyvault.VaultSettings{}); err != nil {
		t.Fatal(err)
	}
	row, err := l.Create(ctx, "team-x", "k", keyvault.CreateKey{Kty: keyvault.KtyEC})
	want(t, "create", err, "")
	_, err = l.Get(ctx, keyvault.DefaultVault, "k", "")
	want(t, "the key of another vault", err, release.ReasonNotFound)
	if row.Vault != "team-x" {
		t.Errorf("%+v", row)
	}
}

// TestVaultEdited: settings that an administrator of the database changed are no settings.
func TestVaultEdited(t *testing.T) {
	l := newLab(t)
	for _, value := range []string{`{}`, `{"name":"team-b","retention_days":90}`, `{"name":"team-a","retention_days":1}`, `x`} {
		l.store.Docs["vault/team-a"] = &release.Object{Kind: release.ObjectVault, Name: "team-a", Generation: 1, Value: []byte(value)}
		_, err := l.Vault(context.Background(), "team-a")
		want(t, value, err, release.ReasonIntegrity)
	}
}
