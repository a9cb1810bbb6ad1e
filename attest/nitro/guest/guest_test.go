package guest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/nitro"
	"github.com/openskr/openskr/attest/nitro/format"
	"github.com/openskr/openskr/attest/nitro/guest"
	"github.com/openskr/openskr/attest/nitro/simulated"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const jwk = `{"kty":"HPKE","kem":16,"kid":"r","pub":"AAAA"}`

func platform(t *testing.T) *simulated.Platform {
	t.Helper()
	p, err := simulated.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	p.Now = func() time.Time { return now }
	return p
}

func runtimeData(t *testing.T) []byte {
	t.Helper()
	b, err := (&binding.RuntimeData{
		Keys: []jsontext.Value{jsontext.Value(jwk)}, Nonce: []byte("nonce"), Audience: "deployment",
		Purpose: binding.PurposeRelease, Key: "https://vault/keys/k", Enc: "hpke",
	}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// verify holds evidence against the platform's root.
func verify(t *testing.T, p *simulated.Platform, ev attest.Evidence) *attest.Result {
	t.Helper()
	v, err := nitro.New(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// nsm answers as told.
type nsm func(request []byte) ([]byte, error)

func (n nsm) Exchange(_ context.Context, request []byte) ([]byte, error) { return n(request) }

func (n nsm) Close() error { return nil }

func TestEvidence(t *testing.T) {
	p := platform(t)
	var asked format.Request
	e := guest.New(nsm(func(b []byte) (answer []byte, err error) {
		if asked, err = format.DecodeRequest(b); err != nil {
			return nil, err
		}
		return p.Exchange(b)
	}), attest.TypeNitro.Simulated())
	rd := runtimeData(t)
	ev, err := e.Evidence(t.Context(), rd, []byte("nonce"), []byte(jwk))
	if err != nil {
		t.Fatal(err)
	}
	if res := verify(t, p, ev); !res.Facts.Bound || string(res.Recipient) != jwk {
		t.Errorf("%+v", res)
	}
	if len(asked.UserData) != 32 || string(asked.Nonce) != "nonce" || len(asked.PublicKey) != 32 {
		t.Errorf("asked for %+v", asked)
	}
	if ev, err = e.Evidence(t.Context(), rd, []byte("nonce"), nil); err != nil || asked.PublicKey != nil {
		t.Fatalf("without a recipient: %+v, %v", asked, err)
	}
	verify(t, p, ev)
	if _, err := e.Evidence(t.Context(), rd, make([]byte, format.MaxField+1), nil); err == nil {
		t.Error("a nonce that no document holds is accepted")
	}
	if e := guest.New(nsm(p.Exchange), ""); e == nil {
		t.Error("no type, no enclave")
	} else if ev, err := e.Evidence(t.Context(), rd, nil, nil); err != nil || ev.Type != attest.TypeNitro {
		t.Errorf("%v, %v", ev.Type, err)
	}
}

func TestAnswers(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		answer []byte
		err    error
		want   error
	}{
		"error code":  {format.EncodeError("InvalidArgument"), nil, format.NSMError("InvalidArgument")},
		"broken":      {nil, broken, broken},
		"no answer":   {nil, nil, nil},
		"not CBOR":    {[]byte("{}"), nil, nil},
		"too large":   {make([]byte, format.MaxResponse+1), nil, nil},
		"no document": {format.EncodeResponse([]byte{}), nil, nil},
	} {
		e := guest.New(nsm(func([]byte) ([]byte, error) { return c.answer, c.err }), "")
		_, err := e.Evidence(t.Context(), runtimeData(t), nil, nil)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSocket(t *testing.T) {
	p := platform(t)
	path := filepath.Join(t.TempDir(), "nsm.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 4)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served <- errors.Join(p.Serve(c), c.Close())
		}
	}()
	e, err := guest.Open(guest.Options{Path: path, Type: attest.TypeNitro.Simulated()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for range 2 { // one connection each
		ev, err := e.Evidence(t.Context(), runtimeData(t), []byte("nonce"), []byte(jwk))
		if err != nil {
			t.Fatal(err)
		}
		verify(t, p, ev)
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Evidence(ctx, runtimeData(t), nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestSocketLies: an answer longer than an NSM's is not read.
func TestSocketLies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nsm.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = binary.Write(c, binary.BigEndian, uint32(1<<31))
		_, _ = c.Read(make([]byte, 1))
	}()
	e, err := guest.Open(guest.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Evidence(t.Context(), runtimeData(t), nil, nil); err == nil {
		t.Error("accepted")
	}
}

func TestOpen(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "absent"), t.TempDir()} {
		if _, err := guest.Open(guest.Options{Path: path}); !errors.Is(err, guest.ErrNoNSM) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// A character device that is no NSM fails when it is asked, not before.
	e, err := guest.Open(guest.Options{Path: "/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Evidence(t.Context(), runtimeData(t), nil, nil); err == nil {
		t.Error("/dev/null attests")
	}
}
