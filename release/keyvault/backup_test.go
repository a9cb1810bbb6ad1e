package keyvault_test

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

func (l *lab) backup(t testing.TB, name string) []byte {
	t.Helper()
	blob, err := l.Backup(t.Context(), dv, keyvault.Keys, name)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

// gone deletes and purges a key.
func (l *lab) gone(t testing.TB, name string) {
	t.Helper()
	l.delete(t, name)
	if err := l.Purge(t.Context(), dv, keyvault.Keys, name); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) restore(t testing.TB, blob []byte) *keyvault.Row {
	t.Helper()
	row, err := l.Restore(t.Context(), dv, keyvault.Keys, blob)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// TestBackupRoundTrip: versions, their ids and their material come back as they were.
func TestBackupRoundTrip(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	in := keyvault.CreateKey{Kty: keyvault.KtyEC, Exportable: ptr(true), Settings: keyvault.Settings{
		Policy: rego("package release"), Tags: map[string]string{"a": "b"}, KeyOps: []string{"sign", "verify"},
	}}
	first := l.twice(t, "Disk", in)
	off := false
	if _, err := l.Update(ctx, dv, "disk", first.Version, keyvault.UpdateKey{Settings: keyvault.Settings{Enabled: &off, Policy: rego("package release\n# other")}}); err != nil {
		t.Fatal(err)
	}
	before, err := l.Versions(ctx, dv, keyvault.Keys, "disk", 0, 10)
	want(t, "versions", err, "")
	kid := l.KID(release.KeyRef{Vault: dv, Name: "Disk"})
	material, err := l.release(t, kid, nil)
	want(t, "release", err, "")
	blob := l.backup(t, "disk")
	if rec := l.last(); rec.Operation != "keys/backup" || rec.Kind != receipt.KindOperation || rec.Decision != receipt.Allow ||
		rec.ObjectID != first.ObjectID || rec.Version != before[1].Version || rec.Detail["versions"] != "2" {
		t.Errorf("record of the backup %+v", rec)
	}
	if bytes.Contains(blob, material) || bytes.Contains(blob, material[len(material)-32:]) || bytes.Contains(blob, []byte(before[0].Version)) {
		t.Error("something of the key is readable in the blob")
	}

	l.gone(t, "disk")
	row := l.restore(t, blob)
	after, err := l.Versions(ctx, dv, keyvault.Keys, "disk", 0, 10)
	want(t, "versions", err, "")
	if len(after) != 2 || row.Version != before[1].Version {
		t.Fatalf("%d versions, latest %s", len(after), row.Version)
	}
	for i, r := range after {
		if r.Generation <= before[i].Generation+2 { // deleted, then removed
			t.Errorf("version %d has generation %d, it was at %d before the purge", i+1, r.Generation, before[i].Generation+2)
		}
		r.Generation, r.CreatedIndex, r.Salt, r.Commitment, r.Sealed = before[i].Generation, before[i].CreatedIndex, before[i].Salt, before[i].Commitment, before[i].Sealed
		if !reflect.DeepEqual(r, before[i]) {
			t.Errorf("version %d\n got %+v\nwant %+v", i+1, r, before[i])
		}
	}
	if again, err := l.release(t, kid, nil); err != nil || !bytes.Equal(again, material) {
		t.Errorf("other material, %v", err)
	}
	if n, err := l.Service.Verify(ctx, dv); err != nil || n.Versions != 2 {
		t.Errorf("%+v, %v", n, err)
	}
	if third := l.create(t, "disk", in); third.Seq != 3 || third.ObjectID != first.ObjectID {
		t.Errorf("the next version: %+v", third)
	}
}

// TestRestoreName is BK-02: a restore takes no name away.
func TestRestoreName(t *testing.T) {
	l := newLab(t)
	l.create(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	blob := l.backup(t, "disk")
	refused := func(what string, reason release.Reason) {
		t.Helper()
		records := len(l.store.Leaves)
		_, err := l.Restore(t.Context(), dv, keyvault.Keys, blob)
		want(t, what, err, reason)
		if len(l.store.Leaves) != records {
			t.Errorf("%s: a record of what did not happen", what)
		}
	}
	refused("over the live key", release.ReasonConflict)
	l.delete(t, "disk")
	refused("over the deleted key", release.ReasonDeleted)
	want(t, "purge", l.Purge(t.Context(), dv, keyvault.Keys, "disk"), "")
	l.create(t, "DISK", keyvault.CreateKey{Kty: keyvault.KtyEC})
	refused("over another key of that name", release.ReasonConflict)
	l.gone(t, "disk")
	l.restore(t, blob)
}

// TestRestoreKeepsRules is BK-03: what was said of a key after the backup still holds.
func TestRestoreKeepsRules(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	first := l.twice(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC, Exportable: ptr(true), Settings: keyvault.Settings{Policy: rego("package weak")}})
	blob := l.backup(t, "disk")
	update := func(version string, in keyvault.Settings) {
		t.Helper()
		if _, err := l.Update(ctx, dv, "disk", version, keyvault.UpdateKey{Settings: in}); err != nil {
			t.Fatal(err)
		}
	}
	update(first.Version, keyvault.Settings{Enabled: ptr(false), Expires: ptr(at.Unix() + 60), Tags: map[string]string{"env": "lab"}})
	update("", keyvault.Settings{Policy: immutable("package strong"), AttestedOnly: ptr(true)})
	l.gone(t, "disk")

	row := l.restore(t, blob)
	if string(row.Policy.Data) != "package strong" || !row.Policy.Immutable || !row.AttestedOnly || len(row.KeyOps) != 0 {
		t.Errorf("latest: %+v", row)
	}
	if rec := l.last(); rec.Operation != "keys/restore" || rec.Detail["rules_from"] != "store" || rec.Policy != receipt.Digest(row.Policy.Digest) ||
		rec.Detail["backup_policy"] == hex.EncodeToString(row.Policy.Digest[:]) {
		t.Errorf("record %+v", rec)
	}
	old, err := l.Get(ctx, dv, "disk", first.Version)
	want(t, "first version", err, "")
	if old.Attributes.Enabled || old.Attributes.Expires == 0 || old.Tags["env"] != "lab" || string(old.Policy.Data) != "package weak" || old.AttestedOnly {
		t.Errorf("first: %+v", old)
	}
	_, err = l.Update(ctx, dv, "disk", "", keyvault.UpdateKey{Settings: keyvault.Settings{Policy: rego("package weak")}})
	want(t, "another policy", err, release.ReasonPolicyImmutable)
}

// TestRestoreOldestFirst: two backups, the older one brought back in between, do not
// make the newer version's rules forgotten.
func TestRestoreOldestFirst(t *testing.T) {
	l := newLab(t)
	in := keyvault.CreateKey{Kty: keyvault.KtyEC, Exportable: ptr(true), Settings: keyvault.Settings{Policy: rego("package weak")}}
	l.create(t, "disk", in)
	older := l.backup(t, "disk")
	second := l.create(t, "disk", in)
	newer := l.backup(t, "disk")
	if _, err := l.Update(t.Context(), dv, "disk", second.Version, keyvault.UpdateKey{Settings: keyvault.Settings{Enabled: ptr(false)}}); err != nil {
		t.Fatal(err)
	}
	l.gone(t, "disk")
	l.restore(t, older)
	l.gone(t, "disk")
	if row := l.restore(t, newer); row.Version != second.Version || row.Attributes.Enabled {
		t.Errorf("%+v", row)
	}
}

// TestOldRowPutBack: a row from before a purge fits nowhere, with the tombstone or
// without it.
func TestOldRowPutBack(t *testing.T) {
	l := newLab(t)
	l.create(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	blob := l.backup(t, "disk")
	id := row(t, l, "disk").ObjectID
	l.gone(t, "disk")
	delete(l.store.Docs, "tombstone/"+id) // by hand
	_, err := l.Restore(t.Context(), dv, keyvault.Keys, blob)
	want(t, "without its tombstone", err, release.ReasonIntegrity)
	l.store.Docs["tombstone/"+id] = &release.Object{Kind: "tombstone", Name: id, Generation: 1, Value: []byte(`{}`)}
	_, err = l.Restore(t.Context(), dv, keyvault.Keys, blob)
	want(t, "with another one", err, release.ReasonIntegrity)
}

// TestRestoreElsewhere is RB-13: a blob opens in its own deployment, vault and collection.
func TestRestoreElsewhere(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.create(t, "disk", attested(keyvault.KtyOct))
	blob := l.backup(t, "disk")
	l.gone(t, "disk")
	if _, err := l.CreateVault(ctx, "team-a", keyvault.VaultSettings{}); err != nil {
		t.Fatal(err)
	}
	_, err := l.Restore(ctx, "team-a", keyvault.Keys, blob)
	want(t, "other vault", err, release.ReasonBackupInvalid)
	_, err = l.Restore(ctx, dv, keyvault.Secrets, blob)
	want(t, "other collection", err, release.ReasonBackupInvalid)
	relabelled := bytes.Replace(blob, []byte(`"vault":"default"`), []byte(`"vault":"team-ab"`), 1)
	if _, err := l.CreateVault(ctx, "team-ab", keyvault.VaultSettings{}); err != nil {
		t.Fatal(err)
	}
	_, err = l.Restore(ctx, "team-ab", keyvault.Keys, relabelled)
	want(t, "relabelled", err, release.ReasonBackupInvalid)

	other := newLab(t)
	other.Deployment = "skr-other"
	_, err = other.Restore(ctx, dv, keyvault.Keys, blob)
	want(t, "other deployment", err, release.ReasonBackupInvalid)
	_, err = other.Restore(ctx, dv, keyvault.Keys, bytes.Replace(blob, []byte("skr-test"), []byte("skr-othr"), 1))
	want(t, "renamed deployment", err, release.ReasonBackupInvalid)

	empty := newLab(t) // the same deployment from an older backup of its store
	row := empty.restore(t, blob)
	if !row.AttestedOnly || len(row.KeyOps) != 0 || string(row.Policy.Data) != "package release" || empty.last().Detail["rules_from"] != "backup" {
		t.Errorf("%+v", row)
	}
	if _, err := empty.Operate(ctx, dv, "disk", "", keyvault.Operation{Op: keyvault.OpDecrypt}); release.ReasonOf(err) != release.ReasonAttestedOnly {
		t.Errorf("an operation with an attested-only key: %v", err)
	}
}

// TestBackupAltered is BK-01: every bit, every length.
func TestBackupAltered(t *testing.T) {
	l := newLab(t)
	l.create(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyOct, Size: 128})
	blob := l.backup(t, "disk")
	l.gone(t, "disk")
	try := func(what string, b []byte) {
		t.Helper()
		_, err := l.Restore(t.Context(), dv, keyvault.Keys, b)
		want(t, what, err, release.ReasonBackupInvalid)
	}
	for i := range blob {
		for bit := range 8 {
			b := bytes.Clone(blob)
			b[i] ^= 1 << bit
			try("a bit", b)
		}
		try("cut", blob[:i])
	}
	try("twice", append(bytes.Clone(blob), blob...))
	try("one more byte", append(bytes.Clone(blob), 0))
	try("too large", make([]byte, keyvault.MaxBackup+1))
	l.restore(t, blob)
}

// TestRestoreRaces: of many restores of one blob, and a create of its name, one wins.
func TestRestoreRaces(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.twice(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyOct})
	blob := l.backup(t, "disk")
	l.gone(t, "disk")
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = l.Restore(ctx, dv, keyvault.Keys, blob) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			want(t, "loser", err, release.ReasonConflict)
		}
	}
	if won != 1 || len(l.store.Rows) != 2 {
		t.Errorf("%d restored, %d rows", won, len(l.store.Rows))
	}
}

