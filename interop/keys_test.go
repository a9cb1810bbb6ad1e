package interop

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/openskr/openskr/interop/compat"
)

func TestGoKeyCreate(t *testing.T) {
	c := keysClient(t, admin())
	operation(t, compat.Go, "key create RSA", func(t *testing.T) {
		for _, size := range []int32{2048, 3072} {
			k := create(t, c, fresh("rsa"), azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeRSA), KeySize: ptr(size)})
			if *k.Key.Kty != azkeys.KeyTypeRSA || len(k.Key.N) != int(size)/8 || !bytes.Equal(k.Key.E, []byte{1, 0, 1}) || k.Key.D != nil || k.Key.P != nil {
				t.Errorf("%+v", k.Key)
			}
			if len(k.Key.KeyOps) != 6 {
				t.Errorf("default operations %v", k.Key.KeyOps)
			}
		}
	})
	operation(t, compat.Go, "key create EC", func(t *testing.T) {
		for _, crv := range []azkeys.CurveName{azkeys.CurveNameP256, azkeys.CurveNameP384, azkeys.CurveNameP521} {
			k := create(t, c, fresh("ec"), azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC), Curve: ptr(crv)})
			if *k.Key.Crv != crv || *k.Key.Kty != azkeys.KeyTypeEC || len(k.Key.X) != len(k.Key.Y) || len(k.Key.X) == 0 || k.Key.D != nil {
				t.Errorf("%+v", k.Key)
			}
		}
	})
	operation(t, compat.Go, "key create oct", func(t *testing.T) {
		k := create(t, c, fresh("oct"), azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeOct), KeySize: ptr[int32](256)})
		if *k.Key.Kty != azkeys.KeyTypeOct || k.Key.K != nil {
			t.Errorf("%+v", k.Key)
		}
	})
	difference(t, compat.Go, "key types ending in -HSM", func(t *testing.T) {
		for kty, want := range map[azkeys.KeyType]azkeys.KeyType{
			azkeys.KeyTypeRSAHSM: azkeys.KeyTypeRSA, azkeys.KeyTypeECHSM: azkeys.KeyTypeEC, azkeys.KeyTypeOctHSM: azkeys.KeyTypeOct,
		} {
			if k := create(t, c, fresh("hsm"), azkeys.CreateKeyParameters{Kty: ptr(kty)}); *k.Key.Kty != want {
				t.Errorf("%s: answered as %s", kty, *k.Key.Kty)
			}
		}
	})
}

func TestGoKeyExportable(t *testing.T) {
	c := keysClient(t, admin())
	operation(t, compat.Go, "key create exportable with policy", func(t *testing.T) {
		name, policy := fresh("exportable"), releasePolicy("sevsnpvm")
		k := create(t, c, name, azkeys.CreateKeyParameters{
			Kty: ptr(azkeys.KeyTypeRSAHSM), KeyAttributes: &azkeys.KeyAttributes{Exportable: ptr(true)}, ReleasePolicy: policy,
		})
		if !*k.Attributes.Exportable || !bytes.Equal(k.ReleasePolicy.EncodedPolicy, policy.EncodedPolicy) || *k.ReleasePolicy.Immutable {
			t.Errorf("%+v %+v", k.Attributes, k.ReleasePolicy)
		}
		policy.Immutable = ptr(true)
		if _, err := c.UpdateKey(t.Context(), name, "", azkeys.UpdateKeyParameters{ReleasePolicy: policy}, nil); err != nil {
			t.Error(err)
		}
		_, err := c.UpdateKey(t.Context(), name, "", azkeys.UpdateKeyParameters{ReleasePolicy: releasePolicy("weaker")}, nil)
		if err == nil {
			t.Error("an immutable policy was replaced")
		}
	})
	refusal(t, compat.Go, "key create exportable without policy", func(t *testing.T) {
		_, err := c.CreateKey(t.Context(), fresh("x"), azkeys.CreateKeyParameters{
			Kty: ptr(azkeys.KeyTypeRSAHSM), KeyAttributes: &azkeys.KeyAttributes{Exportable: ptr(true)},
		}, nil)
		fails(t, err, http.StatusBadRequest, "BadParameter")
	})
}

