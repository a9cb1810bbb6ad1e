package ageplugin

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/simulate/simulatetest"
	"github.com/openskr/openskr/internal/swtpm"
)

// rig is Debian's age with this plugin in its path, and a fake broker.
type rig struct {
	t      *testing.T
	dir    string
	broker *agenttest.Broker
}

func newRig(t *testing.T, k crypto.Signer) *rig {
	t.Helper()
	if _, err := exec.LookPath("age"); err != nil {
		t.Skip("age is not installed: apt-get install -y age")
	}
	r := &rig{t, t.TempDir(), agenttest.Start(t)}
	r.broker.Material, r.broker.Kty = pkcs8(t, k), kindOf(k)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(r.dir, Program)); err != nil {
		t.Fatal(err)
	}
	return r
}

// age runs it with a file in and the output out, or the error as a user sees it.
func (r *rig) age(in []byte, args ...string) ([]byte, error) {
	r.t.Helper()
	c := exec.CommandContext(r.t.Context(), "age", args...)
	c.Env = []string{"PATH=" + r.dir + ":" + os.Getenv("PATH")}
	c.Stdin = bytes.NewReader(in)
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	if err := c.Run(); err != nil {
		return nil, errors.New(stderr.String())
	}
	return out.Bytes(), nil
}

// write writes a file of the rig.
func (r *rig) write(name, text string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r *rig) identity(s Settings) string {
	r.t.Helper()
	s.Config = r.broker.TrustFile(r.t)
	if s.Key == "" {
		s.Key = url
	}
	text, err := s.Identity()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.write("identity.txt", "# of the test\n"+text+"\n")
}

// snp is simulated hardware; its platform and socket are in the settings.
func snp(t *testing.T) Settings {
	t.Helper()
	socket := simulatetest.Play(t, "snp", sha256.Sum256([]byte("age")), simulate.Options{})
	return Settings{Platform: "simulated-snp", Simulator: socket, AllowSwap: true}
}

var plainText = []byte(strings.Repeat("what age encrypts\n", 10_000))

// Debian's age encrypts to a recipient and decrypts with an identity, each through the
// plugin, and reads what Encrypt writes; a file for several opens with each.
func TestAge(t *testing.T) {
	hardware := snp(t)
	for name, k := range map[string]crypto.Signer{"EC": newEC(t), "RSA": newRSA(t)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, k)
			to := newRecipient(t, kid, k).String()
			native, err := age.GenerateX25519Identity()
			if err != nil {
				t.Fatal(err)
			}
			file, err := r.age(plainText, "-r", to, "-r", native.Recipient().String(), "-r", newRecipient(t, url+"2/"+version, newEC(t)).String())
			if err != nil {
				t.Fatal(err)
			}
			identity, other := r.identity(hardware), r.write("native.txt", native.String()+"\n")
			for name, c := range map[string]struct {
				file []byte
				ids  []string
			}{
				"age's":             {file, []string{"-i", identity}},
				"by another":        {file, []string{"-i", other}},
				"armored":           {armoredFile(t, file), []string{"-i", identity}},
				"ours":              {encrypted(t, plainText, to), []string{"-i", identity}},
				"ours, first other": {encrypted(t, plainText, to), []string{"-i", other, "-i", identity}},
			} {
				if got, err := r.age(c.file, append([]string{"-d"}, c.ids...)...); err != nil || !bytes.Equal(got, plainText) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			}
			if r.broker.Releases != 4 {
				t.Errorf("%d releases, want 4", r.broker.Releases)
			}
		})
	}
}

func TestAgeOnTPM(t *testing.T) {
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	tpm, err := swtpm.Start(t.Context(), filepath.Join(t.TempDir(), "tpm"))
	if err != nil {
		t.Fatal(err)
	}
	defer tpm.Close()
	k := newEC(t)
	r := newRig(t, k)
	got, err := r.age(encrypted(t, plainText, newRecipient(t, kid, k).String()), "-d", "-i", r.identity(Settings{Platform: "tpm", TPM: tpm.Socket, State: filepath.Join(r.dir, "state"), AllowSwap: true}))
	if err != nil || !bytes.Equal(got, plainText) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if r.broker.Enrolled != 1 {
		t.Errorf("%d enrolments", r.broker.Enrolled)
	}
}

// What goes wrong reaches the person who runs age, with what to do.
func TestAgeSaysWhatIsWrong(t *testing.T) {
	hardware, k := snp(t), newEC(t)
	good := newRecipient(t, kid, k)
	file := encrypted(t, plainText, good.String())
	refuse := func(b *agenttest.Broker) {
		b.Intercept = func(w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path == "/v1/release" {
				agenttest.Refuse(w, http.StatusForbidden, "policy_denied")
			}
			return q.URL.Path == "/v1/release"
		}
	}
	for name, c := range map[string]struct {
		file   []byte
		id     Settings
		broker func(*agenttest.Broker)
		want   string
	}{
		"refused":         {file, hardware, refuse, "policy_denied, 403 Forbidden, correlation c-1"},
		"lying broker":    {file, hardware, func(b *agenttest.Broker) { b.SignWith = agenttest.NewKey(t) }, "does not check out"},
		"wrong key":       {encrypted(t, plainText, newRecipient(t, kid, newEC(t)).String()), hardware, nil, "does not open"},
		"kind of key":     {file, hardware, func(b *agenttest.Broker) { b.Kty = "oct" }, "of kind"},
		"other key":       {encrypted(t, plainText, newRecipient(t, url+"2/"+version, k).String()), hardware, nil, "no identity matched"},
		"altered":         {bytes.Replace(file, []byte("-> openskr EC"), []byte("-> openskr RSA"), 1), hardware, nil, "newer program"},
		"no hardware":     {file, Settings{Platform: "simulated-snp", Simulator: "/nowhere"}, nil, "no attestation hardware"},
		"altered payload": {append(bytes.Clone(file[:len(file)-1]), file[len(file)-1]^1), hardware, nil, "failed to decrypt and authenticate"},
		"trailing data":   {append(bytes.Clone(file), 'x'), hardware, nil, "failed to decrypt and authenticate"},
	} {
		r := newRig(t, k)
		if c.broker != nil {
			c.broker(r.broker)
		}
		got, err := r.age(c.file, "-d", "-i", r.identity(c.id))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		t.Log(name, err)
	}
	r := newRig(t, k)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"identity as recipient": {[]string{"-e", "-i", r.identity(hardware)}, "openskr-workload age recipient"},
		"recipient of no key":   {[]string{"-r", plugin.EncodeRecipient("openskr", []byte{1, 0, 0})}, "recipient"},
		"newer recipient":       {[]string{"-r", plugin.EncodeRecipient("openskr", []byte{2, 0, 0})}, "version"},
	} {
		if _, err := r.age(plainText, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Started by hand it says what it is.
func TestMainByHand(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"x"}, {"--age-plugin=recipient-v1", "x"}, {"--config=/x"}} {
		var out, stderr bytes.Buffer
		if code := Main(t.Context(), args, strings.NewReader(""), &out, &stderr); code != agent.ExitUsage || !strings.Contains(stderr.String(), "openskr-workload age") {
			t.Errorf("%q: exit %d, %q", args, code, stderr.String())
		}
	}
	var out, stderr bytes.Buffer
	if code := Main(t.Context(), []string{"--age-plugin=secret-v9"}, strings.NewReader(""), &out, &stderr); code == 0 {
		t.Error("an unknown state machine ended well")
	}
}
