package keyvault_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// What is released is the private half of what Get shows.
func TestReleasePayload(t *testing.T) {
	l := newLab(t)
	for _, c := range []struct {
		kty, crv string
		size     int
	}{
		{"RSA", "", 2048},
		{"EC", "P-256", 0},
		{"EC", "P-384", 384},
		{"EC", "P-521", 0},
		{"oct", "", 128},
		{"oct", "", 192},
		{"oct", "", 0},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			in := attested(c.kty)
			in.Crv, in.Size = c.crv, c.size
			row := l.create(t, "k", in)
			payload, err := l.release(t, baseURL+"/keys/k/"+row.Version, nil)
			if err != nil {
				t.Fatal(err)
			}
			matches(t, row, payload)
			again, err := l.release(t, aliased+"/keys/k", nil)
			if err != nil || !bytes.Equal(payload, again) {
				t.Errorf("latest gives another key, %v", err)
			}
		})
	}
}

// matches compares private material with the public members of a row.
func matches(t *testing.T, row *keyvault.Row, payload []byte) {
	t.Helper()
	if row.Kty == "oct" {
		if len(payload)*8 != row.Size || row.Public != nil {
			t.Errorf("oct key of %d bytes, size %d, public %s", len(payload), row.Size, row.Public)
		}
		return
	}
	k, err := x509.ParsePKCS8PrivateKey(payload)
	if err != nil {
		t.Fatal(err)
	}
	var public struct{ N, E, X, Y string }
	if err := json.Unmarshal(row.Public, &public); err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := k.(type) {
	case *rsa.PrivateKey:
		if public.N != b64(k.N.Bytes()) || public.E != "AQAB" || row.Size != k.N.BitLen() {
			t.Errorf("public members %s of size %d belong to another key", row.Public, row.Size)
		}
	case *ecdsa.PrivateKey:
		n := (k.Params().BitSize + 7) / 8
		if public.X != b64(k.X.FillBytes(make([]byte, n))) || public.Y != b64(k.Y.FillBytes(make([]byte, n))) ||
			row.Crv != k.Params().Name || row.Size != k.Params().BitSize {
			t.Errorf("public members %s of %s belong to another key", row.Public, row.Crv)
		}
	}
}

// Between the record and the opening, the row is read again. Any change makes the
// grant good for nothing.
func TestOpenRefusesWhatChanged(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, l *lab, row *keyvault.Row){
		"updated": func(t *testing.T, l *lab, row *keyvault.Row) {
			if _, err := l.Update(t.Context(), "default", "k", row.Version, keyvault.UpdateKey{Settings: keyvault.Settings{Enabled: ptr(false)}}); err != nil {
				t.Fatal(err)
			}
		},
		"deleted": func(_ *testing.T, l *lab, row *keyvault.Row) { delete(l.store.Rows, "default/keys/k/"+row.Version) },
		"other version in its place": func(t *testing.T, l *lab, row *keyvault.Row) {
			other := l.create(t, "k", attested("oct"))
			l.store.Rows["default/keys/k/"+row.Version] = l.store.Rows["default/keys/k/"+other.Version]
		},
		"other key in its place": func(t *testing.T, l *lab, row *keyvault.Row) {
			other := l.create(t, "other", attested("oct"))
			l.store.Rows["default/keys/k/"+row.Version] = l.store.Rows["default/keys/other/"+other.Version]
		},
		"too late": func(_ *testing.T, l *lab, _ *keyvault.Row) { l.now = l.now.Add(release.GrantLife + time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			row := l.create(t, "k", attested("oct"))
			payload, err := l.release(t, baseURL+"/keys/k/"+row.Version, func(step string) {
				if step == "appended" {
					change(t, l, row)
				}
			})
			reason := release.ReasonStateChanged
			if strings.HasSuffix(name, "in its place") { // nobody but a thief puts a row there
				reason = release.ReasonIntegrity
			}
			want(t, name, err, reason)
			if payload != nil {
				t.Errorf("released %x", payload)
			}
		})
	}
}

func TestOpenNeedsAGrant(t *testing.T) {
	l := newLab(t)
	l.create(t, "k", attested("oct"))
	for _, g := range []*release.Grant{nil, {}} {
		if payload, err := l.Open(t.Context(), g); err == nil || payload != nil {
			t.Errorf("opened %x with grant %v", payload, g)
		}
	}
}

func TestGrantOpensOnce(t *testing.T) {
	l := newLab(t)
	row := l.create(t, "k", attested("oct"))
	twice := &openTwice{Service: l.Service}
	payload, err := l.releaseFrom(t, twice, baseURL+"/keys/k/"+row.Version, nil)
	if err != nil || payload == nil {
		t.Fatalf("first: %v", err)
	}
	if twice.again != nil || release.ReasonOf(twice.err) != release.ReasonInternal {
		t.Errorf("second: %x, %v", twice.again, twice.err)
	}
}

