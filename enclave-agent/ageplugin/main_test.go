package ageplugin

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/openskr/openskr/attest/tpm/guest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/agenttest"
)

// This test binary is also the plugin, when it is started by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == Program {
		os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

const (
	url     = agenttest.KeyURL
	version = agenttest.Version
	kid     = url + "/" + version
)

func newEC(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// oneRSA is made once: it takes a while.
var oneRSA = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }) //nolint:gochecknoglobals

func newRSA(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := oneRSA()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pkcs8(t testing.TB, k crypto.Signer) []byte {
	t.Helper()
	b, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newRecipient(t testing.TB, kid string, k crypto.Signer) *Recipient {
	t.Helper()
	r, err := NewRecipient(kid, k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// vault releases keys by URL, and remembers what it was asked for.
type vault struct {
	t     testing.TB
	keys  map[string]crypto.Signer
	kty   string // "": as it is
	asked []string
	err   error // of a key that is not there
}

var errRefused = &agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied"}

func (v *vault) release(_ context.Context, url string) (*agent.Released, error) {
	v.asked = append(v.asked, url)
	k, ok := v.keys[url]
	if !ok && v.err != nil {
		return nil, v.err
	}
	if !ok {
		return nil, errRefused
	}
	s, err := guest.TakeSecret(pkcs8(v.t, k))
	if err != nil {
		return nil, err
	}
	kty := v.kty
	if kty == "" {
		kty = kindOf(k)
	}
	return &agent.Released{Material: s, KID: url, Kty: kty}, nil
}

func kindOf(k crypto.Signer) string {
	if _, ok := k.(*rsa.PrivateKey); ok {
		return ktyRSA
	}
	return ktyEC
}

var errNetwork = errors.Join(agent.ErrUnreachable, errors.New("for the test"))
