package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/interop/harness"
)

// The account that Azurite has, with the key that its makers publish.
const (
	emulatorAccount = "devstoreaccount1"
	emulatorKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// blobs is Azure Storage as Azurite emulates it, Azure's SDK for Python, and a machine
// with openskr-workload on it.
type blobs struct {
	workload, clients string
	endpoint          string // HOST:PORT
	machine           *harness.Machine
}

// TestBlobs: what Azure's SDK encrypts, a machine decrypts with a key that a broker
// releases to it, and the other way round.
func TestBlobs(t *testing.T) {
	t.Parallel()
	b := &blobs{workload: workload(t), clients: install(t, "blob"), machine: machine(t)}
	b.azurite(t)
	policy := anyMachine(t)
	for _, c := range []struct{ algorithm, container string }{{"RSA-OAEP", "rsa-oaep"}, {"RSA-OAEP-256", "rsa-oaep-256"}, {"A256KW", "a256kw"}} {
		t.Run(c.algorithm, func(t *testing.T) {
			kek := importKEK(t, c.algorithm, policy)
			written := b.sdk(t, "put", c.container, c.algorithm, kek)
			for name, want := range written {
				if got := b.decrypt(t, c.container, name, want); got != want.hash {
					t.Errorf("%s: decrypted as something else", name)
				}
			}
			ours := b.encrypt(t, c.container, kek)
			// Plain text that turns out to be wrong at its end is not committed.
			if _, stderr, code := b.run(t, "decrypt", b.name(c.container, "sdk-40000000"), b.name(c.container, "never"), "--size", "5"); code != 1 {
				t.Errorf("another size: exit %d: %s", code, stderr)
			}
			for name, got := range b.sdk(t, "get", c.container, c.algorithm, kek) {
				if name == "never" {
					t.Error("an aborted upload is there")
				}
				if want, ok := ours[name]; ok && got.hash != want {
					t.Errorf("%s: the SDK reads something else", name)
				}
				delete(ours, name)
			}
			if len(ours) > 0 {
				t.Errorf("the SDK has not read %v", ours)
			}
		})
	}
}

// machine plays one that may have keys, for the time of the test.
func machine(t *testing.T) *harness.Machine {
	t.Helper()
	m, err := suite.broker.StartMachine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// anyMachine is a file with a policy that it satisfies.
func anyMachine(t *testing.T) string {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "snp.rego")
	rego := "package release\n\ndefault allow := false\n\nallow if input.evidence.type == \"simulated-snp\"\n"
	if err := os.WriteFile(policy, []byte(rego), 0o600); err != nil {
		t.Fatal(err)
	}
	return policy
}

// workload is the program, beside the one that is tested or built now.
func workload(t *testing.T) string {
	t.Helper()
	if program := os.Getenv("OPENSKR"); program != "" {
		return filepath.Join(filepath.Dir(program), "openskr-workload")
	}
	out := filepath.Join(t.TempDir(), "openskr-workload")
	c := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", out, "./cmd/openskr-workload")
	c.Dir, c.Env = "..", append(suite.outside, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return out
}

// azurite starts the emulator on the loopback address.
func (b *blobs) azurite(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.endpoint = l.Addr().String()
	_, port, err := net.SplitHostPort(b.endpoint)
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(filepath.Join(b.clients, "bin/node"), filepath.Join(b.clients, "node_modules/azurite/dist/src/blob/main.js"),
		"--blobPort", port, "--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck")
	c.Dir = t.TempDir()
	var log bytes.Buffer
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		conn, err := net.Dial("tcp", b.endpoint)
		if err == nil {
			_ = conn.Close()
			return
		}
		select { // another process: nothing to wait on but its answer
		case <-ctx.Done():
			t.Fatalf("azurite did not start: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kek is a key that broker and SDK have.
type kek struct {
	url string            // with version
	jwk map[string]string // hexadecimal, for sdk.py
}

// importKEK makes a key and gives it to the broker, for release alone.
func importKEK(t *testing.T, algorithm, policy string) *kek {
	t.Helper()
	k := &kek{jwk: map[string]string{}}
	var material []byte
	suffix := ".pem"
	args := []string{"key", "import", fresh("kek"), "--policy", policy, "--json"}
	if algorithm == "A256KW" {
		material = random(32)
		k.jwk["kty"], k.jwk["k"] = "oct", hex.EncodeToString(material)
		suffix = ".bin"
	} else {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		material = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		k.jwk["kty"] = "RSA"
		for name, v := range map[string]*big.Int{
			"n": private.N, "e": big.NewInt(int64(private.E)), "d": private.D, "p": private.Primes[0], "q": private.Primes[1],
			"dp": private.Precomputed.Dp, "dq": private.Precomputed.Dq, "qi": private.Precomputed.Qinv,
		} {
			k.jwk[name] = hex.EncodeToString(v.Bytes())
		}
	}
	file := filepath.Join(t.TempDir(), "kek"+suffix)
	if err := os.WriteFile(file, material, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := suite.broker.Run(t.Context(), append(args, "--file", file)...)
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Key struct{ KID string } }
	if err := json.Unmarshal(out, &made); err != nil || made.Key.KID == "" {
		t.Fatalf("%s: %v", out, err)
	}
	k.url, k.jwk["kid"] = made.Key.KID, made.Key.KID
	return k
}

// content is what a blob holds.
type content struct {
	size int64
	hash string
}

// sdk runs sdk.py and reads what it prints.
func (b *blobs) sdk(t *testing.T, verb, container, algorithm string, k *kek) map[string]content {
	t.Helper()
	jwk, err := json.Marshal(k.jwk)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), filepath.Join(b.clients, "bin/python"), "-B", "blob/sdk.py", verb, container)
	c.Env = append(os.Environ(), "KEK="+string(jwk), "ALGORITHM="+algorithm, "AZURE_STORAGE_CONNECTION_STRING=DefaultEndpointsProtocol=http;AccountName="+
		emulatorAccount+";AccountKey="+emulatorKey+";BlobEndpoint=http://"+b.endpoint+"/"+emulatorAccount)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("sdk.py %s: %v\n%s", verb, err, stderr.String())
	}
	all := map[string]content{}
	for line := range strings.Lines(string(out)) {
		var name string
		var got content
		if _, err := fmt.Sscan(line, &name, &got.size, &got.hash); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[name] = got
	}
	return all
}

// run runs openskr-workload on the machine.
func (b *blobs) run(t *testing.T, args ...string) (stdout []byte, stderr string, code int) {
	t.Helper()
	return b.with(t, []string{"AZURE_STORAGE_ACCOUNT=" + emulatorAccount, "AZURE_STORAGE_KEY=" + emulatorKey}, nil, args...)
}

// with runs it with more in its environment, and with an input.
func (b *blobs) with(t *testing.T, environ []string, stdin io.Reader, args ...string) (stdout []byte, stderr string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), b.workload, append(args,
		"--config", filepath.Join(suite.broker.Dir, "agent.json"), "--platform", "simulated-snp", "--simulator", b.machine.Socket())...)
	c.Env, c.Stdin = slices.Concat(suite.outside, environ), stdin
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); c.ProcessState == nil {
		t.Fatal(err)
	}
	return out.Bytes(), errs.String(), c.ProcessState.ExitCode()
}

