package keyprovider_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containers/ocicrypt/config"
	providers "github.com/containers/ocicrypt/config/keyprovider-config"
	"github.com/containers/ocicrypt/keywrap"
	ocicrypt "github.com/containers/ocicrypt/keywrap/keyprovider"

	"github.com/openskr/openskr/attest/tpm/guest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/keyprovider"
)

const (
	base    = "https://vault.example/keys/"
	version = "0123456789abcdef0123456789abcdef"
)

// releaser gives keys by name, and keeps what it gave.
type releaser struct {
	keys map[string]agent.Released // without Material
	raw  map[string][]byte
	fail error

	mu    sync.Mutex
	asked []string
	given []*agent.Secret
}

func (r *releaser) Key(_ context.Context, url string) (*agent.Released, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, url)
	if r.fail != nil {
		return nil, r.fail
	}
	for name, k := range r.keys {
		if url == base+name || url == base+name+"/"+version {
			m, err := guest.TakeSecret(append([]byte{}, r.raw[name]...))
			r.given = append(r.given, m)
			return &agent.Released{Material: m, KID: base + name + "/" + version, Kty: k.Kty}, err
		}
	}
	return nil, errRefused
}

// closed says whether every key that was given has been erased.
func (r *releaser) closed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.given {
		if m.Bytes() != nil {
			return false
		}
	}
	return true
}

var (
	rsaKey, _  = rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _   = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384Key, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
)

func newReleaser(t testing.TB) *releaser {
	t.Helper()
	r := &releaser{keys: map[string]agent.Released{}, raw: map[string][]byte{}}
	add := func(name, kty string, key any) {
		r.keys[name] = agent.Released{Kty: kty}
		if raw, ok := key.([]byte); ok {
			r.raw[name] = raw
			return
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		r.raw[name] = der
	}
	add("rsa", "RSA", rsaKey)
	add("ec", "EC", ecKey)
	add("p384", "EC", p384Key)
	add("oct", "oct", []byte("0123456789abcdef0123456789abcdef"))
	add("oct128", "oct", []byte("0123456789abcdef"))
	add("garbage", "RSA", []byte("no PKCS #8"))
	return r
}

var errRefused = &agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied", Correlation: "c-1"}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwk is a public half as Key Vault gives it.
func jwk(t testing.TB, name string) []byte {
	t.Helper()
	out := map[string]any{"kid": base + name + "/" + version, "key_ops": []string{}}
	switch name {
	case "rsa":
		out["kty"], out["n"], out["e"] = "RSA", b64(rsaKey.N.Bytes()), "AQAB"
	case "ec":
		p, err := ecKey.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		out["kty"], out["crv"], out["x"], out["y"] = "EC", "P-256", b64(p[1:33]), b64(p[33:])
	}
	return encode(t, out)
}

// shown is a key as openskr key show prints it.
func shown(t testing.TB, name string) []byte {
	t.Helper()
	return encode(t, map[string]any{
		"key": json.RawMessage(jwk(t, name)), "attributes": map[string]bool{"enabled": true}, "release_policy": map[string]string{"data": "AAAA"}, "attested_only": true,
	})
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// serve runs a service on a Unix socket until the test ends, and gives its path.
func serve(t testing.TB, c keyprovider.Config) string {
	t.Helper()
	s, err := keyprovider.New(c)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keyprovider.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return path
}

// runtime is what skopeo, containerd and CRI-O ask a key provider with.
type runtime struct{ keywrap.KeyWrapper }

func client(t testing.TB, socket string) runtime {
	t.Helper()
	return runtime{ocicrypt.NewKeyWrapper(keyprovider.Provider, providers.KeyProviderAttrs{Grpc: "unix://" + socket})}
}

// wrap asks with --encryption-key provider:openskr:key and gives the annotation.
func (r runtime) wrap(t testing.TB, key string, options []byte) ([]byte, error) {
	t.Helper()
	cc, err := config.EncryptWithKeyProvider([][]byte{[]byte(keyprovider.Provider + ":" + key)})
	if err != nil {
		t.Fatal(err)
	}
	return r.WrapKeys(cc.EncryptConfig, options)
}

// unwrap asks with --decryption-key provider:openskr and gives the options.
func (r runtime) unwrap(t testing.TB, annotation []byte) ([]byte, error) {
	t.Helper()
	cc, err := config.DecryptWithKeyProvider([][]byte{[]byte(keyprovider.Provider)})
	if err != nil {
		t.Fatal(err)
	}
	return r.UnwrapKey(cc.DecryptConfig, annotation)
}