// TestBackupOfSecret: the same for secrets; the value is not in the blob.
func TestBackupOfSecret(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	const value = "a secret value that can be searched for"
	for range 2 {
		if _, err := l.SetSecret(ctx, dv, "pw", []byte(value), keyvault.SecretSettings{ContentType: ptr("text/plain")}); err != nil {
			t.Fatal(err)
		}
	}
	blob, err := l.Backup(ctx, dv, keyvault.Secrets, "pw")
	want(t, "backup", err, "")
	if bytes.Contains(blob, []byte(value)) {
		t.Error("the value is in the blob")
	}
	if _, err := l.Delete(ctx, dv, keyvault.Secrets, "pw"); err != nil {
		t.Fatal(err)
	}
	_, _, err = l.GetSecret(ctx, dv, "pw", "")
	want(t, "value of a deleted secret", err, release.ReasonNotFound)
	want(t, "purge", l.Purge(ctx, dv, keyvault.Secrets, "pw"), "")
	_, err = l.Restore(ctx, dv, keyvault.Keys, blob)
	want(t, "as a key", err, release.ReasonBackupInvalid)
	if _, err := l.Restore(ctx, dv, keyvault.Secrets, blob); err != nil {
		t.Fatal(err)
	}
	row, got, err := l.GetSecret(ctx, dv, "pw", "")
	if err != nil || string(got) != value || row.ContentType != "text/plain" || row.Seq != 2 {
		t.Errorf("%q, %+v, %v", got, row, err)
	}
}