type openTwice struct {
	*keyvault.Service
	again []byte
	err   error
}

func (o *openTwice) Open(ctx context.Context, g *release.Grant) ([]byte, error) {
	payload, err := o.Service.Open(ctx, g)
	o.again, o.err = o.Service.Open(ctx, g)
	return payload, err
}

// A row edited in the database is believed by nobody: not by reads, which show
// public keys and policies, and not by a release.
func TestEditedRowIsRefused(t *testing.T) {
	for name, edit := range map[string]func(*keyvault.Row){
		"policy":        func(r *keyvault.Row) { r.Policy = *rego("package release\nallow := true") },
		"policy digest": func(r *keyvault.Row) { r.Policy.Digest[0] ^= 1 },
		"enabled":       func(r *keyvault.Row) { r.Attributes.Enabled = !r.Attributes.Enabled },
		"attested-only": func(r *keyvault.Row) { r.AttestedOnly = false },
		"public":        func(r *keyvault.Row) { r.Public = []byte(`{"x":"","y":""}`) },
		"epoch":         func(r *keyvault.Row) { r.DEKEpoch = 9 },
		"sequence":      func(r *keyvault.Row) { r.Seq = 100 },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			row := l.create(t, "k", attested("EC"))
			edit(l.store.Rows["default/keys/k/"+row.Version])
			_, err := l.Get(t.Context(), "default", "k", "")
			want(t, "get", err, release.ReasonIntegrity)
			_, err = l.List(t.Context(), "default", keyvault.Keys, "", 10)
			want(t, "list", err, release.ReasonIntegrity)
			_, err = l.Versions(t.Context(), "default", keyvault.Keys, "k", 0, 10)
			want(t, "versions", err, release.ReasonIntegrity)
			_, err = l.Find(t.Context(), release.KeyRef{Vault: "default", Name: "k"})
			want(t, "find", err, release.ReasonIntegrity)
			_, err = l.Update(t.Context(), "default", "k", "", keyvault.UpdateKey{Settings: keyvault.Settings{Enabled: ptr(true)}})
			want(t, "update", err, release.ReasonIntegrity)
			_, err = l.Create(t.Context(), "default", "k", attested("oct"))
			want(t, "new version", err, release.ReasonIntegrity)
			_, err = l.Verify(t.Context(), "default")
			want(t, "verify", err, release.ReasonIntegrity)
			_, err = l.release(t, baseURL+"/keys/k", nil)
			want(t, "release", err, release.ReasonIntegrity)
		})
	}
}

// A genuine row in another's place is refused by reads too.
func TestMovedRowIsRefused(t *testing.T) {
	l := newLab(t)
	row, other := l.create(t, "k", attested("oct")), l.create(t, "other", attested("oct"))
	l.store.Rows["default/keys/k/"+row.Version] = l.store.Rows["default/keys/other/"+other.Version]
	_, err := l.Get(t.Context(), "default", "k", row.Version)
	want(t, "get", err, release.ReasonIntegrity)
	_, err = l.Find(t.Context(), release.KeyRef{Vault: "default", Name: "k", Version: row.Version})
	want(t, "find", err, release.ReasonIntegrity)
}

// A vault key of another vault, or one altered, opens nothing and is not replaced.
func TestVaultKeyAltered(t *testing.T) {
	l := newLab(t)
	l.create(t, "k", attested("oct"))
	l.store.Secrets["dek/default/1"][20] ^= 1
	fresh := l.service(t, l.store)
	_, err := fresh.Get(t.Context(), "default", "k", "")
	want(t, "get", err, release.ReasonIntegrity)
	_, err = fresh.Create(t.Context(), "default", "k2", attested("oct"))
	want(t, "create", err, release.ReasonIntegrity)
	if len(l.store.Rows) != 1 {
		t.Error("a row was made under another vault key")
	}
}

func TestVerifyCounts(t *testing.T) {
	l := newLab(t)
	for i := range 3 {
		for range i + 1 {
			l.create(t, fmt.Sprint("k", i), attested("oct"))
		}
	}
	n, err := l.Verify(t.Context(), "default")
	if err != nil || n != (keyvault.Count{Keys: 3, Versions: 6}) {
		t.Fatalf("%+v, %v", n, err)
	}
	for k, r := range l.store.Rows {
		if r.Name == "k2" && r.Seq == 2 {
			delete(l.store.Rows, k)
		}
	}
	_, err = l.Verify(t.Context(), "default")
	want(t, "a version is missing", err, release.ReasonIntegrity)
}
