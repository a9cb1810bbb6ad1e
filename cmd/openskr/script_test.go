package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openskr/openskr/release/receipt"
)

var update = flag.Bool("update", false, "write golden files again")

// pipeEnv makes the test program the bridge that tpm2-tools reach a software TPM
// by: TCTI "cmd:" talks to the stdin and stdout of a program.
const pipeEnv = "OPENSKR_TEST_TPM_SOCKET"

func TestMain(m *testing.M) {
	if socket := os.Getenv(pipeEnv); socket != "" {
		os.Exit(pipe(socket))
	}
	if env := os.Getenv(serveEnv); env != "" {
		os.Exit(served(env))
	}
	if len(os.Args) > 1 && os.Args[1] == "policy-compiler" { // the child of a policy engine in a test
		os.Exit(program())
	}
	testscript.Main(m, map[string]func(){"openskr": func() { os.Exit(program()) }})
}

func pipe(socket string) int {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return 1
	}
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		os.Exit(0)
	}()
	_, _ = io.Copy(os.Stdout, c)
	return 0
}

// TestScripts runs the program as a person would, a script a noun. Each script
// has a broker of its own to talk to: $BROKER, with credential.json and agent.json
// in its folder. What the real broker answers is tested in its own packages.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"identity": makeIdentity, "ready": waitReady},
		Setup: func(e *testscript.Env) error {
			b := newFakeBroker(t)
			e.Setenv("BROKER", b.url)
			e.Setenv("LISTEN", freeAddress(t))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("OPENSKR_CREDENTIAL", "")
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("VECTORS", os.Getenv("OPENSKR_VECTORS"))
			cred := credential{Broker: b.url, ClientID: fakeClient, ClientSecret: fakeSecret, CA: b.ca}
			trust := receipt.Trust{V: 1, URLs: []string{b.url}, Deployment: fakeTenant, CA: b.ca, Log: receipt.LogTrust{Origin: fakeOrigin, VKeys: []string{b.log.vkey}}}
			for name, v := range map[string]any{"credential.json": cred, "agent.json": trust} {
				raw, err := json.Marshal(v)
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(e.WorkDir, name), raw, 0o600); err != nil {
					return err
				}
			}
			if err := os.WriteFile(filepath.Join(e.WorkDir, "ca.pem"), []byte(b.ca), 0o600); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(e.WorkDir, "other-ca.pem"), selfSigned(t), 0o600); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "vkey"), []byte(b.log.vkey+"\n"), 0o600)
		},
	})
}

// selfSigned is the certificate of a CA that nobody uses.
func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "other"}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// makeIdentity FILE VAR writes an age identity and sets VAR to its recipient.
func makeIdentity(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: identity FILE VAR")
	}
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(id.String()+"\n"), 0o600))
	ts.Setenv(args[1], id.Recipient().String())
}

// waitReady AGENT.JSON waits until its broker answers /readyz.
func waitReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready AGENT.JSON")
	}
	trust, err := (&app{}).readTrust(ts.MkAbs(args[0]))
	ts.Check(err)
	h, err := pinned([]byte(trust.CA))
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c := &client{base: trust.URLs[0], http: h}
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		err := c.call(ctx, http.MethodGet, "/readyz", nil, nil)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("the broker does not become ready: %v", err)
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
