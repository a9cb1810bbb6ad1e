package interop

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/openskr/openskr/interop/compat"
	"github.com/openskr/openskr/interop/skr"
	"github.com/openskr/openskr/interop/vtpm"
)

// attestSKR is Microsoft's AzureAttestSKR on a simulated Azure confidential machine.
func attestSKR(t *testing.T) *skr.AttestSKR {
	t.Helper()
	ctx, b := t.Context(), suite.broker
	stopped := func(stop func() error) {
		t.Cleanup(func() {
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
	soft, err := vtpm.Start(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stopped(soft.Stop)
	m, err := b.StartAzureMachine(ctx, soft.Socket)
	if err != nil {
		t.Fatal(err)
	}
	stopped(m.Stop)
	tpm, err := vtpm.Open(soft.Socket)
	if err != nil {
		t.Fatal(err)
	}
	stopped(tpm.Close)
	return &skr.AttestSKR{
		MAA: b.Authority, HTTP: &http.Client{Transport: port443{http.DefaultTransport}}, TPM: tpm,
		Bearer: func(ctx context.Context, _ string) (string, error) {
			token, _, err := b.Token(ctx, b.Admin, "https://"+b.Suffix()[1:])
			return token, err
		},
		Isolation: func() (skr.Isolation, error) {
			hcl, err := tpm.HCL()
			if err != nil {
				return skr.Isolation{}, err
			}
			chain, err := m.Certificates(ctx)
			if err != nil {
				return skr.Isolation{}, err
			}
			return skr.SNPIsolation(hcl, chain)
		},
	}
}

// port443 forwards the port that the program asks the attestation service at,
// whatever it is told.
type port443 struct{ http.RoundTripper }

func (p port443) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Port() == "" {
		r = r.Clone(r.Context())
		r.URL.Host = suite.broker.Host
		r.Host = suite.broker.Host
	}
	return p.RoundTripper.RoundTrip(r)
}

func TestAttestSKR(t *testing.T) {
	c, s := keysClient(t, admin()), attestSKR(t)
	// The program wants "vault.azure.net" somewhere in the URL of a key.
	url := func(k azkeys.KeyBundle) string {
		return strings.Replace(string(*k.Key.KID), suite.broker.Suffix(), ".vault.azure.net"+suite.broker.Suffix(), 1)
	}
	operation(t, compat.AttestSKR, "attest AzureGuest", func(t *testing.T) {
		s.KeyURL = "https://sdk.vault.azure.net" + suite.broker.Suffix() + "/keys/" + fresh("nothing")
		_, err := s.Release(t.Context())
		var e *skr.APIError
		if !errors.As(err, &e) || e.Op != "release" { // the token was made and opened
			t.Error(err)
		}
	})
	operation(t, compat.AttestSKR, "key release", func(t *testing.T) {
		k := exportable(t, c, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeRSAHSM)}, "azurevm")
		s.KeyURL = url(k)
		got, err := s.Release(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(got.KID, "/keys/"+k.Key.KID.Name()+"/"+k.Key.KID.Version()) || !private(k.Key, got) || strings.Count(got.Token, ".") != 2 {
			t.Errorf("another key came out: %s", got.KID)
		}
		if err := got.CheckShape(url(k), "7.3", "TpmEphemeralEncryptionKey"); err != nil {
			t.Error(err)
		}
	})
	refusal(t, compat.AttestSKR, "key release, policy not met", func(t *testing.T) {
		s.KeyURL = url(exportable(t, c, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeRSAHSM)}, "sgx"))
		_, err := s.Release(t.Context())
		denied(t, err)
	})
}
