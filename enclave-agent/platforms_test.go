package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm"
	azuresim "github.com/openskr/openskr/attest/azurecvm/simulated"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/nitro"
	nitrosim "github.com/openskr/openskr/attest/nitro/simulated"
	"github.com/openskr/openskr/attest/snp"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/attest/tdx"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/simulate/simulatetest"
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
		{"tdx", attest.TypeTDX.Simulated(), func(seed [32]byte) (attest.Verifier, error) {
			p, err := tdxsim.New(seed)
			if err != nil {
				return nil, err
			}
			return tdx.New(tdx.Config{Type: p.Type, Roots: p.Roots(), Endorser: p})
		}, func(c attest.Claims) any { return c["tdx_mrtd"] }},
		{"azure", attest.TypeAzureCVM.Simulated(), newAzure, func(c attest.Claims) any { return part(c, "x-ms-isolation-tee")["x-ms-sevsnpvm-launchmeasurement"] }},
		{"azure-tdx", attest.TypeAzureCVM.Simulated(), newAzure, func(c attest.Claims) any { return part(c, "x-ms-isolation-tee")["tdx_mrtd"] }},
		{"nitro", attest.TypeNitro.Simulated(), func(seed [32]byte) (attest.Verifier, error) {
			p, err := nitrosim.New(seed)
			if err != nil {
				return nil, err
			}
			return nitro.New(p.Config())
		}, func(c attest.Claims) any { return part(part(c, "nitro"), "pcrs")["0"] }},
	}
}

func newAzure(seed [32]byte) (attest.Verifier, error) {
	p, err := azuresim.New(seed)
	if err != nil {
		return nil, err
	}
	c, err := p.Config()
	if err != nil {
		return nil, err
	}
	return azurecvm.New(c)
}

// start starts the hardware and gives its socket.
func start(t *testing.T, kind string, o simulate.Options) (socket string, seed [32]byte) {
	t.Helper()
	if strings.HasPrefix(kind, "azure") {
		if shared.err != nil {
			t.Skip(shared.err)
		}
		o.TPM = shared.azure.Socket
	}
	seed = sha256.Sum256([]byte(kind))
	return simulatetest.Play(t, kind, seed, o), seed
}

