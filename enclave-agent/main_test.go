package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/swtpm"
	"github.com/openskr/openskr/release/receipt"
)

// testTPM is the software TPM of all tests here, and one that becomes an Azure vTPM.
type testTPM struct {
	*swtpm.TPM
	azure *swtpm.TPM
	err   error
}

var shared testTPM //nolint:gochecknoglobals // started once by TestMain

func TestMain(m *testing.M) {
	if os.Getenv("OPENSKR_TEST_HARDEN") != "" {
		os.Exit(hardened())
	}
	if config := os.Getenv("OPENSKR_TEST_CANARY"); config != "" {
		os.Exit(holder(config))
	}
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		panic(err)
	}
	if shared.err = swtpm.Available(); shared.err == nil {
		if shared.TPM, err = swtpm.Start(context.Background(), filepath.Join(dir, "a")); err != nil {
			panic(err)
		}
		if shared.azure, err = swtpm.Start(context.Background(), filepath.Join(dir, "b")); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if shared.TPM != nil {
		if err := errors.Join(shared.Close(), shared.azure.Close()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// newAgent makes an agent of the shared TPM that trusts the broker.
func newAgent(t *testing.T, b *agenttest.Broker, change func(*Config)) *Agent {
	t.Helper()
	if shared.err != nil {
		t.Skip(shared.err)
	}
	c := Config{Trust: &b.Trust, Hardware: Hardware{Platform: attest.TypeTPM, TPM: shared.Socket}, Timeout: 20 * time.Second, Notice: func(s string) { t.Log("note:", s) }}
	if change != nil {
		change(&c)
	}
	a, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	a.wait = func(context.Context, time.Duration) error { return errors.New("no second round in this test") }
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestKey(t *testing.T) {
	for _, kind := range []RecipientKind{Hybrid, P256, RSA} {
		for _, url := range []string{agenttest.KeyURL, agenttest.KeyURL + "/" + agenttest.Version} {
			t.Run(fmt.Sprintf("%s/versioned=%v", kind, strings.HasSuffix(url, agenttest.Version)), func(t *testing.T) {
				b := agenttest.Start(t)
				a := newAgent(t, b, func(c *Config) { c.Recipient = kind })
				r, err := a.Key(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				if got := r.Material.Bytes(); sha256.Sum256(got) != sha256.Sum256(b.Material) {
					t.Error("other key than the broker's")
				}
				if r.KID != agenttest.KeyURL+"/"+agenttest.Version || r.Record.Object != "disk" || r.Receipt.Index != 1 {
					t.Errorf("%s, %+v", r.KID, r.Record)
				}
				if err := r.Material.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestCertificateIsKept(t *testing.T) {
	b, state := agenttest.Start(t), filepath.Join(t.TempDir(), "state")
	get := func() {
		t.Helper()
		r, err := newAgent(t, b, func(c *Config) { c.State = state }).Key(t.Context(), agenttest.KeyURL)
		if err != nil {
			t.Fatal(err)
		}
		r.Material.Close()
	}
	get()
	get()
	if b.Enrolled != 1 {
		t.Errorf("%d enrolments for two runs, want 1", b.Enrolled)
	}
	path := filepath.Join(state, certificateFile)
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := os.WriteFile(path, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	get()
	if b.Enrolled != 2 {
		t.Errorf("%d enrolments, want one more for a broken file", b.Enrolled)
	}
	later := newAgent(t, b, func(c *Config) {
		c.State = state
		c.Now = func() time.Time { return time.Now().Add(59*time.Minute + 30*time.Second) }
	})
	if _, err := later.Enroll(t.Context()); err == nil {
		t.Error("a certificate that ends at once was taken")
	}
}

// AG-19: a clock from before this program is not believed, and that is said.
func TestClockBeforeBuild(t *testing.T) {
	b := agenttest.Start(t)
	var notes []string
	a := newAgent(t, b, func(c *Config) {
		c.Now = func() time.Time { return time.Unix(0, 0) }
		c.Built = time.Now()
		c.Notice = func(s string) { notes = append(notes, s) }
	})
	r, err := a.Key(t.Context(), agenttest.KeyURL)
	if err != nil {
		t.Fatal(err)
	}
	r.Material.Close()
	if len(notes) == 0 {
		t.Error("nobody was told that the clock is wrong")
	}
	wrong := newAgent(t, b, func(c *Config) { c.Now = func() time.Time { return time.Unix(0, 0) } })
	if _, err := wrong.Key(t.Context(), agenttest.KeyURL); !errors.Is(err, ErrUnreachable) {
		t.Errorf("certificate from the future: %v", err)
	}
}

// AG-14, AG-20: requests at once each have a recipient key of their own.
func TestParallel(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, nil)
	const n = 12
	got := make(chan error, n)
	seen := map[receipt.Digest]bool{}
	b.Record = func(r *receipt.Record) { seen[r.Recipient] = true } // under the broker's lock
	for range n {
		go func() {
			r, err := a.Key(t.Context(), agenttest.KeyURL)
			if err == nil {
				err = r.Material.Close()
			}
			got <- err
		}()
	}
	for range n {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
	if len(seen) != n || b.Enrolled != 1 {
		t.Errorf("%d recipients and %d enrolments for %d requests", len(seen), b.Enrolled, n)
	}
}

// AG-16: no hardware is an exit code of its own.
func TestNoTPM(t *testing.T) {
	b := agenttest.Start(t)
	for _, platform := range []attest.Type{"", attest.TypeTPM} {
		_, err := New(t.Context(), Config{Trust: &b.Trust, Hardware: Hardware{Platform: platform, Root: t.TempDir(), TPM: filepath.Join(t.TempDir(), "absent")}})
		if ExitCode(err) != ExitNoHardware {
			t.Errorf("%q: %v: exit %d", platform, err, ExitCode(err))
		}
	}
}
