package nitro_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/nitro"
	"github.com/openskr/openskr/attest/nitro/format"
	"github.com/openskr/openskr/attest/nitro/simulated"
	"github.com/openskr/openskr/internal/strict"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const jwk = `{"kty":"HPKE","kem":16,"kid":"r","pub":"AAAA"}`

func runtimeData(t testing.TB) []byte {
	t.Helper()
	b, err := (&binding.RuntimeData{
		Keys: []jsontext.Value{jsontext.Value(jwk)}, Nonce: []byte("nonce of the broker"), Audience: "deployment",
		Purpose: binding.PurposeRelease, Key: "https://vault/keys/k", Enc: "hpke",
	}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func platform(t testing.TB, seed byte) *simulated.Platform {
	t.Helper()
	p, err := simulated.New([32]byte{seed})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func verifier(t testing.TB, cfg nitro.Config) *nitro.Verifier {
	t.Helper()
	v, err := nitro.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func evidence(t testing.TB, p *simulated.Platform) attest.Evidence {
	t.Helper()
	ev, err := p.Evidence(runtimeData(t), now)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// draft is a sound document over the runtime data.
func draft(t testing.TB, p *simulated.Platform) *simulated.Draft {
	t.Helper()
	q, err := simulated.Bind(runtimeData(t))
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.Draft(q, now)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// pack makes evidence over the runtime data.
func pack(t testing.TB, doc []byte) attest.Evidence {
	t.Helper()
	ev, err := simulated.Pack(doc, runtimeData(t))
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// real makes evidence of type nitro of a document from the vectors.
func real(t testing.TB, name string) attest.Evidence {
	t.Helper()
	dir := os.Getenv("OPENSKR_VECTORS")
	if dir == "" {
		t.Skip("OPENSKR_VECTORS is not set")
	}
	doc, err := os.ReadFile(filepath.Join(dir, name, "attdoc.cbor"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := strict.Marshal(format.Evidence{Type: attest.TypeNitro, Document: doc})
	if err != nil {
		t.Fatal(err)
	}
	return attest.Evidence{Type: attest.TypeNitro, Body: body}
}

// wantCheck fails unless err is a Rejection with that check; identity says whether it
// must name the enclave.
func wantCheck(t *testing.T, err error, want attest.Check, identity bool) {
	t.Helper()
	var r *attest.Rejection
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a rejection with %s", err, want)
	}
	if r.Check != want || (r.Identity != nil) != identity {
		t.Fatalf("got %v with identity %v, want %s with identity: %v", r, r.Identity, want, identity)
	}
}

func hash(b []byte) []byte {
	d := sha256.Sum256(b)
	return d[:]
}
