package keyvault_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

func diskKey(tags map[string]string) keyvault.CreateKey {
	k := attested(keyvault.KtyOct)
	k.Size, k.Tags = 256, tags
	return k
}

// TestGrantFormat: one record makes the grant and closes the version to whoever does not
// say what a disk's key is for; the next one leaves the key's row alone.
func TestGrantFormat(t *testing.T) {
	l := newLab(t)
	row := l.create(t, "disk", diskKey(map[string]string{"owner": "me"}))
	g, err := l.GrantFormat(t.Context(), vault, "DISK", "", "m1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if g.State != release.FormatOpen || g.Version != row.Version || g.ObjectID != row.ObjectID || g.Machine != "m1" || g.Until != l.now.Unix()+3600 || g.Key != "disk" {
		t.Errorf("%+v", g)
	}
	rec := l.store.Leaves[g.Index]
	if rec.Operation != "keys/grantformat" || rec.ObjectID != row.ObjectID || rec.Version != row.Version || rec.Detail["machine"] != "m1" || rec.Detail["until"] == "" || rec.Generation != 2 {
		t.Errorf("%+v", rec)
	}
	now, err := l.Get(t.Context(), vault, "disk", "")
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(now.Tags, map[string]string{"owner": "me", release.TagLUKSOnly: "yes"}) || now.Generation != 2 {
		t.Errorf("tags %v, generation %d", now.Tags, now.Generation)
	}
	again, err := l.GrantFormat(t.Context(), vault, "disk", row.Version, "", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if now, err = l.Get(t.Context(), vault, "disk", ""); err != nil || now.Generation != 2 {
		t.Errorf("a second grant made generation %d: %v", now.Generation, err)
	}
	if list, next, err := l.FormatGrants(t.Context(), vault, "", 10); err != nil || next != "" || len(list) != 1 || *list[0] != *again {
		t.Errorf("%+v %q %v", list, next, err)
	}
}

func TestGrantFormatRefuses(t *testing.T) {
	l := newLab(t)
	row := l.create(t, "disk", diskKey(nil))
	full := map[string]string{}
	for i := range 15 {
		full[string(rune('a'+i))] = ""
	}
	l.create(t, "full", diskKey(full))
	l.create(t, "signing", attested(keyvault.KtyEC))
	short := diskKey(nil)
	short.Size = 128
	l.create(t, "short", short)
	l.create(t, "inside", keyvault.CreateKey{Kty: keyvault.KtyOct, Size: 256})
	l.create(t, "gone", diskKey(nil))
	if _, err := l.Delete(t.Context(), vault, keyvault.Keys, "gone"); err != nil {
		t.Fatal(err)
	}
	size := len(l.store.Leaves)
	for name, c := range map[string]struct {
		key, version string
		life         time.Duration
		reason       release.Reason
	}{
		"too long":       {"disk", "", 31 * 24 * time.Hour, release.ReasonBadRequest},
		"too short":      {"disk", "", time.Second, release.ReasonBadRequest},
		"no life":        {"disk", "", 0, release.ReasonBadRequest},
		"EC":             {"signing", "", time.Hour, release.ReasonBadRequest},
		"128 bits":       {"short", "", time.Hour, release.ReasonBadRequest},
		"not released":   {"inside", "", time.Hour, release.ReasonBadRequest},
		"no room":        {"full", "", time.Hour, release.ReasonBadRequest},
		"no version":     {"disk", "x", time.Hour, release.ReasonBadRequest},
		"other version":  {"disk", strings.Repeat("0", 32), time.Hour, release.ReasonNotFound},
		"no key":         {"none", "", time.Hour, release.ReasonNotFound},
		"deleted":        {"gone", "", time.Hour, release.ReasonNotFound},
		"no name of one": {"a/b", "", time.Hour, release.ReasonBadRequest},
	} {
		_, err := l.GrantFormat(t.Context(), vault, c.key, c.version, "", c.life)
		want(t, name, err, c.reason)
	}
	l.right = []release.ObjectState{{Kind: release.ObjectRoles, Name: "p1", Generation: 3}}
	_, err := l.GrantFormat(t.Context(), vault, "disk", "", "", time.Hour)
	want(t, "a right that was taken meanwhile", err, release.ReasonStateChanged)
	if len(l.store.Leaves) != size {
		t.Errorf("%d records of what was refused", len(l.store.Leaves)-size)
	}
	if now, err := l.Get(t.Context(), vault, "disk", ""); err != nil || now.Generation != row.Generation {
		t.Errorf("%+v %v", now, err)
	}
}

// TestGrantOnAnEditedRow: a row that was edited in the store is granted nothing, with the
// tag or without.
func TestGrantOnAnEditedRow(t *testing.T) {
	for _, tags := range []map[string]string{nil, {release.TagLUKSOnly: "yes"}} {
		l := newLab(t)
		l.create(t, "disk", diskKey(tags))
		for at, row := range l.store.Rows {
			edited := *row
			edited.ObjectID = strings.Repeat("0", 32)
			l.store.Rows[at] = &edited
		}
		_, err := l.GrantFormat(t.Context(), vault, "disk", "", "", time.Hour)
		want(t, "granted", err, release.ReasonIntegrity)
		_, err = l.RevokeFormat(t.Context(), vault, "disk", "")
		want(t, "revoked", err, release.ReasonIntegrity)
	}
}

func TestRevokeFormat(t *testing.T) {
	l := newLab(t)
	l.create(t, "disk", diskKey(nil))
	_, err := l.RevokeFormat(t.Context(), vault, "disk", "")
	want(t, "none", err, release.ReasonNotFound)
	if _, err := l.GrantFormat(t.Context(), vault, "disk", "", "", time.Hour); err != nil {
		t.Fatal(err)
	}
	g, err := l.RevokeFormat(t.Context(), vault, "disk", "")
	if err != nil || g.State != release.FormatRevoked || l.store.Leaves[g.Index].Operation != "keys/revokeformat" {
		t.Errorf("%+v %v", g, err)
	}
	if list, _, err := l.FormatGrants(t.Context(), vault, "", 10); err != nil || len(list) != 1 || list[0].State != release.FormatRevoked {
		t.Errorf("%+v %v", list, err)
	}
	_, err = l.RevokeFormat(t.Context(), vault, "disk", "")
	want(t, "twice", err, release.ReasonNotFound)
}

// TestFormatGrantPages: a vault's list has its own grants, and tells nothing of another
// vault's, not even where the next page begins.
func TestFormatGrantPages(t *testing.T) {
	l := newLab(t)
	own := map[string]string{} // object id and version to vault
	vaults := []string{vault, "other", "other-2", "othe"}
	for _, in := range vaults {
		if in != vault {
			if _, err := l.CreateVault(t.Context(), in, keyvault.VaultSettings{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"a", "b", "c"} {
			row, err := l.Create(t.Context(), in, name, diskKey(nil))
			if err != nil {
				t.Fatal(err)
			}
			own[row.ObjectID+"/"+row.Version] = in
			if _, err := l.GrantFormat(t.Context(), in, name, "", "", time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, in := range vaults {
		for limit := 1; limit <= 4; limit++ {
			seen := map[string]bool{}
			for after, turns := "", 0; ; turns++ {
				page, next, err := l.FormatGrants(t.Context(), in, after, limit)
				if err != nil || turns > 3 || len(page) > limit {
					t.Fatal(turns, page, err)
				}
				for _, g := range page {
					if g.Vault != in {
						t.Errorf("vault %s lists one of %s", in, g.Vault)
					}
					seen[g.Key] = true
				}
				if next != "" && own[next] != in {
					t.Errorf("vault %s, pages of %d: the next begins after %q, which is of %s", in, limit, next, own[next])
				}
				if after = next; next == "" {
					break
				}
			}
			if len(seen) != 3 {
				t.Errorf("vault %s, pages of %d: %v", in, limit, seen)
			}
		}
	}
}

// TestGrantsOfReturnedKeys: what comes and goes with a grant open has none after it,
// whichever way it came back, and the record of the step says so.
func TestGrantsOfReturnedKeys(t *testing.T) {
	ctx := t.Context()
	steps := map[string]func(l *lab) error{
		"delete":  func(l *lab) error { _, err := l.Delete(ctx, vault, keyvault.Keys, "disk"); return err },
		"recover": func(l *lab) error { _, err := l.Recover(ctx, vault, keyvault.Keys, "disk"); return err },
		"purge":   func(l *lab) error { return l.Purge(ctx, vault, keyvault.Keys, "disk") },
	}
	for name, way := range map[string]struct {
		before []string
		step   string // with which the grants end
	}{
		"deleted": {nil, "delete"},
		"recovered, and deleted by an older broker": {[]string{"delete"}, "recover"},
		"purged, and deleted by an older broker":    {[]string{"delete"}, "purge"},
		"restored, and purged by an older broker":   {[]string{"delete", "purge"}, "restore"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			for range 3 {
				l.create(t, "disk", diskKey(nil))
			}
			versions, err := l.Versions(ctx, vault, keyvault.Keys, "disk", 0, 10)
			want(t, "versions", err, "")
			blob := l.backup(t, "disk")
			steps["restore"] = func(l *lab) error { _, err := l.Restore(ctx, vault, keyvault.Keys, blob); return err }
			for _, v := range versions[:2] {
				_, err = l.GrantFormat(ctx, vault, "disk", v.Version, "", time.Hour)
				want(t, "grant", err, "")
			}
			_, err = l.RevokeFormat(ctx, vault, "disk", versions[1].Version)
			want(t, "revoke", err, "")
			docs := maps.Clone(l.store.Docs)
			for _, step := range way.before {
				want(t, step, steps[step](l), "")
				maps.Copy(l.store.Docs, docs) // the grants are what they were
			}
			want(t, way.step, steps[way.step](l), "")
			if rec := l.last(); rec.Operation != "keys/"+way.step || rec.Detail[release.DetailGrantsRevoked] != "1" {
				t.Errorf("record %+v", rec)
			}
			list, _, err := l.FormatGrants(ctx, vault, "", 10)
			want(t, "list", err, "")
			for _, g := range list {
				if g.State != release.FormatRevoked {
					t.Errorf("after %s: %+v", way.step, g)
				}
			}
			if len(list) != 2 {
				t.Errorf("%d grants listed", len(list))
			}
		})
	}
}
