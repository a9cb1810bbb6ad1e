package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/nitro"
	nitrosim "github.com/openskr/openskr/attest/nitro/simulated"
	"github.com/openskr/openskr/attest/snp"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/simulate"
)

// platform is simulated hardware with the verifier that a broker would have.
type platform struct {
	kind     string
	typ      attest.Type
	verifier func(seed [32]byte) (attest.Verifier, error)
	claim    func(attest.Claims) any // of what Options.Measurement changes
}

func platforms() []platform {
	return []platform{
		{"snp", attest.TypeSNP.Simulated(), func(seed [32]byte) (attest.Verifier, error) {
			p, err := snpsim.New(seed)
			if err != nil {
				return nil, err
			}
			return snp.New(snp.Config{Type: p.Type, Products: p.Products(), Endorser: p.Endorser()})
		}, func(c attest.Claims) any { return c["x-ms-sevsnpvm-launchmeasurement"] }},
		{"nitro", attest.TypeNitro.Simulated(), func(seed [32]byte) (attest.Verifier, error) {
			p, err := nitrosim.New(seed)
			if err != nil {
				return nil, err
			}
			return nitro.New(p.Config())
		}, func(c attest.Claims) any { return part(part(c, "nitro"), "pcrs")["0"] }},
	}
}

// start starts the hardware and gives its socket.
func start(t *testing.T, kind string, o simulate.Options) (socket string, seed [32]byte) {
	t.Helper()
	seed = sha256.Sum256([]byte(kind))
	d, err := simulate.New(kind, seed, o)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "hw") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	l, err := simulate.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return socket, seed
}

// verify makes the fake broker verify what it is sent, as a broker does. last is the
// last verdict.
func (p platform) verify(t *testing.T, b *agenttest.Broker, seed [32]byte) (last *error) {
	t.Helper()
	v, err := p.verifier(seed)
	if err != nil {
		t.Fatal(err)
	}
	last = new(error)
	b.Verify = func(req *binding.ReleaseRequest) error {
		ev := attest.Evidence{Type: p.typ, Body: req.Evidence, RuntimeData: req.RuntimeData, Endorsements: req.Endorsements}
		_, *last = attest.Set{p.typ: v}.Verify(context.Background(), ev, attest.Expect{At: time.Now()})
		return *last
	}
	return last
}

func TestSimulatedPlatforms(t *testing.T) {
	for _, p := range platforms() {
		t.Run(p.kind, func(t *testing.T) {
			b := agenttest.Start(t)
			hw := Hardware{Platform: p.typ}
			var seed [32]byte
			hw.Simulator, seed = start(t, p.kind, simulate.Options{})
			last := p.verify(t, b, seed)
			for _, kind := range []RecipientKind{Hybrid, P256, RSA} {
				a := newAgent(t, b, func(c *Config) { c.Hardware, c.Recipient = hw, kind })
				r, err := a.Key(t.Context(), agenttest.KeyURL)
				if err != nil {
					t.Fatalf("%s: %v (%v)", kind, err, *last)
				}
				if sha256.Sum256(r.Material.Bytes()) != sha256.Sum256(b.Material) {
					t.Error("other key than the broker's")
				}
				if err := r.Material.Close(); err != nil {
					t.Error(err)
				}
				if _, err := a.Enroll(t.Context()); ExitCode(err) != ExitUsage || !errors.Is(err, ErrNotNeeded) {
					t.Errorf("enrolled: %v", err)
				}
			}
			if b.Enrolled != 0 {
				t.Errorf("%d enrolments", b.Enrolled)
			}
			p.envelope(t, hw, seed)
		})
	}
}

// envelope checks what `openskr-agent evidence` prints.
func (p platform) envelope(t *testing.T, hw Hardware, seed [32]byte) {
	t.Helper()
	data := []byte("anything")
	out, err := Evidence(t.Context(), hw, data)
	if err != nil {
		t.Fatal(err)
	}
	var e binding.ReleaseRequest
	if err := json.Unmarshal(out, &e); err != nil {
		t.Fatal(err)
	}
	v, err := p.verifier(seed)
	if err != nil {
		t.Fatal(err)
	}
	signed := sha256.Sum256(data)
	ev := attest.Evidence{Type: p.typ, Body: e.Evidence, Endorsements: e.Endorsements}
	want := attest.Expect{At: time.Now(), SignedData: signed[:]}
	if p.typ == attest.TypeNitro.Simulated() { // its nonce is another field
		want = attest.Expect{At: time.Now(), Unbound: true}
	}
	if _, err := v.Verify(t.Context(), ev, want); err != nil || string(e.RuntimeData) != string(data) {
		t.Errorf("%s: %v", out, err)
	}
}

// Knobs change what the hardware says, or make it evidence that is refused.
func TestSimulatedKnobs(t *testing.T) {
	for _, p := range platforms() {
		b := agenttest.Start(t)
		hw := Hardware{Platform: p.typ}
		var seed [32]byte
		hw.Simulator, seed = start(t, p.kind, simulate.Options{Debug: true})
		last := p.verify(t, b, seed)
		_, err := newAgent(t, b, func(c *Config) { c.Hardware = hw }).Key(t.Context(), agenttest.KeyURL)
		var rej *attest.Rejection
		if ExitCode(err) != ExitRefused || !errors.As(*last, &rej) || rej.Check != attest.CheckDebug {
			t.Errorf("%s: %v, %v: want debug", p.kind, err, *last)
		}
		seed[0] ^= 1 // a deployment of another seed
		last = p.verify(t, b, seed)
		if _, err := newAgent(t, b, func(c *Config) { c.Hardware = hw }).Key(t.Context(), agenttest.KeyURL); err == nil || *last == nil {
			t.Errorf("%s: another deployment's hardware is believed", p.kind)
		}
		changed := strings.Repeat("m", 48)
		hw.Simulator, seed = start(t, p.kind, simulate.Options{Measurement: []byte(changed)})
		v, err := p.verifier(seed)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.claim(p.claims(t, v, hw)); got != hex.EncodeToString([]byte(changed)) {
			t.Errorf("%s: measurement %v", p.kind, got)
		}
	}
}

// claims are those of the evidence that hw gives.
func (p platform) claims(t *testing.T, v attest.Verifier, hw Hardware) attest.Claims {
	t.Helper()
	a, err := hw.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ev, err := a.Evidence(t.Context(), Ask{RuntimeData: []byte("x")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ev.RuntimeData = nil
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: time.Now(), Unbound: true})
	if err != nil {
		t.Fatal(err)
	}
	return res.Claims
}

// part is an object in an object.
func part(c map[string]any, name string) map[string]any {
	m, _ := c[name].(map[string]any)
	return m
}
