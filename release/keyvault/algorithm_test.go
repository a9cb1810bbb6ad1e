package keyvault_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// kinds are the keys of the tests of the table, by name.
func kinds() map[string]keyvault.CreateKey {
	out := map[string]keyvault.CreateKey{
		"RSA": {Kty: "RSA"}, "P-256": {Kty: "EC"}, "P-384": {Kty: "EC", Crv: "P-384"}, "P-521": {Kty: "EC", Crv: "P-521"}, "P-256K": {Kty: "EC", Crv: "P-256K"},
		"oct128": {Kty: "oct", Size: 128}, "oct192": {Kty: "oct", Size: 192}, "oct256": {Kty: "oct"},
	}
	for name, in := range out {
		if in.Kty == "oct" {
			in.KeyOps = []string{"encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify"}
			out[name] = in
		}
	}
	return out
}

// wanted says again, in the words of the wire format, what each algorithm is for:
// the operations by kind of key.
func wanted() map[string]map[string]string {
	all, sign, wrap, crypt := "encrypt decrypt wrapKey unwrapKey", "sign verify", "wrapKey unwrapKey", "encrypt decrypt"
	out := map[string]map[string]string{
		"RSA-OAEP": {"RSA": all}, "RSA-OAEP-256": {"RSA": all}, "RSA1_5": {"RSA": all},
		"RS256": {"RSA": sign}, "RS384": {"RSA": sign}, "RS512": {"RSA": sign}, "PS256": {"RSA": sign}, "PS384": {"RSA": sign}, "PS512": {"RSA": sign},
		"ES256": {"P-256": sign}, "ES384": {"P-384": sign}, "ES512": {"P-521": sign}, "ES256K": {"P-256K": sign},
		"HS256": {"oct256": sign}, "HS384": {"oct256": sign}, "HS512": {"oct256": sign},
		"CKM_AES_KEY_WRAP":     {"oct128": wrap, "oct192": wrap, "oct256": wrap},
		"CKM_AES_KEY_WRAP_PAD": {"oct128": wrap, "oct192": wrap, "oct256": wrap},
	}
	for _, size := range []string{"128", "192", "256"} {
		out["A"+size+"KW"] = map[string]string{"oct" + size: wrap}
		for _, mode := range []string{"GCM", "CBC", "CBCPAD"} {
			out["A"+size+mode] = map[string]string{"oct" + size: crypt}
		}
	}
	return out
}

// Names that nobody offers, some of them one letter off.
var unknown = []string{"none", "", "rs256", "RSNULL", "RSA1_5 ", "RSA-OAEP-512", "HS1", "ES256k", "A512CBC", "A128CBC-HS256", "CKM_AES_CBC"}

// Every operation × algorithm × kind of key, with the weak ones off and on: what is
// not in the table is refused, before anything is recorded.
func TestAlgorithmTable(t *testing.T) {
	l, table := newLab(t), keyvault.AlgorithmNames()
	for name, in := range kinds() {
		l.create(t, name, in)
	}
	fits := wanted()
	for name := range table {
		if fits[name] == nil {
			t.Errorf("%s is in the table and not in the test", name)
		}
	}
	for _, name := range unknown {
		fits[name] = nil
	}
	checked := 0
	for _, weak := range []bool{false, true} {
		l.weak(t, weak)
		for alg, keys := range fits {
			for key := range kinds() {
				for _, op := range []string{"encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify"} {
					allowed := slices.Contains(strings.Fields(keys[key]), op) && (weak || !table[alg])
					l.tried(t, alg, key, op, allowed)
					checked++
				}
			}
		}
	}
	if checked < 3000 {
		t.Errorf("only %d combinations", checked)
	}
}

// tried makes a request that is malformed for every algorithm, so that it tells the
// table's word from all others.
func (l *lab) tried(t *testing.T, alg, key, op string, allowed bool) {
	t.Helper()
	row, err := l.Get(t.Context(), keyvault.DefaultVault, key, "")
	if err != nil {
		t.Fatal(err)
	}
	if row.Operable(op) != nil {
		if allowed {
			t.Errorf("%s: its key does not %s", alg, op)
		}
		return
	}
	before := len(l.store.Leaves)
	in := keyvault.Operation{Op: op, Algorithm: alg, Value: []byte("x"), Tag: []byte("x"), IV: []byte("x"), Digest: []byte("x")}
	want := release.ReasonAlgorithm
	if allowed {
		want = release.ReasonBadRequest
	}
	if _, err = l.Operate(t.Context(), keyvault.DefaultVault, key, "", in); release.ReasonOf(err) != want {
		t.Errorf("%q with %s, %s: %v, want %s", alg, key, op, err, want)
	}
	if len(l.store.Leaves) != before {
		t.Errorf("%q with %s, %s: recorded", alg, key, op)
	}
}

// weak turns the vault's weak algorithms on or off.
func (l *lab) weak(t testing.TB, on bool) {
	t.Helper()
	if _, err := l.UpdateVault(t.Context(), keyvault.DefaultVault, keyvault.VaultSettings{LegacyAlgorithms: &on}); err != nil {
		t.Fatal(err)
	}
}

// unreadable are documents on a broken disk.
type unreadable struct{ release.Objects }

func (unreadable) Object(context.Context, string, string) (*release.Object, error) {
	return nil, errors.New("disk")
}

// A setting that cannot be read is off, and a vault without settings has none.
func TestLegacyFailsClosed(t *testing.T) {
	l := newLab(t)
	l.imported(t, "k", make([]byte, 16))
	in := keyvault.Operation{Op: "encrypt", Algorithm: "A128CBC", Value: make([]byte, 16)}
	l.Objects = unreadable{l.Objects}
	if got := l.refused(t, "k", in); got != release.ReasonInternal {
		t.Errorf("settings unreadable: %s", got)
	}
	l.Objects = nil
	if got := l.refused(t, "k", in); got != release.ReasonAlgorithm {
		t.Errorf("no settings: %s", got)
	}
	if len(l.store.Leaves) != 1 {
		t.Errorf("%d records", len(l.store.Leaves))
	}
}