// TestBackupBeforeRecord: without its record no blob is given.
func TestBackupBeforeRecord(t *testing.T) {
	l := newLab(t)
	l.create(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyOct})
	l.store.Fault = func(*release.Record) error { return release.Refuse(release.ReasonLogUnavailable, "no disk") }
	blob, err := l.Backup(t.Context(), dv, keyvault.Keys, "disk")
	want(t, "backup", err, release.ReasonLogUnavailable)
	if blob != nil {
		t.Error("a blob without a record")
	}
	l.store.Fault = nil
	records := len(l.store.Leaves)
	l.Now = func() time.Time { // the process stops for a while after the record
		if len(l.store.Leaves) > records {
			return at.Add(release.GrantLife + 1)
		}
		return at
	}
	_, err = l.Backup(t.Context(), dv, keyvault.Keys, "disk")
	want(t, "long after its record", err, release.ReasonStateChanged)
}

// FuzzBackup: whatever a blob says, it is refused without a panic, and nothing is written.
func FuzzBackup(f *testing.F) {
	l := newLab(f)
	l.create(f, "disk", keyvault.CreateKey{Kty: keyvault.KtyOct})
	good := l.backup(f, "disk")
	l.delete(f, "disk")
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte("openskr backup\n\x00\x00\x00\x02{}\x00\x00\x00\x00"))
	f.Add([]byte("openskr backup\n\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := l.Restore(t.Context(), dv, keyvault.Keys, b)
		// What opens is the seed, perhaps that of another process: its name is taken here.
		if err == nil || release.ReasonOf(err) != release.ReasonBackupInvalid && release.ReasonOf(err) != release.ReasonDeleted {
			t.Errorf("%v", err)
		}
	})
}

