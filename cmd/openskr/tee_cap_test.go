package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/openskr/openskr/attest"
	tdx "github.com/openskr/openskr/attest/tdx/guest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/release/keyvault"
)

// The values of docs/pcrs.md.
const (
	rtmr3Zero      = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	rtmr3Capped    = "5617e136d006c4b2fd43c23b5e8bdbdeb005ebdcb6239346b0f0fd310560676cb53945bd0f23cbe6d9a48477fef693c9"
	rtmr3Recovered = "271fb5016dec3adaa0ea2bfe92a80607da0a21b0913292bf0a4eed6d1969dabca9a45bc63cade72d5ad6de68dcc343ce"
)

// extended is what the agent writes into the kernel's folder for an event, here a folder
// of this test.
func extended(t *testing.T, event string) []byte {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, tdx.DefaultMeasurements)
	file := filepath.Join(dir, "rtmr3:sha384")
	err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(file, nil, 0o600), agent.CapRTMR(agent.Hardware{Root: root}, agent.DefaultRTMR, event))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCappedTDX: a key whose policy wants RTMR 3 zero is released to a machine whose disk
// is closed, and to nothing that runs after the cap, or on a disk that a person opened.
func TestCappedTDX(t *testing.T) {
	r := newTEERig(t)
	kind := teeKind{"tdx", attest.TypeTDX.Simulated(), "tdx_rtmr3", ""}
	var key string
	r.withBroker(func(ctx context.Context, b *broker) {
		policy := "package release\n\ndefault allow := false\n\nallow if {\n\tinput.evidence.type == \"simulated-tdx\"\n\tinput.claims.tdx_rtmr3 == \"" + rtmr3Zero + "\"\n}\n"
		key = r.makeKey(ctx, b, "disk", keyvault.CreateKey{Kty: keyvault.KtyOct, Size: 256}, []byte(policy))
	})
	r.start(servedBroker{})
	defer func() { _ = r.stop(syscall.SIGTERM) }()
	released, err := r.get(t, r.machine(t, kind, simulate.Options{}), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := released.Material.Close(); err != nil {
		t.Fatal(err)
	}
	for event, want := range map[string]string{agent.CapEvent: rtmr3Capped, agent.RecoveryEvent: rtmr3Recovered} {
		later := r.machine(t, kind, simulate.Options{Extended: extended(t, event)})
		if got := claim(t, r.claims(t, later), "tdx_rtmr3"); got != want {
			t.Errorf("%s: RTMR 3 is %s", event, got)
		}
		var refused *agent.Refused
		if _, err := r.get(t, later, key); !errors.As(err, &refused) || refused.Reason != "policy_denied" {
			t.Errorf("%s: %v", event, err)
		}
	}
	doc, err := os.ReadFile("../../docs/pcrs.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{rtmr3Zero, rtmr3Capped, rtmr3Recovered} {
		if !strings.Contains(string(doc), value) {
			t.Errorf("docs/pcrs.md does not say %s", value)
		}
	}
}
