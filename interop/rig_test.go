package interop

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/openskr/openskr/interop/compat"
	"github.com/openskr/openskr/interop/harness"
)

// operation runs what proves one cell of the compatibility table and notes it.
func operation(t *testing.T, c compat.Client, name string, do func(t *testing.T)) {
	t.Helper()
	noted(t, compat.Note{Client: c, Operation: name, Outcome: compat.Works}, do)
}

// refusal is an operation that is refused on purpose.
func refusal(t *testing.T, c compat.Client, name string, do func(t *testing.T)) {
	t.Helper()
	noted(t, compat.Note{Client: c, Operation: name, Outcome: compat.Refused}, do)
}

// difference is an operation that works, but not as at Azure.
func difference(t *testing.T, c compat.Client, name string, do func(t *testing.T)) {
	t.Helper()
	noted(t, compat.Note{Client: c, Operation: name, Outcome: compat.Differs}, do)
}

func noted(t *testing.T, n compat.Note, do func(t *testing.T)) {
	t.Helper()
	if !t.Run(n.Operation, do) {
		return
	}
	if err := compat.Append(suite.notes, n); err != nil {
		t.Fatal(err)
	}
}

// issued is a credential with the tokens of one principal, got without any SDK:
// tests of everything but logging in do not depend on how one logs in.
type issued struct{ principal harness.Principal }

func (c issued) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	resource := strings.TrimSuffix(o.Scopes[0], "/.default")
	token, expires, err := suite.broker.Token(ctx, c.principal, resource)
	return azcore.AccessToken{Token: token, ExpiresOn: time.Unix(expires, 0)}, err
}

func keysClient(t *testing.T, cred azcore.TokenCredential) *azkeys.Client {
	t.Helper()
	return keysClientAt(t, suite.broker.Vault, cred, nil)
}

func keysClientAt(t *testing.T, vault string, cred azcore.TokenCredential, o *azkeys.ClientOptions) *azkeys.Client {
	t.Helper()
	c, err := azkeys.NewClient(vault, cred, o)
	return must(t, c, err)
}

// admin is a credential of the administrator.
func admin() azcore.TokenCredential { return issued{suite.broker.Admin} }

// must ends the test on an error and gives the value otherwise.
func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// fails demands a refusal with this status and code.
func fails(t *testing.T, err error, status int, code string) *azcore.ResponseError {
	t.Helper()
	var e *azcore.ResponseError
	if !errors.As(err, &e) {
		t.Fatalf("want %d %s, got %v", status, code, err)
	}
	if e.StatusCode != status || e.ErrorCode != code {
		t.Fatalf("want %d %s, got %d %s: %v", status, code, e.StatusCode, e.ErrorCode, err)
	}
	return e
}

// fresh is a name that no other test has.
func fresh(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:10]) }

func ptr[T any](v T) *T { return &v }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

const (
	forbidden = http.StatusForbidden
	notFound  = http.StatusNotFound
)