// TestRestoreOfUnknownVersion: where the store never saw a version, the newest rules of
// its object count, and what can never be taken back stays.
func TestRestoreOfUnknownVersion(t *testing.T) {
	l := newLab(t)
	in := keyvault.CreateKey{Kty: keyvault.KtyOct, Settings: keyvault.Settings{AttestedOnly: ptr(true), Policy: immutable("package strong")}}
	made := l.create(t, "disk", in)
	blob := l.backup(t, "disk")
	l.gone(t, "disk")
	tomb := l.store.Docs["tombstone/"+made.ObjectID] // as of a store in which the object had another version alone
	tomb.Value = bytes.Replace(tomb.Value, []byte(made.Version), bytes.Repeat([]byte("0"), 32), 1)
	tomb.Value = bytes.Replace(tomb.Value, []byte(`"attested_only":true`), []byte(`"attested_only":false`), 1)
	tomb.Value = bytes.Replace(tomb.Value, []byte(`,"policy_immutable":true`), nil, 1)
	tomb.Value = bytes.Replace(tomb.Value, []byte(`"enabled":true`), []byte(`"enabled":false`), 1)
	row := l.restore(t, blob)
	if !row.AttestedOnly || len(row.KeyOps) != 0 || !row.Policy.Immutable || string(row.Policy.Data) != "package strong" || row.Attributes.Enabled || !row.Attributes.Exportable {
		t.Errorf("%+v", row)
	}
}
