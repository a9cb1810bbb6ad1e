package interop

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/openskr/openskr/interop/compat"
)

func TestGoEncrypt(t *testing.T) {
	c := keysClient(t, admin())
	rsa, oct := fresh("rsa"), fresh("oct")
	create(t, c, rsa, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeRSA)})
	create(t, c, oct, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeOctHSM), KeySize: ptr[int32](256)})
	plain := random(32)
	operation(t, compat.Go, "encrypt and decrypt, RSA-OAEP", func(t *testing.T) {
		for _, alg := range []azkeys.EncryptionAlgorithm{azkeys.EncryptionAlgorithmRSAOAEP, azkeys.EncryptionAlgorithmRSAOAEP256} {
			sealed, err := c.Encrypt(t.Context(), rsa, "", azkeys.KeyOperationParameters{Algorithm: ptr(alg), Value: plain}, nil)
			if err != nil {
				t.Fatal(err)
			}
			opened, err := c.Decrypt(t.Context(), rsa, sealed.KID.Version(), azkeys.KeyOperationParameters{Algorithm: ptr(alg), Value: sealed.Result}, nil)
			if err != nil || !bytes.Equal(opened.Result, plain) {
				t.Errorf("%s: %v", alg, err)
			}
		}
	})
	operation(t, compat.Go, "encrypt and decrypt, AES-GCM", func(t *testing.T) {
		alg, aad := azkeys.EncryptionAlgorithmA256GCM, []byte("for whom")
		sealed, err := c.Encrypt(t.Context(), oct, "", azkeys.KeyOperationParameters{Algorithm: &alg, Value: plain, AdditionalAuthenticatedData: aad}, nil)
		if err != nil {
			t.Fatal(err)
		}
		in := azkeys.KeyOperationParameters{
			Algorithm: &alg, Value: sealed.Result, IV: sealed.IV, AuthenticationTag: sealed.AuthenticationTag, AdditionalAuthenticatedData: sealed.AdditionalAuthenticatedData,
		}
		opened, err := c.Decrypt(t.Context(), oct, "", in, nil)
		if err != nil || !bytes.Equal(opened.Result, plain) || !bytes.Equal(sealed.AdditionalAuthenticatedData, aad) {
			t.Errorf("%v", err)
		}
		in.AuthenticationTag = random(16)
		_, err = c.Decrypt(t.Context(), oct, "", in, nil)
		fails(t, err, http.StatusBadRequest, "BadParameter")
	})
	refusal(t, compat.Go, "weak algorithms", func(t *testing.T) {
		for _, in := range []struct {
			key string
			alg azkeys.EncryptionAlgorithm
		}{{rsa, azkeys.EncryptionAlgorithmRSA15}, {oct, azkeys.EncryptionAlgorithmA256CBC}, {oct, azkeys.EncryptionAlgorithmA256CBCPAD}} {
			_, err := c.Decrypt(t.Context(), in.key, "", azkeys.KeyOperationParameters{Algorithm: ptr(in.alg), Value: random(256), IV: random(16)}, nil)
			fails(t, err, http.StatusBadRequest, "BadParameter")
		}
	})
}

func TestGoLegacy(t *testing.T) {
	c := keysClientAt(t, suite.broker.Legacy, admin(), nil)
	rsa, oct, plain, iv := fresh("rsa"), fresh("oct"), random(32), random(16)
	create(t, c, rsa, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeRSA)})
	create(t, c, oct, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeOct), KeySize: ptr[int32](256)})
	operation(t, compat.Go, "weak algorithms, where a vault allows them", func(t *testing.T) {
		for alg, key := range map[azkeys.EncryptionAlgorithm]string{
			azkeys.EncryptionAlgorithmRSA15: rsa, azkeys.EncryptionAlgorithmA256CBC: oct, azkeys.EncryptionAlgorithmA256CBCPAD: oct,
		} {
			in := azkeys.KeyOperationParameters{Algorithm: ptr(alg), Value: plain}
			if key == oct {
				in.IV = iv
			}
			sealed, err := c.Encrypt(t.Context(), key, "", in, nil)
			if err != nil {
				t.Fatal(alg, err)
			}
			in.Value = sealed.Result
			if opened, err := c.Decrypt(t.Context(), key, "", in, nil); err != nil || !bytes.Equal(opened.Result, plain) {
				t.Errorf("%s: %v", alg, err)
			}
		}
	})
}

