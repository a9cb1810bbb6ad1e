package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/enclave-agent/ageplugin"
	"github.com/openskr/openskr/enclave-agent/file"
)

// TestBlobs runs the transcripts in testdata/blobs against a simulated machine, a fake
// broker and a web server each.
func TestBlobs(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/blobs", Setup: blobScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "key": useKey, "refuse": refuseKey, "bytes": makeBytes, "change": changeBytes, "container": container,
		},
	})
}

// blobScript gives each script a broker with the key $KEY, options for it in $BROKER,
// and a web server at $WEB that serves its folder.
func blobScript(env *testscript.Env) error {
	if err := scripted(env); err != nil {
		return err
	}
	web := httptest.NewTLSServer(http.FileServer(http.Dir(env.WorkDir)))
	env.Defer(web.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	env.Setenv("SSL_CERT_FILE", filepath.Join(env.WorkDir, "ca.pem"))
	env.Setenv("WEB", web.URL)
	env.Setenv("KEY", agenttest.KeyURL)
	env.Setenv("VERSION", agenttest.Version)
	env.Setenv("HARDWARE", "--simulator="+env.Getenv("HW"))
	env.Setenv("PLATFORM", "--platform=simulated-snp")
	env.Setenv("TRUST", "--config="+env.Getenv("CONFIG"))
	return os.WriteFile(filepath.Join(env.WorkDir, "ca.pem"), ca, 0o600)
}

func fake(ts *testscript.TestScript) *agenttest.Broker {
	b, ok := ts.Value(brokerKey{}).(*agenttest.Broker)
	if !ok {
		ts.Fatalf("no broker")
	}
	return b
}

// key rsa|oct|other: which key the broker has; its public half is public.json.
func useKey(ts *testscript.TestScript, _ bool, args []string) {
	b := fake(ts)
	if args[0] != "rsa" {
		b.Change(func() { b.Kty, b.Material = "oct", bytes.Repeat([]byte(args[0][:1]), 32) })
		return
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	ts.Check(err)
	b.Change(func() { b.Kty, b.Material = "RSA", der })
	public := fmt.Sprintf(`{"key":{"kid":"%s/%s","kty":"RSA","n":%q,"e":"AQAB"}}`, agenttest.KeyURL, agenttest.Version, base64.RawURLEncoding.EncodeToString(k.N.Bytes()))
	ts.Check(os.WriteFile(ts.MkAbs("public.json"), []byte(public), 0o600))
}

// refuse: the broker releases nothing any more.
func refuseKey(ts *testscript.TestScript, _ bool, _ []string) {
	b := fake(ts)
	b.Change(func() {
		b.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v1/release" {
				return false
			}
			agenttest.Refuse(w, http.StatusForbidden, "policy_denied")
			return true
		}
	})
}

// bytes FILE N: writes N random bytes.
func makeBytes(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := make([]byte, n)
	_, _ = rand.Read(b)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// change FILE flip|cut N: flips a bit of byte N, or cuts N bytes off the end.
func changeBytes(ts *testscript.TestScript, _ bool, args []string) {
	b := []byte(ts.ReadFile(args[0]))
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	if args[1] == "flip" {
		b[n] ^= 1
	} else {
		b = b[:len(b)-n]
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// container skr|age IN OUT: encrypts to the broker's key as others do.
func container(ts *testscript.TestScript, _ bool, args []string) {
	b, in := fake(ts), []byte(ts.ReadFile(args[1]))
	var out bytes.Buffer
	if args[0] == "skr" {
		ts.Check(file.Encrypt(&out, bytes.NewReader(in), agenttest.KeyURL+"/"+agenttest.Version, b.Material))
	} else {
		r, err := ageplugin.ParsePublicKey([]byte(ts.ReadFile("public.json")))
		ts.Check(err)
		w, err := ageplugin.Encrypt(&out, r.String())
		ts.Check(err)
		_, err = w.Write(in)
		ts.Check(err)
		ts.Check(w.Close())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), out.Bytes(), 0o600))
}

func TestProgress(t *testing.T) {
	start := time.Unix(0, 0)
	for want, p := range map[string]*progress{
		"3.0 MiB, 1.5 MiB/s": {read: 3 << 20, total: -1},
		"[###############...............]  50% 512 B, 256 B/s":      {read: 512, total: 1024},
		"[##############################] 100% 10.0 GiB, 5.0 GiB/s": {read: 10 << 30, total: 10 << 30},
		"[##############################] 100% 2.0 KiB, 1.0 KiB/s":  {read: 2048, total: 1},
	} {
		p.start = start
		if got := p.line(start.Add(2 * time.Second)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	var out bytes.Buffer
	a := &app{stderr: &out}
	p := a.watch(strings.NewReader("text"), 4)
	if _, err := p.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if p.end(); out.Len() != 0 {
		t.Errorf("shown where there is no terminal: %q", &out)
	}
}