func TestGoKeyImport(t *testing.T) {
	c := keysClient(t, admin())
	operation(t, compat.Go, "key import", func(t *testing.T) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		jwk := &azkeys.JSONWebKey{
			Kty: ptr(azkeys.KeyTypeRSA), N: key.N.Bytes(), E: big.NewInt(int64(key.E)).Bytes(), D: key.D.Bytes(),
			P: key.Primes[0].Bytes(), Q: key.Primes[1].Bytes(), DP: key.Precomputed.Dp.Bytes(), DQ: key.Precomputed.Dq.Bytes(), QI: key.Precomputed.Qinv.Bytes(),
		}
		k, err := c.ImportKey(t.Context(), fresh("import"), azkeys.ImportKeyParameters{Key: jwk, HSM: ptr(true)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.Key.N, jwk.N) || k.Key.D != nil {
			t.Errorf("%+v", k.Key)
		}
	})
}

func TestGoKeyReadAndUpdate(t *testing.T) {
	c, name := keysClient(t, admin()), fresh("read")
	first := create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC), Tags: map[string]*string{"v": ptr("1")}})
	create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)})
	operation(t, compat.Go, "key get", func(t *testing.T) {
		latest, err := c.GetKey(t.Context(), name, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		old, err := c.GetKey(t.Context(), name, first.Key.KID.Version(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if *latest.Key.KID == *first.Key.KID || *old.Key.KID != *first.Key.KID || *old.Tags["v"] != "1" || latest.Attributes.RecoveryLevel == nil {
			t.Errorf("%+v\n%+v", latest, old)
		}
		_, err = c.GetKey(t.Context(), fresh("nothing"), "", nil)
		fails(t, err, notFound, "KeyNotFound")
	})
	operation(t, compat.Go, "key update", func(t *testing.T) {
		end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		k, err := c.UpdateKey(t.Context(), name, first.Key.KID.Version(), azkeys.UpdateKeyParameters{
			KeyAttributes: &azkeys.KeyAttributes{Enabled: ptr(false), Expires: &end}, KeyOps: []*azkeys.KeyOperation{ptr(azkeys.KeyOperationVerify)}, Tags: map[string]*string{"v": ptr("2")},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if *k.Attributes.Enabled || !k.Attributes.Expires.Equal(end) || len(k.Key.KeyOps) != 1 || *k.Tags["v"] != "2" {
			t.Errorf("%+v", k)
		}
	})
}

func TestGoKeyAttestation(t *testing.T) {
	c, name := keysClient(t, admin()), fresh("attested")
	key := create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)})
	difference(t, compat.Go, "key attestation", func(t *testing.T) {
		k, err := c.GetKeyAttestation(t.Context(), name, key.Key.KID.Version(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := k.Attributes.Attestation; a == nil || len(a.CertificatePEMFile) == 0 || len(a.PublicKeyAttestation) == 0 || len(a.PrivateKeyAttestation) != 0 {
			t.Errorf("%+v", a)
		}
	})
}

func TestGoKeyLists(t *testing.T) {
	c, name := keysClient(t, admin()), fresh("listed")
	const versions = 27 // more than a page
	for range versions {
		create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)})
	}
	operation(t, compat.Go, "key list", func(t *testing.T) {
		found := 0
		for p := c.NewListKeyPropertiesPager(nil); p.More(); {
			page, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range page.Value {
				if k.KID.Name() == name && k.KID.Version() == "" {
					found++
				}
			}
		}
		if found != 1 {
			t.Errorf("listed %d times", found)
		}
	})
	operation(t, compat.Go, "key list versions", func(t *testing.T) {
		seen := map[string]bool{}
		for p := c.NewListKeyPropertiesVersionsPager(name, nil); p.More(); {
			page, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range page.Value {
				seen[k.KID.Version()] = true
			}
		}
		if len(seen) != versions {
			t.Errorf("%d versions", len(seen))
		}
	})
}

// create makes a key that must come into being.
func create(t *testing.T, c *azkeys.Client, name string, p azkeys.CreateKeyParameters) azkeys.KeyBundle {
	t.Helper()
	k, err := c.CreateKey(t.Context(), name, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k.KeyBundle
}
