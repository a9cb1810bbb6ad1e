package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// certify writes a certificate of that serial number and its key where cfg has the operator's.
func certify(t *testing.T, cfg *Config, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"broker.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cfg.TLSCert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, cfg.TLSKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// TestOwnCertificate serves the operator's certificate in place of ours. A reload takes
// the next one, roots and the log level; one that cannot be read changes none of them.
func TestOwnCertificate(t *testing.T) {
	r := newRig(t, nil)
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg.TLSCert, cfg.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, cfg, 101)
	level := &slog.LevelVar{}
	b, err := openBroker(t.Context(), brokerOptions{Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: level, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	served := &atomic.Pointer[tls.Certificate]{}
	want := func(what string, serial int64, at slog.Level) {
		t.Helper()
		b.exchange(served)
		leaf, err := x509.ParseCertificate(served.Load().Certificate[0])
		if err != nil || leaf.SerialNumber.Int64() != serial || level.Level() != at {
			t.Errorf("%s: certificate %v, level %v, %v", what, leaf.SerialNumber, level, err)
		}
	}
	reload := func(logLevel string) error {
		t.Helper()
		fresh := *cfg
		fresh.LogLevel, fresh.IntelRoots = logLevel, []string{filepath.Join(dir, "roots.pem")}
		write(t, fresh.IntelRoots[0], selfSigned(t))
		if err := fresh.write(r.dir, "test"); err != nil {
			t.Fatal(err)
		}
		return b.reload(t.Context(), serveOptions{dir: r.dir, cfg: cfg})
	}
	want("at start", 101, slog.LevelInfo)
	certify(t, cfg, 102)
	want("before a reload", 101, slog.LevelInfo)
	before := b.settings.Load().anchors
	if err := reload("debug"); err != nil {
		t.Fatal(err)
	}
	anchors := b.settings.Load().anchors
	if anchors == before {
		t.Error("the roots are not loaded")
	}
	want("reloaded", 102, slog.LevelDebug)
	certify(t, cfg, 103)
	write(t, cfg.TLSKey, []byte("no key"))
	if err := reload("error"); err == nil {
		t.Error("a key that is none was taken")
	}
	want("after a reload that failed", 102, slog.LevelDebug)
	if b.settings.Load().anchors != anchors {
		t.Error("a failed reload changed the roots")
	}
}
