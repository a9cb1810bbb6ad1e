package keyvault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/openskr/openskr/release"
)

const deployment = "skr-test"

func testDEK(b byte) []byte { return bytes.Repeat([]byte{b}, dekSize) }

// sampleRow has a value in every column, so that altering one never starts from zero.
func sampleRow() *Row {
	return &Row{
		Vault: "default", Name: "disk", Version: "00112233445566778899aabbccddeeff", ObjectID: "ffeeddccbbaa99887766554433221100",
		Seq: 2, Generation: 3, Kty: "EC", Crv: "P-256", Size: 256, KeyOps: []string{"sign", "verify"},
		Attributes: release.Attributes{Enabled: true, NotBefore: 10, Expires: 20, Exportable: true},
		Created:    5, Updated: 6, Tags: map[string]string{"team": "web"},
		Policy:       release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: []byte("package release"), Immutable: true, Digest: [32]byte{1}},
		AttestedOnly: true, Public: []byte(`{"x":"1"}`), CreatedIndex: 7, DEKEpoch: 1,
	}
}

func sealed(t *testing.T, r *Row) *Row {
	t.Helper()
	if err := seal(testDEK(1), deployment, r, []byte("the key itself")); err != nil {
		t.Fatal(err)
	}
	return r
}

// alterations gives, for each column of Row, a copy of it in which just that
// column differs. It finds the columns by reflection, so that a new one that the
// AAD does not cover fails the test that uses it.
func alterations(t *testing.T, row *Row) map[string]*Row {
	t.Helper()
	out := map[string]*Row{}
	var walk func(path string, typ reflect.Type, index []int)
	walk = func(path string, typ reflect.Type, index []int) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			at := append(append([]int(nil), index...), i)
			if f.Type.Kind() == reflect.Struct {
				walk(path+f.Name+".", f.Type, at)
				continue
			}
			c := *row
			alter(t, reflect.ValueOf(&c).Elem().FieldByIndex(at))
			out[path+f.Name] = &c
		}
	}
	walk("", reflect.TypeFor[Row](), nil)
	return out
}

func alter(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Slice:
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		alter(t, c.Index(v.Len()-1))
		v.Set(c)
	case reflect.Array:
		alter(t, v.Index(0))
	case reflect.Uint8:
		v.SetUint(v.Uint() ^ 1)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"team": "db"}))
	default:
		t.Fatalf("a column of kind %v: teach this test to alter it", v.Kind())
	}
}

func TestEveryColumnIsSealed(t *testing.T) {
	row := sealed(t, sampleRow())
	altered := alterations(t, row)
	if len(altered) < 25 {
		t.Fatalf("only %d columns found", len(altered))
	}
	for name, c := range altered {
		if payload, err := unseal(testDEK(1), deployment, c); !errors.Is(err, errIntegrity) || payload != nil {
			t.Errorf("%s altered: payload %q, %v", name, payload, err)
		}
		// What the columns say is believed by reads, which open nothing: the commitment
		// alone must notice. The ciphertext says nothing.
		if _, _, err := authentic(testDEK(1), deployment, c); !errors.Is(err, errIntegrity) && name != "Sealed" {
			t.Errorf("%s altered: the commitment holds", name)
		}
	}
	if payload, err := unseal(testDEK(1), deployment, row); err != nil || string(payload) != "the key itself" {
		t.Fatalf("untouched: %q, %v", payload, err)
	}
}

// Collections have more ways to differ than one changed member.
func TestAADIsInjective(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*Row){
		"as it is":        func(*Row) {},
		"ops joined":      func(r *Row) { r.KeyOps = []string{"signverify"} },
		"ops turned":      func(r *Row) { r.KeyOps = []string{"verify", "sign"} },
		"op less":         func(r *Row) { r.KeyOps = []string{"sign"} },
		"no ops":          func(r *Row) { r.KeyOps = nil },
		"tag moved":       func(r *Row) { r.Tags = map[string]string{"teamweb": ""} },
		"tag swapped":     func(r *Row) { r.Tags = map[string]string{"web": "team"} },
		"no tags":         func(r *Row) { r.Tags = nil },
		"tag more":        func(r *Row) { r.Tags = map[string]string{"team": "web", "a": "b"} },
		"name and vault":  func(r *Row) { r.Vault, r.Name = "defaultd", "isk" },
		"nbf and exp":     func(r *Row) { r.Attributes.NotBefore, r.Attributes.Expires = 20, 10 },
		"seq and gen":     func(r *Row) { r.Seq, r.Generation = 3, 2 },
		"no policy":       func(r *Row) { r.Policy = release.ReleasePolicy{} },
		"policy no data":  func(r *Row) { r.Policy.Data = nil },
		"no public":       func(r *Row) { r.Public = nil },
		"negative number": func(r *Row) { r.Seq = -1 },
	} {
		r := sampleRow()
		change(r)
		enc := string(aad(deployment, r))
		if other, ok := seen[enc]; ok {
			t.Errorf("%q and %q encode alike", name, other)
		}
		seen[enc] = name
	}
	a, b := sampleRow(), sampleRow()
	a.KeyOps, b.KeyOps = nil, []string{}
	a.Tags, b.Tags = nil, map[string]string{}
	if !bytes.Equal(aad(deployment, a), aad(deployment, b)) {
		t.Error("nil and empty differ, a store may give either")
	}
	if bytes.Equal(aad(deployment, a), aad(deployment+"x", a)) {
		t.Error("the deployment is not sealed")
	}
}

