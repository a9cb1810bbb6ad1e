package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

type googleKey struct{}

// TestGoogle runs the transcripts in testdata/google: Google's own clients, which ask by
// the names that they always ask, through a proxy that leads to a fake.
func TestGoogle(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/google", Setup: googleScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "key": useKey, "bytes": makeBytes, "change": changeBytes, "gs": bucketOf,
		},
	})
}

// googleScript gives a script what [blobScript] gives it, Google, and two service accounts'
// files: user.json is the right one.
func googleScript(env *testscript.Env) error {
	if err := blobScript(env); err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	g := newGoogle(&key.PublicKey)
	env.Values[googleKey{}] = g
	cert, ca, err := certificate(tokenHost, storageHost)
	if err != nil {
		return err
	}
	server := httptest.NewUnstartedServer(g)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	env.Defer(server.Close)
	proxy := httptest.NewServer(tunnel(server.Listener.Addr().String()))
	env.Defer(proxy.Close)
	env.Setenv("HTTPS_PROXY", proxy.URL)
	env.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(env.WorkDir, "user.json"))
	return errors.Join(serviceAccount(env, "user.json", key), serviceAccount(env, "other.json", other),
		os.WriteFile(filepath.Join(env.WorkDir, "ca.pem"), ca, 0o600))
}

// tunnel is a proxy that leads everywhere to one address.
func tunnel(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "CONNECT alone", http.StatusMethodNotAllowed)
			return
		}
		there, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		fmt.Fprint(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(here, there); here.Close() }()
		_, _ = io.Copy(there, here)
	}
}

// certificate is one for these names, that is its own CA.
func certificate(names ...string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fake of Google"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// serviceAccount writes the file that Google's console gives of one.
func serviceAccount(env *testscript.Env, name string, key *rsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "project", "client_email": account, "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://" + tokenHost + "/token",
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, name), b, 0o600)
}

// gs list NAMES… | get NAME FILE | metadata NAME FILE | cut NAME N | drop N | race on|off |
// asked HOSTS…: what is in the bucket, and how it behaves from now on.
func bucketOf(ts *testscript.TestScript, _ bool, args []string) {
	g, ok := ts.Value(googleKey{}).(*google)
	if !ok {
		ts.Fatalf("no bucket")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	same := func(got map[string]bool) {
		if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, args[1:]) {
			ts.Fatalf("there are %q, want %q", have, args[1:])
		}
	}
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		ts.Check(err)
		return n
	}
	switch args[0] {
	case "list":
		names := map[string]bool{}
		for name := range g.objects {
			names[name] = true
		}
		same(names)
	case "asked":
		same(g.asked)
	case "get":
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), g.objects[args[1]].body, 0o600))
	case "metadata":
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(g.objects[args[1]].Metadata["encryptiondata"]), 0o600))
	case "cut":
		o := g.objects[args[1]]
		o.body = o.body[:len(o.body)-number(args[2])]
	case "drop":
		g.drop = int64(number(args[1]))
	case "race":
		g.race = args[1] == "on"
	default:
		ts.Fatalf("unknown: %s", strings.Join(args, " "))
	}
}
