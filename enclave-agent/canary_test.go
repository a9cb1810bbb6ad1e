package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha3"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/canary"
)

// holder runs in a process of its own, see TestMain: it gets a key or a token, hands it
// over on descriptor 3, clears it, says so, and goes on living until its input ends.
// Its last arguments are PLATFORM SOCKET KIND URL.
func holder(config string) int {
	args := os.Args[len(os.Args)-4:]
	if err := hold(config, args[0], args[1], args[2], args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return ExitCode(err)
	}
	return ExitOK
}

func hold(config, platform, socket, kind, url string) error {
	ctx := context.Background()
	if err := Harden(); err != nil {
		return err
	}
	trust, err := ReadTrust(config)
	if err != nil {
		return err
	}
	h := Hardware{Platform: attest.Type(platform), TPM: socket}
	if h.Platform != attest.TypeTPM {
		h = Hardware{Platform: h.Platform, Simulator: socket}
	}
	a, err := New(ctx, Config{Trust: trust, Hardware: h, Recipient: RecipientKind(kind)})
	if err != nil {
		return err
	}
	a.device = discloser{a.device}
	ask := a.Key
	if url == agenttest.VaultURL {
		ask = a.Token
	}
	r, err := ask(ctx, url)
	if err != nil {
		return err
	}
	if err := WriteFD(3, r.Material.Bytes()); err != nil {
		return err
	}
	if os.Getenv("OPENSKR_TEST_HOLD") != "" { // and is killed meanwhile
		fmt.Println("holding")
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	}
	if err := r.Material.Close(); err != nil {
		return err
	}
	if err := errors.Join(unix.Close(3), unix.Close(4)); err != nil {
		return err
	}
	fmt.Println("cleared")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// discloser tells the test, on descriptor 4, the private half of a recipient key that is
// in memory, every bit inverted, so that the telling leaves nothing to be found.
type discloser struct{ Attester }

func (d discloser) NewRecipient(ctx context.Context, kind RecipientKind) (Recipient, error) {
	r, err := d.Attester.NewRecipient(ctx, kind)
	if soft, ok := r.(*softRecipient); ok {
		var inverted []byte
		for _, b := range soft.private.Bytes() {
			inverted = append(inverted, ^b)
		}
		err = WriteFD(4, inverted)
	}
	return r, err
}

// scan runs a holder and looks, once it says that it has cleared all, for the key and for
// what secrets makes of the recipient's private half.
func scan(t *testing.T, b *broker, secrets func(private []byte) [][]byte, args ...string) (found []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), "OPENSKR_TEST_CANARY="+b.TrustFile(t))
	var said bytes.Buffer
	cmd.Stderr = &said
	key, private := handedOver(t, cmd), handedOver(t, cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, w := range cmd.ExtraFiles {
		w.Close()
	}
	got, half := all(t, key), all(t, private)
	for i := range half {
		half[i] = ^half[i]
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "cleared\n" || !bytes.Equal(got, b.Material) {
		t.Errorf("the key was not handed over: %q, %v: %s", line, err, said.String())
	}
	k, err := canary.New(append(secrets(half), got)...)
	if err != nil {
		t.Fatal(err)
	}
	if found, err = k.Left(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, said.String())
	}
	return append(found, k.In(said.Bytes())...)
}

// handedOver makes the next descriptor of a command, and the end that is read here.
func handedOver(t *testing.T, cmd *exec.Cmd) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	cmd.ExtraFiles = append(cmd.ExtraFiles, w)
	return r
}

func all(t *testing.T, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// canaryBroker releases a key that nothing else looks like.
func canaryBroker(t *testing.T) *broker {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root reads the memory of a process that is not dumpable")
	}
	b := agenttest.Start(t)
	b.Material = make([]byte, 32)
	_, _ = rand.Read(b.Material)
	return b
}

// The agent's own memory holds nothing of a key or token that it has handed over and
// cleared, in any build.
func TestCanaryOfTheKey(t *testing.T) {
	if shared.err != nil {
		t.Skip(shared.err)
	}
	none := func([]byte) [][]byte { return nil }
	for _, kind := range []RecipientKind{Hybrid, P256, RSA} {
		for _, url := range []string{agenttest.KeyURL, agenttest.VaultURL} {
			b := canaryBroker(t)
			for _, f := range scan(t, b, none, string(attest.TypeTPM), shared.Socket, string(kind), url) {
				t.Errorf("%s %s: %s", kind, url, f)
			}
		}
	}
}

// Nor does it hold the private half of a recipient key in memory, with which a recorded
// answer could be opened: what the standard library made of it on the heap is erased in a
// build with GOEXPERIMENT=runtimesecret.
func TestCanaryOfTheRecipient(t *testing.T) {
	const good = `{"type":"simulated-snp","evidence":{"type":"simulated-snp"},"endorsements":[]}` + "\n"
	soft := device(t, says(good))
	for kind, secrets := range map[RecipientKind]func([]byte) [][]byte{Hybrid: hybridSecrets, P256: scalar, RSA: rsaSecrets} {
		b := canaryBroker(t)
		found := scan(t, b, secrets, string(attest.TypeSNP.Simulated()), soft, string(kind), agenttest.KeyURL)
		if !guest.Erases {
			t.Logf("%s: %d traces in this build, which does not erase the heap", kind, len(found))
			continue
		}
		for _, f := range found {
			t.Errorf("%s: %s", kind, f)
		}
	}
}

func scalar(private []byte) [][]byte { return [][]byte{private} }

// hybridSecrets is the seed, and the ML-KEM seed that it becomes (draft-irtf-cfrg-concrete-hybrid-kems).
func hybridSecrets(seed []byte) [][]byte {
	x := sha3.NewSHAKE256()
	_, _ = x.Write(seed)
	expanded := make([]byte, 64)
	_, _ = x.Read(expanded)
	return [][]byte{seed, expanded}
}

// rsaSecrets are the primes: much of a PKCS #8 is public.
func rsaSecrets(der []byte) (out [][]byte) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if sk, ok := k.(*rsa.PrivateKey); ok && err == nil {
		out = append(out, sk.Primes[0].Bytes(), sk.Primes[1].Bytes())
	}
	return out
}
