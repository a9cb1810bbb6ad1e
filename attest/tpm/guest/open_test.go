package guest

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

var plain = []byte("key material")

// seal encrypts to the recipient as a broker would, from its JWK alone.
func seal(t *testing.T, r *Recipient) []byte {
	t.Helper()
	var j struct {
		Kem       uint16
		Pub, N, E string
	}
	if err := json.Unmarshal(r.JWK, &j); err != nil {
		t.Fatal(err)
	}
	dec := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if r.Kind == RSA {
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(dec(j.N)), E: int(new(big.Int).SetBytes(dec(j.E)).Int64())}
		ct, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		return ct
	}
	kem, err := hpke.NewKEM(j.Kem)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := kem.NewPublicKey(dec(j.Pub))
	if err != nil {
		t.Fatal(err)
	}
	ct, err := hpke.Seal(pub, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("info"), plain)
	if err != nil {
		t.Fatal(err)
	}
	return ct
}

func unseal(ctx context.Context, r *Recipient, sealed []byte) ([]byte, error) {
	if r.Kind == RSA {
		return r.DecryptOAEP(ctx, sealed)
	}
	k, err := r.Private(ctx)
	if err != nil {
		return nil, err
	}
	return hpke.Open(k, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("info"), sealed)
}

func mustOpen(t *testing.T, r *Recipient) {
	t.Helper()
	got, err := unseal(t.Context(), r, seal(t, r))
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%s: %q, %v", r.Kind, got, err)
	}
}

func TestOpenOnce(t *testing.T) {
	_, g := start(t)
	for _, kind := range []Kind{Hybrid, P256, RSA} {
		r, err := g.NewRecipient(t.Context(), kind, DefaultSelection())
		if err != nil {
			t.Fatal(err)
		}
		mustOpen(t, r)
		if _, err := unseal(t.Context(), r, seal(t, r)); !errors.Is(err, ErrRecipientSpent) {
			t.Errorf("%s: second open: %v", kind, err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestKindsDoNotMix(t *testing.T) {
	_, g := start(t)
	for _, kind := range []Kind{P256, RSA} {
		r, err := g.NewRecipient(t.Context(), kind, DefaultSelection())
		if err != nil {
			t.Fatal(err)
		}
		if kind == RSA {
			_, err = r.Private(t.Context())
		} else {
			_, err = r.DecryptOAEP(t.Context(), nil)
		}
		if err == nil {
			t.Errorf("%s: opened by the other kind's method", kind)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The TPM itself refuses once a quoted PCR has changed, also when the software
// asks without a policy.
func TestPCRChangeCloses(t *testing.T) {
	s, g := start(t)
	sel := Selection{Bank: "sha256", PCRs: []int{7, 15}}
	for _, kind := range []Kind{Hybrid, P256, RSA} {
		r, err := g.NewRecipient(t.Context(), kind, sel)
		if err != nil {
			t.Fatal(err)
		}
		sealed := seal(t, r)
		if err := s.Extend(3, []byte("not selected")); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Evidence(t.Context(), nil, sel, r); err != nil {
			t.Errorf("%s: evidence after a change elsewhere: %v", kind, err)
		}
		if err := s.Extend(15, []byte("selected")); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Evidence(t.Context(), nil, sel, r); !errors.Is(err, ErrPCRsChanged) {
			t.Errorf("%s: evidence after a change: %v", kind, err)
		}
		if _, err := unseal(t.Context(), r, sealed); !errors.Is(err, ErrPCRsChanged) {
			t.Errorf("%s: open after a change: %v", kind, err)
		}
		if kind == P256 {
			_, err := tpm2.ECDHZGen{KeyHandle: r.key.auth(empty()), InPoint: tpm2.New2B(tpm2.TPMSECCPoint{
				X: tpm2.TPM2BECCParameter{Buffer: r.point.Bytes()[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: r.point.Bytes()[33:]},
			})}.Execute(g)
			if err == nil {
				t.Error("the key opens without its policy")
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// tap keeps what goes over the bus.
type tap struct {
	transport.TPMCloser
	seen *bytes.Buffer
}

func (l tap) Send(in []byte) ([]byte, error) {
	out, err := l.TPMCloser.Send(in)
	l.seen.Write(in)
	l.seen.Write(out)
	return out, err
}

// AG-13: whoever listens on the TPM's bus hears no secret: neither of an RSA recipient,
// nor what the P-256 half of another agrees on, nor of an enrolment.
func TestBusCarriesNoSecret(t *testing.T) {
	_, g := start(t)
	raw := g.raw
	var seen bytes.Buffer
	g.raw = tap{raw, &seen}
	defer func() { g.raw = raw }()

	r, err := g.NewRecipient(t.Context(), RSA, DefaultSelection())
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, r)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	agreed := agree(t, g)
	req, err := g.EnrollRequest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secret := random(32)
	if _, err := g.Activate(t.Context(), credential(t, req, secret, false)); err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{"RSA": plain, "P-256": agreed, "enrolment": secret} {
		if bytes.Contains(seen.Bytes(), secret) {
			t.Errorf("%s: a secret went over the bus in the clear", name)
		}
	}
	if seen.Len() == 0 {
		t.Error("nothing was listened to")
	}
}

// agree has a P-256 recipient agree on a secret with a key of the test.
func agree(t *testing.T, g *TPM) []byte {
	t.Helper()
	r, err := g.NewRecipient(t.Context(), P256, DefaultSelection())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	want, err := peer.ECDH(r.point)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := (exchanger{t.Context(), r}).ECDH(peer.PublicKey()); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("no agreement: %v", err)
	}
	return want
}

func TestLockedAgainstOthers(t *testing.T) {
	s, g := start(t)
	other, err := Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	err = g.exclusive(t.Context(), func() error {
		for _, o := range []*TPM{g, other} { // same program, as if another program
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := o.exclusive(ctx, func() error { return errors.New("ran") }); !errors.Is(err, context.Canceled) {
				t.Errorf("a second operation: %v", err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for _, o := range []*TPM{g, other, g, other} {
		go func() {
			_, err := o.Evidence(t.Context(), nil, DefaultSelection(), nil)
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestSecret(t *testing.T) {
	b := []byte("canary-value")
	s, err := TakeSecret(b)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("canary")) {
		t.Error("source not cleared")
	}
	if string(s.Bytes()) != "canary-value" {
		t.Error("content lost")
	}
	for _, out := range []string{fmt.Sprint(s), fmt.Sprintf("%x %q %+v %#v", s, s, s, s), s.LogValue().String()} {
		if strings.Contains(out, "canary") || strings.Contains(out, "63616e617279") {
			t.Errorf("printed: %s", out)
		}
	}
	if _, err := json.Marshal(s); err == nil {
		t.Error("a secret was marshalled")
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil || s.Bytes() != nil {
		t.Error("content after Close", err)
	}
	if _, err := NewSecret(0); err == nil {
		t.Error("empty secret")
	}
}
