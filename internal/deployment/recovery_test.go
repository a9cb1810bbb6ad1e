package deployment

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// given is a deployment whose recipients the operator brought, so that nothing is
// drilled yet.
func given(t *testing.T) (site, [2]age.Identity) {
	t.Helper()
	a, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(o *Options) { o.RecoveryRecipients = []string{a.Recipient().String(), b.Recipient().String()} })
	return s, [2]age.Identity{a, b}
}

func status(t *testing.T, d *Deployment) RecoveryStatus {
	t.Helper()
	v, err := d.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.(RecoveryStatus)
}

func TestFirstKeyNeedsADrill(t *testing.T) {
	s, ids := given(t)
	if len(s.result.RecoveryIdentities) != 0 {
		t.Error("identities were made although recipients were given")
	}
	o := s.open(t)
	v := vault(t, o)
	if _, err := v.Create(t.Context(), "default", "k", attestedOnly("oct")); release.ReasonOf(err) != release.ReasonRecoveryNotReady {
		t.Fatalf("first key before a drill: %v", err)
	}
	st := status(t, o.Deployment)
	if st.Drilled != 0 || len(st.Recipients) != 2 {
		t.Errorf("status %+v", st)
	}
	proof, err := DrillProof(st.Wrap, st.Challenge, ids[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Drill(t.Context(), record("x"), proof); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Create(t.Context(), "default", "k", attestedOnly("oct")); err != nil {
		t.Fatalf("after the drill: %v", err)
	}
	if st := status(t, o.Deployment); st.Drilled != start.Unix() {
		t.Errorf("status after: %+v", st)
	}
	entries, err := o.log.Entries(t.Context(), 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := receipt.Decode(entries[0].Leaf); err != nil || r.Operation != "recovery/drill" {
		t.Errorf("record %+v, %v", r, err)
	}
}

func TestDrillRefuses(t *testing.T) {
	s, ids := given(t)
	o := s.open(t)
	elsewhere, others := given(t)
	o2 := elsewhere.open(t)
	st, st2 := status(t, o.Deployment), status(t, o2.Deployment)
	good, err := DrillProof(st.Wrap, st.Challenge, ids[0])
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := DrillProof(st2.Wrap, st.Challenge, others[0])
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := DrillProof(st.Wrap, st2.Challenge, ids[0])
	if err != nil {
		t.Fatal(err)
	}
	later := bytes.Clone(good)
	later[7]++ // of the expiry
	for name, proof := range map[string][]byte{
		"nothing": nil, "short": good[:len(good)-1], "long": append(bytes.Clone(good), 0), "challenge alone": st.Challenge,
		"key of another deployment": theirs, "challenge of another deployment": foreign, "challenge prolonged": later,
	} {
		if err := o.Drill(t.Context(), record("x"), proof); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if err := o.Drill(t.Context(), record("x"), bad); err == nil {
			t.Errorf("byte %d flipped: accepted", i)
		}
	}
	o.now = func() time.Time { return start.Add(challengeLife + time.Second) }
	if err := o.Drill(t.Context(), record("x"), good); err == nil {
		t.Error("expired challenge accepted")
	}
	o.now = clock
	if _, err := DrillProof(st.Wrap, st.Challenge, others[0]); err == nil {
		t.Error("opened with a stranger's identity")
	}
	if _, err := DrillProof(st.Wrap, st.Challenge[1:], ids[0]); err == nil {
		t.Error("short challenge answered")
	}
	if err := o.Ready(t.Context()); release.ReasonOf(err) != release.ReasonRecoveryNotReady {
		t.Errorf("ready after refused drills: %v", err)
	}
	if err := o.Drill(t.Context(), record("x"), good); err != nil {
		t.Errorf("the good proof: %v", err)
	}
}

// stocked is a closed deployment with keys, and a hot backup of it.
func stocked(t *testing.T) (s site, backup string) {
	t.Helper()
	s = newSite(t)
	o := s.open(t)
	v := vault(t, o)
	for _, name := range []string{"disk", "disk", "blob"} {
		if _, err := v.Create(t.Context(), "default", name, attestedOnly("oct")); err != nil {
			t.Fatal(err)
		}
	}
	m, err := keyvault.ParsePrivate([]byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Import(t.Context(), "default", "canary", keyvault.ImportKey{Material: m, Settings: attestedOnly("oct").Settings}); err != nil {
		t.Fatal(err)
	}
	backup = filepath.Join(s.base, "backup.db")
	if err := o.store.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	if err := o.close(); err != nil {
		t.Fatal(err)
	}
	return s, backup
}

const canary = "CANARY-KEY-0f3a9" // 16 bytes

func TestVerifyBackup(t *testing.T) {
	s, backup := stocked(t)
	before, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	for name, opener := range map[string]Opener{
		"root key": WithKEK(s.rootKey(t)),
		"first":    WithIdentities(identity(t, s.result.RecoveryIdentities[0])),
		"second":   WithIdentities(identity(t, s.result.RecoveryIdentities[1])),
	} {
		r, err := VerifyBackup(t.Context(), backup, opener, t.TempDir())
		if err != nil || r.Keys != 3 || r.Versions != 4 || r.Entries != 9 || r.Deployment != s.result.ID {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if after, _ := os.ReadFile(backup); !bytes.Equal(before, after) {
		t.Error("verifying changed the backup")
	}
	if _, err := VerifyBackup(t.Context(), backup, WithIdentities(), t.TempDir()); err == nil {
		t.Error("verified without a key")
	}
}

// A backup with any stored secret, leaf or row altered is found out. The file is
// altered where the value lies, as rot or an intruder would.
func TestVerifyBackupFindsAlterations(t *testing.T) {
	s, backup := stocked(t)
	whole, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	o := s.open(t)
	targets := map[string][]byte{}
	for _, name := range []string{secretPublic, secretKeys, secretKEK + s.rootKey(t).ID(), "dek/default/1"} {
		if targets[name], err = o.store.Secret(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	row, err := o.store.Row(t.Context(), "default", keyvault.Keys, "disk", "")
	if err != nil {
		t.Fatal(err)
	}
	targets["sealed key"], targets["policy"] = row.Sealed, row.Policy.Data
	entries, err := o.log.Entries(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(entries[0].Leaf, []byte("principals/create")) {
		t.Fatalf("entry 1 is %s", entries[0].Leaf)
	}
	targets["leaf"], targets["principal"] = []byte("principals/create"), []byte(`{"id":"admin-1"}`)
	for name, value := range targets {
		t.Run(name, func(t *testing.T) {
			// A long value continues on overflow pages; its beginning lies in one piece.
			piece := value[:min(len(value), 40)]
			at := bytes.LastIndex(whole, piece)
			if at < 0 {
				t.Fatal("not in the file")
			}
			bad := bytes.Clone(whole)
			for i := at; i >= 0; i = bytes.LastIndex(bad, piece) { // SQLite may keep a dead copy
				bad[i+len(piece)/2] ^= 1
			}
			file := filepath.Join(t.TempDir(), "bad.db")
			if err := os.WriteFile(file, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if r, err := VerifyBackup(t.Context(), file, WithKEK(s.rootKey(t)), t.TempDir()); err == nil {
				t.Errorf("verified: %+v", r)
			}
		})
	}
}

func TestRestore(t *testing.T) {
	s, backup := stocked(t)
	to := site{base: s.base, dir: filepath.Join(s.base, "restored"), kek: filepath.Join(s.base, "new.kek")}
	later := func() time.Time { return start.Add(time.Hour) }
	r, err := Restore(t.Context(), WithIdentities(identity(t, s.result.RecoveryIdentities[1])), RestoreOptions{File: backup, Dir: to.dir, KEKPath: to.kek, Now: later})
	if err != nil || r.Keys != 3 || r.Versions != 4 || r.Entries != 10 {
		t.Fatalf("%+v, %v", r, err)
	}
	o := to.open(t) // with the new root key
	if o.ID != s.result.ID {
		t.Errorf("restored as %s", o.ID)
	}
	was, is := s.open(t), status(t, o.Deployment)
	for _, name := range []string{"disk", "blob", "canary"} {
		a, err := was.store.Row(t.Context(), "default", keyvault.Keys, name, "")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := o.store.Row(t.Context(), "default", keyvault.Keys, name, ""); err != nil || !bytes.Equal(a.Sealed, b.Sealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if is.Drilled == 0 {
		t.Error("the drill is forgotten")
	}
	old, _ := json.Marshal(s.result.Trust)
	trust, err := o.Trust([]string{"https://broker.example:8443"})
	if err != nil {
		t.Fatal(err)
	}
	if now, _ := json.Marshal(trust); string(now) != string(old) {
		t.Error("agents would have to be told about the restoration")
	}
	entries, err := o.log.Entries(t.Context(), 9, 10)
	if err != nil || len(entries) != 1 {
		t.Fatal(err)
	}
	if rec, err := receipt.Decode(entries[0].Leaf); err != nil || rec.Operation != "recovery/restore" || rec.Detail["kek"] != to.rootKey(t).ID() {
		t.Errorf("record %+v, %v", rec, err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	s, backup := stocked(t)
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	good := WithIdentities(identity(t, s.result.RecoveryIdentities[0]))
	cut, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(s.base, "half.db")
	if err := os.WriteFile(half, cut[:len(cut)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	kek, dir := filepath.Join(s.base, "new.kek"), filepath.Join(s.base, "restored")
	for name, c := range map[string]struct {
		file, dir, kek string
		opener         Opener
	}{
		"a stranger's identity": {backup, dir, kek, WithIdentities(stranger)},
		"no identity":           {backup, dir, kek, WithIdentities()},
		"over a deployment":     {backup, s.dir, kek, good},
		"root key that exists":  {backup, dir, s.kek, good},
		"root key inside":       {backup, dir, filepath.Join(dir, "kek"), good},
		"no backup":             {filepath.Join(s.base, "none"), dir, kek, good},
		"half a backup":         {half, dir, kek, good},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := os.ReadDir(s.base)
			if _, err := Restore(t.Context(), c.opener, RestoreOptions{File: c.file, Dir: c.dir, KEKPath: c.kek, Now: clock}); err == nil {
				t.Fatal("no error")
			}
			if after, _ := os.ReadDir(s.base); len(after) != len(before) {
				t.Errorf("left behind: %v, before %v", after, before)
			}
		})
	}
}

// Nothing in the data folder or a backup is a usable secret (I7): no secret of the
// deployment, in any usual spelling, and no imported key.
func TestNoSecretAtRest(t *testing.T) {
	s, backup := stocked(t)
	kekFile, err := os.ReadFile(s.kek)
	if err != nil {
		t.Fatal(err)
	}
	kek, err := hex.DecodeString(string(bytes.TrimSpace(kekFile)))
	if err != nil {
		t.Fatal(err)
	}
	o := s.open(t)
	d, dk, err := load(t.Context(), o.store, WithKEK(s.rootKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	sealedDEK, err := o.store.Secret(t.Context(), "dek/default/1")
	if err != nil {
		t.Fatal(err)
	}
	dek := openDEK(t, d, sealedDEK)
	secrets := map[string][]byte{
		"root key": kek, "deployment key": dk, "vault key": dek, "imported key": []byte(canary), "admin's secret": []byte(s.result.AdminSecret),
		"nonce key": d.NonceKey, "enroll key": d.EnrollKey, "pseudonym key": d.PseudonymKey, "page key": d.PageKey, "object key": d.ObjectKey,
		"log key": []byte(d.ring.Log[0][len(d.ring.Log[0])-40:]), "response key": d.ring.Response[0][30:70], "token key": d.ring.Token[0][30:70],
		"AK CA key": d.ring.AKCA[0].Key[30:70], "TLS CA key": d.ring.TLSCA[0].Key[30:70],
		"recovery identity": []byte(s.result.RecoveryIdentities[0][20:60]),
	}
	files := []string{backup}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, filepath.Join(s.dir, e.Name()))
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := scan(content, secrets); len(found) > 0 {
			t.Errorf("%s holds %v", file, found)
		}
	}
	// The scanner itself finds what is there.
	for name, secret := range secrets {
		for _, spelt := range spellings(secret) {
			if found := scan(append([]byte("xx"), append(spelt, "yy"...)...), secrets); len(found) == 0 {
				t.Errorf("the scanner misses %s", name)
			}
		}
	}
}

func spellings(secret []byte) [][]byte {
	return [][]byte{
		bytes.Clone(secret), hex.AppendEncode(nil, secret), bytes.ToUpper(hex.AppendEncode(nil, secret)),
		base64.StdEncoding.AppendEncode(nil, secret), base64.RawURLEncoding.AppendEncode(nil, secret),
	}
}

func scan(content []byte, secrets map[string][]byte) (found []string) {
	for name, secret := range secrets {
		for _, spelt := range spellings(secret) {
			if bytes.Contains(content, bytes.TrimRight(spelt, "=")) {
				found = append(found, name)
			}
		}
	}
	return found
}

// openDEK opens a vault key as package keyvault does, through its exported surface:
// the aad is found by trying what its Root is asked for.
func openDEK(t *testing.T, d *Deployment, sealed []byte) []byte {
	t.Helper()
	spy := &spyRoot{Root: d.Root}
	s, err := keyvault.New(keyvault.Config{
		Store: oneSecret{sealed: sealed}, Root: spy, Deployment: d.ID, BaseURL: "https://x", Check: noCheck, Ready: noReady, Now: clock, Record: noRecord,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Get(t.Context(), "default", "x", "") //nolint:errcheck // only the opening of the vault key matters
	if len(spy.opened) != 32 {
		t.Fatalf("vault key not seen")
	}
	return spy.opened
}
