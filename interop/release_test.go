package interop

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/openskr/openskr/interop/compat"
	"github.com/openskr/openskr/interop/skr"
)

// releasePolicy is a policy in Azure's grammar that asks the suite's broker for a
// token about hardware of this type.
func releasePolicy(attestationType string) *azkeys.KeyReleasePolicy {
	type m map[string]any
	doc, err := json.Marshal(m{"version": "1.0.0", "anyOf": []m{{
		"authority": suite.broker.Authority, "allOf": []m{{"claim": "x-ms-attestation-type", "equals": attestationType}},
	}}})
	if err != nil {
		panic(err) // strings only
	}
	return &azkeys.KeyReleasePolicy{EncodedPolicy: doc}
}

// sidecar is Microsoft's SKR sidecar on a simulated machine.
func sidecar(t *testing.T) *skr.Sidecar {
	t.Helper()
	m, err := suite.broker.StartMachine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	target, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &skr.Sidecar{
		MAA: suite.broker.Host, AKV: strings.TrimPrefix(suite.broker.Vault, "https://"), Target: target, Evidence: m.Evidence,
		// A token that its user puts into the request (access_token), so that the
		// sidecar needs no IMDS.
		Bearer: func(ctx context.Context, _ string) (string, error) {
			token, _, err := suite.broker.Token(ctx, suite.broker.Admin, "https://"+suite.broker.Suffix()[1:])
			return token, err
		},
	}
}

// exportable makes a key that is released to machines of one type.
func exportable(t *testing.T, c *azkeys.Client, p azkeys.CreateKeyParameters, attestationType string) azkeys.KeyBundle {
	t.Helper()
	p.KeyAttributes, p.ReleasePolicy = &azkeys.KeyAttributes{Exportable: ptr(true)}, releasePolicy(attestationType)
	return create(t, c, fresh("released"), p)
}

func TestSidecar(t *testing.T) {
	c, s := keysClient(t, admin()), sidecar(t)
	operation(t, compat.Sidecar, "attest SevSnpVm", func(t *testing.T) {
		if token, _, err := s.Attest(t.Context(), &s.Target.PublicKey); err != nil || strings.Count(token, ".") != 2 {
			t.Error(token, err)
		}
	})
	operation(t, compat.Sidecar, "access token from elsewhere", func(t *testing.T) {
		if _, err := s.Bearer(t.Context(), ""); err != nil {
			t.Error(err)
		}
	})
	operation(t, compat.Sidecar, "key release", func(t *testing.T) {
		for _, p := range []azkeys.CreateKeyParameters{
			{Kty: ptr(azkeys.KeyTypeRSAHSM)}, {Kty: ptr(azkeys.KeyTypeECHSM)}, {Kty: ptr(azkeys.KeyTypeOctHSM), KeySize: ptr[int32](256)},
		} {
			k := exportable(t, c, p, "sevsnpvm")
			got, err := s.Release(t.Context(), k.Key.KID.Name())
			if err != nil {
				t.Fatalf("%s: %v", *p.Kty, err)
			}
			if got.KID != string(*k.Key.KID) || !private(k.Key, got) {
				t.Errorf("%s: another key came out: %s", *p.Kty, got.KID)
			}
			if err := got.CheckShape(suite.broker.Vault+"/keys/"+k.Key.KID.Name(), "7.4", targetKID(t, s)); err != nil {
				t.Errorf("%s: %v", *p.Kty, err)
			}
		}
	})
	refusal(t, compat.Sidecar, "key release, policy not met", func(t *testing.T) {
		_, err := s.Release(t.Context(), exportable(t, c, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeRSAHSM)}, "sgx").Key.KID.Name())
		denied(t, err)
	})
}

func TestGoRelease(t *testing.T) {
	c, s := keysClient(t, admin()), sidecar(t)
	token, _, err := s.Attest(t.Context(), &s.Target.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	operation(t, compat.Go, "key release", func(t *testing.T) {
		for _, enc := range []azkeys.KeyEncryptionAlgorithm{
			azkeys.KeyEncryptionAlgorithmCKMRSAAESKEYWRAP, azkeys.KeyEncryptionAlgorithmRSAAESKEYWRAP256, azkeys.KeyEncryptionAlgorithmRSAAESKEYWRAP384,
		} {
			k := exportable(t, c, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeRSAHSM)}, "sevsnpvm")
			r, err := c.Release(t.Context(), k.Key.KID.Name(), "", azkeys.ReleaseParameters{TargetAttestationToken: &token, Algorithm: &enc, Nonce: ptr("n")}, nil)
			if err != nil {
				t.Fatal(enc, err)
			}
			if got, err := s.Open(*r.Value, s.Target); err != nil || got.Enc != string(enc) || !private(k.Key, got) {
				t.Errorf("%s: %v", enc, err)
			}
		}
	})
	refusal(t, compat.Go, "key release, policy not met", func(t *testing.T) {
		k := exportable(t, c, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeRSAHSM)}, "sgx")
		_, err := c.Release(t.Context(), k.Key.KID.Name(), "", azkeys.ReleaseParameters{TargetAttestationToken: &token}, nil)
		fails(t, err, http.StatusForbidden, "Forbidden")
	})
}

// targetKID is what the sidecar calls the key that it wants a key wrapped to.
func targetKID(t *testing.T, s *skr.Sidecar) string {
	t.Helper()
	b, err := s.RuntimeData(&s.Target.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	var data struct{ Keys []struct{ KID string } }
	if err := json.Unmarshal(b, &data); err != nil || len(data.Keys) != 1 {
		t.Fatalf("%s: %v", b, err)
	}
	return data.Keys[0].KID
}

// private says whether a released key is the private half of a public one; of a
// symmetric key there is nothing but its size to compare.
func private(public *azkeys.JSONWebKey, got *skr.Released) bool {
	switch key := got.PrivateKey.(type) {
	case *rsa.PrivateKey:
		return string(key.N.Bytes()) == string(public.N)
	case *ecdsa.PrivateKey:
		return string(key.X.FillBytes(make([]byte, len(public.X)))) == string(public.X)
	}
	return len(got.Secret) == 32
}

// denied demands a 403.
func denied(t *testing.T, err error) {
	t.Helper()
	var e *skr.APIError
	if !errors.As(err, &e) || e.Status != http.StatusForbidden {
		t.Errorf("want 403, got %v", err)
	}
}