func TestUnsealRefuses(t *testing.T) {
	row := sealed(t, sampleRow())
	other := sampleRow()
	other.Version = "ffffffffffffffffffffffffffffffff"
	sealed(t, other)

	newer := *row
	newer.Generation++
	sealed(t, &newer)

	with := func(base *Row, from *Row) *Row {
		c := *base
		c.Salt, c.Commitment, c.Sealed = from.Salt, from.Commitment, from.Sealed
		return &c
	}
	for name, c := range map[string]*Row{
		"sealing of another version":            with(row, other),
		"sealing of an old generation":          with(&newer, row),
		"sealing of a newer generation":         with(row, &newer),
		"ciphertext of another version":         func() *Row { c := *row; c.Sealed = other.Sealed; return &c }(),
		"commitment of another version":         func() *Row { c := *row; c.Commitment = other.Commitment; return &c }(),
		"salt and commitment of another":        func() *Row { c := *row; c.Salt, c.Commitment = other.Salt, other.Commitment; return &c }(),
		"no sealing":                            with(row, &Row{}),
		"empty commitment":                      func() *Row { c := *row; c.Commitment = nil; return &c }(),
		"short commitment":                      func() *Row { c := *row; c.Commitment = row.Commitment[:16]; return &c }(),
		"short salt":                            func() *Row { c := *row; c.Salt = row.Salt[:16]; return &c }(),
		"ciphertext with a byte behind it":      func() *Row { c := *row; c.Sealed = append(bytes.Clone(row.Sealed), 0); return &c }(),
		"ciphertext of the row, in two halves":  func() *Row { c := *row; c.Sealed = row.Sealed[8:]; return &c }(),
		"everything of a row in another's name": func() *Row { c := *other; c.Name = "other"; return &c }(),
	} {
		if payload, err := unseal(testDEK(1), deployment, c); !errors.Is(err, errIntegrity) || payload != nil {
			t.Errorf("%s: payload %q, %v", name, payload, err)
		}
	}
	if _, err := unseal(testDEK(2), deployment, row); !errors.Is(err, errIntegrity) {
		t.Errorf("another vault key: %v", err)
	}
	if _, err := unseal(testDEK(1), "skr-other", row); !errors.Is(err, errIntegrity) {
		t.Errorf("another deployment: %v", err)
	}
	if _, err := unseal(testDEK(1)[:16], deployment, row); err == nil {
		t.Error("short vault key accepted")
	}
}

// A blob of any short length is an error, never a panic (security: CR-13).
func TestShortBlobs(t *testing.T) {
	for n := range 65 {
		row := sealed(t, sampleRow())
		row.Sealed = make([]byte, n)
		if _, err := unseal(testDEK(1), deployment, row); !errors.Is(err, errIntegrity) {
			t.Errorf("%d zero bytes: %v", n, err)
		}
		row = sealed(t, sampleRow())
		row.Sealed = row.Sealed[:min(n, len(row.Sealed)-1)]
		if _, err := unseal(testDEK(1), deployment, row); !errors.Is(err, errIntegrity) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
}

// GCM alone does not commit to its key: bytes can be made that open under two.
// The commitment of a row names one (security: CR-11). Here the attacker even
// holds the second vault key and puts a valid ciphertext under it into the row.
func TestCommitmentNamesOneKey(t *testing.T) {
	row := sealed(t, sampleRow())
	ad := aad(deployment, row)
	key, _, err := derive(testDEK(2), row.Salt, ad)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := aead(key)
	if err != nil {
		t.Fatal(err)
	}
	row.Sealed = gcm.Seal(nil, nil, []byte("another key"), ad)
	if payload, err := unseal(testDEK(2), deployment, row); !errors.Is(err, errIntegrity) {
		t.Errorf("opened %q, %v", payload, err)
	}
}

// Two seals of one row share neither salt, key nor nonce.
func TestSealsDiffer(t *testing.T) {
	a, b := sealed(t, sampleRow()), sealed(t, sampleRow())
	if bytes.Equal(a.Salt, b.Salt) || bytes.Equal(a.Commitment, b.Commitment) || bytes.Equal(a.Sealed, b.Sealed) {
		t.Error("a seal repeats")
	}
}

// The construction, computed once more by hand, is what docs/adr/0005 says.
func TestConstruction(t *testing.T) {
	row := sealed(t, sampleRow())
	key, commitment, err := derive(testDEK(1), row.Salt, aad(deployment, row))
	if err != nil || !bytes.Equal(commitment, row.Commitment) || len(key) != 32 {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	got, err := gcm.Open(nil, row.Sealed[:12], row.Sealed[12:], aad(deployment, row))
	if err != nil || string(got) != "the key itself" {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzUnseal(f *testing.F) {
	row := sampleRow()
	if err := seal(testDEK(1), deployment, row, []byte("x")); err != nil {
		f.Fatal(err)
	}
	f.Add(row.Salt, row.Commitment, row.Sealed)
	f.Add([]byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, salt, commitment, blob []byte) {
		c := *row
		c.Salt, c.Commitment, c.Sealed = salt, commitment, blob
		payload, err := unseal(testDEK(1), deployment, &c)
		if err == nil && string(payload) != "x" || err != nil && !errors.Is(err, errIntegrity) {
			t.Fatalf("%q, %v", payload, err)
		}
	})
}

func BenchmarkUnseal(b *testing.B) {
	for _, size := range []int{32, 2400} { // oct 256, PKCS#8 of RSA 4096
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			row := sampleRow()
			if err := seal(testDEK(1), deployment, row, make([]byte, size)); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := unseal(testDEK(1), deployment, row); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