// name is how openskr-workload calls a blob in Azurite.
func (b *blobs) name(container, blob string) string {
	return "azblob://" + container + "/" + blob + "?protocol=http&localemu=true&domain=" + b.endpoint
}

const region = 4 << 20

// decrypt gives the hash of a blob of the SDK. Whole regions need the size to be said.
func (b *blobs) decrypt(t *testing.T, container, blob string, want content) string {
	t.Helper()
	args := []string{"decrypt", b.name(container, blob), "-"}
	if want.size%region == 0 {
		if out, stderr, code := b.run(t, args...); code != 1 || len(out) > 0 || !strings.Contains(stderr, "--size") {
			t.Errorf("%s without a size: exit %d, %d bytes, %s", blob, code, len(out), stderr)
		}
		args = append(args, "--size", fmt.Sprint(want.size))
	}
	out, stderr, code := b.run(t, args...)
	if code != 0 {
		t.Errorf("%s: exit %d: %s", blob, code, stderr)
	}
	return hash(out)
}

// encrypt writes blobs and gives their hashes.
func (b *blobs) encrypt(t *testing.T, container string, k *kek) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, size := range []int{0, 1, region, 40_000_000} {
		name, file := fmt.Sprintf("ours-%d", size), filepath.Join(t.TempDir(), "plain")
		data := random(size)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := b.run(t, "encrypt", file, b.name(container, name), "--key", k.url); code != 0 {
			t.Fatalf("%s: exit %d: %s", name, code, stderr)
		}
		if _, stderr, code := b.run(t, "encrypt", file, b.name(container, name), "--key", k.url); code != 1 || !strings.Contains(stderr, "exists") {
			t.Errorf("%s written again: exit %d: %s", name, code, stderr)
		}
		if got := b.decrypt(t, container, name, content{size: 1}); got != hash(data) {
			t.Errorf("%s: comes back as something else", name)
		}
		all[name] = hash(data)
	}
	return all
}

func hash(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