// hardware is that of the platform but its simulator.
func (p platform) hardware() Hardware {
	h := Hardware{Platform: p.typ}
	if shared.azure != nil {
		h.TPM = shared.azure.Socket
	}
	return h
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
			hw := p.hardware()
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

func TestDetectAzure(t *testing.T) {
	for kind, hardware := range map[string]string{"azure": "snp", "azure-tdx": "tdx"} {
		start(t, kind, simulate.Options{})
		d := Detect(t.Context(), Hardware{Root: tree(t, "dev/sev-guest"), TPM: shared.azure.Socket})
		if d.Platform != attest.TypeAzureCVM || !strings.HasSuffix(d.List(), "report of hardware of type "+hardware) {
			t.Error(d)
		}
	}
}

// A TPM that calls itself that of an Azure machine changes nothing of what the evidence of
// a TEE beside it shows.
func TestShownBesideAzure(t *testing.T) {
	start(t, "azure", simulate.Options{})
	for device, want := range map[string]Shown{
		"dev/null": {Type: "azure-cvm", PCR: true}, "dev/sev-guest": {Type: "snp"}, "dev/nsm": {Type: "nitro"}, "dev/tdx_guest": {Type: "tdx", RTMR: true},
	} {
		if got := (Hardware{Root: tree(t, device), TPM: shared.azure.Socket}).Shown(t.Context()); got != want {
			t.Errorf("%s: %+v, want %+v", device, got, want)
		}
	}
}

// Knobs change what the hardware says, or make it evidence that is refused.
func TestSimulatedKnobs(t *testing.T) {
	for _, p := range platforms() {
		t.Run(p.kind, p.knobs)
	}
}

func (p platform) knobs(t *testing.T) {
	b := agenttest.Start(t)
	hw := p.hardware()
	var seed [32]byte
	hw.Simulator, seed = start(t, p.kind, simulate.Options{Debug: true})
	ask := func() error {
		_, err := newAgent(t, b, func(c *Config) { c.Hardware = hw }).Key(t.Context(), agenttest.KeyURL)
		return err
	}
	last := p.verify(t, b, seed)
	var rej *attest.Rejection
	if err := ask(); ExitCode(err) != ExitRefused || !errors.As(*last, &rej) || rej.Check != attest.CheckDebug {
		t.Errorf("%v, %v: want debug", err, *last)
	}
	hw.Simulator, seed = start(t, p.kind, simulate.Options{})
	seed[0] ^= 1 // a deployment of another seed
	last = p.verify(t, b, seed)
	if err := ask(); ExitCode(err) != ExitRefused || !errors.As(*last, &rej) || rej.Check != attest.CheckChainUntrusted {
		t.Errorf("another deployment's hardware: %v, %v", err, *last)
	}
	changed := []byte(strings.Repeat("m", 48))
	hw.Simulator, seed = start(t, p.kind, simulate.Options{Measurement: changed})
	v, err := p.verifier(seed)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.claim(p.claims(t, v, hw)); got != hex.EncodeToString(changed) {
		t.Errorf("measurement %v", got)
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

// What a TEE cannot help by enrolling it does not try; what passes it waits for.
func TestTEEReasons(t *testing.T) {
	b := agenttest.Start(t)
	hw := Hardware{Platform: attest.TypeSNP.Simulated()}
	hw.Simulator, _ = start(t, "snp", simulate.Options{})
	a := newAgent(t, b, func(c *Config) { c.Hardware = hw })
	for _, check := range []attest.Check{
		attest.CheckChainUntrusted, attest.CheckChainExpired, attest.CheckCertRevoked, attest.CheckPlatformDenied, attest.CheckDebug, attest.CheckCollateralStale,
	} {
		before := b.Challenges
		answer(b, "/v1/release", func(w http.ResponseWriter, _ *http.Request) { agenttest.Refuse(w, 403, string(check)) })
		if _, err := a.Key(t.Context(), agenttest.KeyURL); ExitCode(err) != ExitRefused {
			t.Errorf("%s: %v", check, err)
		}
		if b.Challenges != before+1 || b.Enrolled != 0 {
			t.Errorf("%s: %d challenges, %d enrolments", check, b.Challenges-before, b.Enrolled)
		}
	}
	seen := map[string]bool{}
	answer(b, "/v1/release", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen[string(body)] = true
		if len(seen) == 3 {
			b.Intercept = nil
		}
		agenttest.Refuse(w, 503, string(attest.CheckCollateralUnavailable))
	})
	var pauses int
	a.wait = func(context.Context, time.Duration) error { pauses++; return nil }
	r, err := a.Key(t.Context(), agenttest.KeyURL)
	if err != nil || pauses != 3 || len(seen) != 3 {
		t.Fatalf("%v after %d pauses and %d requests", err, pauses, len(seen))
	}
	if err := r.Material.Close(); err != nil {
		t.Error(err)
	}
	a.wait = func(context.Context, time.Duration) error { return context.DeadlineExceeded }
	answer(b, "/v1/release", func(w http.ResponseWriter, _ *http.Request) {
		agenttest.Refuse(w, 503, string(attest.CheckCollateralUnavailable))
	})
	if _, err := a.Key(t.Context(), agenttest.KeyURL); ExitCode(err) != ExitUnreachable || !strings.Contains(err.Error(), "collateral_unavailable") {
		t.Errorf("%v", err)
	}
}

// A machine that is not the platform named says so, whatever it is.
func TestPlatformAbsent(t *testing.T) {
	b := agenttest.Start(t)
	for _, p := range Platforms() {
		hw := Hardware{Platform: p, Root: tree(t)}
		if _, simulated := p.Base(); simulated {
			hw.Simulator = filepath.Join(hw.Root, "absent")
		}
		a, err := New(t.Context(), Config{Trust: &b.Trust, Hardware: hw, Timeout: time.Second})
		if err == nil { // a simulator is asked only when evidence is wanted
			_, err = a.Key(t.Context(), agenttest.KeyURL)
			err = errors.Join(err, a.Close())
		}
		if ExitCode(err) != ExitNoHardware || !strings.Contains(err.Error(), hw.Root) {
			t.Errorf("%s: exit %d: %v", p, ExitCode(err), err)
		}
		hw.Simulator = map[bool]string{true: "/somewhere"}[hw.Simulator == ""]
		if _, err := New(t.Context(), Config{Trust: &b.Trust, Hardware: hw}); ExitCode(err) != ExitUsage {
			t.Errorf("%s with simulator %q: %v", p, hw.Simulator, err)
		}
	}
}

// dstack #565: a request that hangs in the kernel keeps nobody from ending.
func TestCloseWhileHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan bool)
		d := &tee{"snp", nil, func() error { <-hang; return nil }}
		if err := d.Close(); err == nil {
			t.Error("closed")
		}
		close(hang)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}
