package interop

import (
	"context"
	"crypto/x509"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/openskr/openskr/interop/compat"
	"github.com/openskr/openskr/interop/harness"
)

// here is what every credential is told of a token service that is not Microsoft's.
func here() azcore.ClientOptions {
	return azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: suite.broker.Authority}}
}

// bySecret is a credential of a service principal with a secret.
func bySecret(t *testing.T, p harness.Principal) azcore.TokenCredential {
	t.Helper()
	cred, err := azidentity.NewClientSecretCredential(suite.broker.Tenant, p.ID, p.Secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: here(), DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

func TestGoIdentity(t *testing.T) {
	b := suite.broker
	works := func(t *testing.T, cred azcore.TokenCredential, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		create(t, keysClient(t, cred), fresh("identity"), azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)})
	}
	operation(t, compat.Go, "access token from elsewhere", func(t *testing.T) { works(t, admin(), nil) })
	operation(t, compat.Go, "service principal with a secret", func(t *testing.T) {
		works(t, bySecret(t, b.Admin), nil)
		_, err := keysClient(t, bySecret(t, harness.Principal{ID: b.Admin.ID, Secret: "wrong"})).GetKey(t.Context(), "k", "", nil)
		if err == nil {
			t.Error("a wrong secret was accepted")
		}
	})
	operation(t, compat.Go, "service principal with a certificate", func(t *testing.T) {
		certs, key := certificate(t)
		cred, err := azidentity.NewClientCertificateCredential(b.Tenant, suite.principals.Certificate, certs, key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: here(), DisableInstanceDiscovery: true,
		})
		works(t, cred, err)
	})
	operation(t, compat.Go, "workload federation", func(t *testing.T) {
		assertion := func(context.Context) (string, error) { return b.Assertion() }
		cred, err := azidentity.NewClientAssertionCredential(b.Tenant, suite.principals.Federated, assertion, &azidentity.ClientAssertionCredentialOptions{
			ClientOptions: here(), DisableInstanceDiscovery: true,
		})
		works(t, cred, err)
	})
	operation(t, compat.Go, "managed identity (IDENTITY_ENDPOINT)", func(t *testing.T) {
		for _, v := range identityEndpoint(t) {
			name, value, _ := strings.Cut(v, "=")
			t.Setenv(name, value)
		}
		cred, err := azidentity.NewManagedIdentityCredential(nil)
		works(t, cred, err)
	})
	operation(t, compat.Go, "default vault, at a host without a vault's name", func(t *testing.T) {
		c := keysClientAt(t, b.Authority, bySecret(t, b.Admin), &azkeys.ClientOptions{DisableChallengeResourceVerification: true})
		create(t, c, fresh("identity"), azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)})
		if _, err := keysClientAt(t, b.Authority, bySecret(t, b.Admin), nil).GetKey(t.Context(), "k", "", nil); err == nil {
			t.Error("the client does not verify the vault's host")
		}
	})
	refusal(t, compat.Go, "request without a role", func(t *testing.T) {
		c := keysClient(t, bySecret(t, suite.principals.Reader))
		_, err := c.CreateKey(t.Context(), fresh("role"), azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)}, nil)
		fails(t, err, http.StatusForbidden, "Forbidden")
	})
}

// identityEndpoint is the environment of a workload that has a managed identity.
func identityEndpoint(t *testing.T) []string {
	t.Helper()
	e, err := suite.broker.StartIdentityEndpoint()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	return e.Environ
}

// certificate reads the certificate and key that a principal has.
func certificate(t *testing.T) ([]*x509.Certificate, any) {
	t.Helper()
	b, err := os.ReadFile(suite.principals.CertificateFile)
	if err != nil {
		t.Fatal(err)
	}
	certs, key, err := azidentity.ParseCertificates(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return certs, key
}