func TestGoWrap(t *testing.T) {
	c := keysClient(t, admin())
	rsa, oct, inner := fresh("rsa"), fresh("oct"), random(32)
	create(t, c, rsa, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeRSAHSM)})
	create(t, c, oct, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeOctHSM), KeySize: ptr[int32](256)})
	wrapped := func(key string, algs ...azkeys.EncryptionAlgorithm) func(t *testing.T) {
		return func(t *testing.T) {
			for _, alg := range algs {
				w, err := c.WrapKey(t.Context(), key, "", azkeys.KeyOperationParameters{Algorithm: ptr(alg), Value: inner}, nil)
				if err != nil {
					t.Fatal(err)
				}
				u, err := c.UnwrapKey(t.Context(), key, "", azkeys.KeyOperationParameters{Algorithm: ptr(alg), Value: w.Result}, nil)
				if err != nil || !bytes.Equal(u.Result, inner) {
					t.Errorf("%s: %v", alg, err)
				}
			}
		}
	}
	operation(t, compat.Go, "wrap and unwrap, RSA-OAEP", wrapped(rsa, azkeys.EncryptionAlgorithmRSAOAEP, azkeys.EncryptionAlgorithmRSAOAEP256))
	operation(t, compat.Go, "wrap and unwrap, AES-KW", wrapped(oct, azkeys.EncryptionAlgorithmA256KW))
	operation(t, compat.Go, "wrap and unwrap, CKM_AES_KEY_WRAP and _PAD", wrapped(oct, azkeys.EncryptionAlgorithmCKMAESKEYWRAP, azkeys.EncryptionAlgorithmCKMAESKEYWRAPPAD))
}

func TestGoSign(t *testing.T) {
	c, rsa := keysClient(t, admin()), fresh("rsa")
	create(t, c, rsa, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeRSA)})
	h256, h384, h512 := sha256.Sum256([]byte("m")), sha512.Sum384([]byte("m")), sha512.Sum512([]byte("m"))
	signed := func(t *testing.T, key string, alg azkeys.SignatureAlgorithm, digest []byte) {
		t.Helper()
		s, err := c.Sign(t.Context(), key, "", azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil)
		if err != nil {
			t.Fatal(alg, err)
		}
		other := bytes.Clone(digest)
		other[0] ^= 1
		for d, want := range map[string]bool{string(digest): true, string(other): false} {
			v, err := c.Verify(t.Context(), key, "", azkeys.VerifyParameters{Algorithm: &alg, Digest: []byte(d), Signature: s.Result}, nil)
			if err != nil || *v.Value != want {
				t.Errorf("%s: %v, want %v", alg, err, want)
			}
		}
	}
	operation(t, compat.Go, "sign and verify, RSA", func(t *testing.T) {
		for alg, digest := range map[azkeys.SignatureAlgorithm][]byte{
			azkeys.SignatureAlgorithmRS256: h256[:], azkeys.SignatureAlgorithmRS384: h384[:], azkeys.SignatureAlgorithmRS512: h512[:],
			azkeys.SignatureAlgorithmPS256: h256[:], azkeys.SignatureAlgorithmPS384: h384[:], azkeys.SignatureAlgorithmPS512: h512[:],
		} {
			signed(t, rsa, alg, digest)
		}
		_, err := c.Sign(t.Context(), rsa, "", azkeys.SignParameters{Algorithm: ptr(azkeys.SignatureAlgorithmRS256), Value: h384[:]}, nil)
		fails(t, err, http.StatusBadRequest, "BadParameter")
	})
	curve := func(crv azkeys.CurveName, alg azkeys.SignatureAlgorithm, digest []byte) func(t *testing.T) {
		return func(t *testing.T) {
			name := fresh("ec")
			create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC), Curve: &crv})
			signed(t, name, alg, digest)
		}
	}
	operation(t, compat.Go, "sign and verify, EC", func(t *testing.T) {
		t.Run("P-256", curve(azkeys.CurveNameP256, azkeys.SignatureAlgorithmES256, h256[:]))
		t.Run("P-384", curve(azkeys.CurveNameP384, azkeys.SignatureAlgorithmES384, h384[:]))
		t.Run("P-521", curve(azkeys.CurveNameP521, azkeys.SignatureAlgorithmES512, h512[:]))
	})
	operation(t, compat.Go, "sign and verify, HMAC", func(t *testing.T) {
		name := fresh("hmac")
		create(t, c, name, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeOct), KeySize: ptr[int32](256), KeyOps: []*azkeys.KeyOperation{ptr(azkeys.KeyOperationSign), ptr(azkeys.KeyOperationVerify)}})
		signed(t, name, azkeys.SignatureAlgorithmHS256, h256[:])
		signed(t, name, azkeys.SignatureAlgorithmHS512, h512[:])
	})
	operation(t, compat.Go, "sign and verify, P-256K", curve(azkeys.CurveNameP256K, azkeys.SignatureAlgorithmES256K, h256[:]))
}

func TestGoRandom(t *testing.T) {
	c := keysClient(t, admin())
	operation(t, compat.Go, "random bytes", func(t *testing.T) {
		r, err := c.GetRandomBytes(t.Context(), azkeys.GetRandomBytesParameters{Count: ptr[int32](128)}, nil)
		if err != nil || len(r.Value) != 128 {
			t.Errorf("%d bytes, %v", len(r.Value), err)
		}
	})
}
