package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// localAPI is `openskr-workload serve` on a simulated machine.
type localAPI struct {
	dir, token string
	child      *exec.Cmd
}

// serveLocal starts it with this test as a caller of the socket, another with a token,
// and one with a managed identity for the vault.
func serveLocal(t *testing.T, keys ...string) *localAPI {
	t.Helper()
	m, err := suite.broker.StartMachine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "local") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	a := &localAPI{dir: dir, token: rand.Text() + rand.Text()}
	config, err := json.Marshal(map[string]any{
		"v": 1, "socket": map[string]any{"path": dir + "/run/api"}, "tcp": map[string]any{"address": "127.0.0.1:0"},
		"callers": []any{
			map[string]any{"name": "test", "user": fmt.Sprint(os.Getuid()), "keys": keys, "evidence": true},
			map[string]any{"name": "old", "token_file": dir + "/token", "keys": keys},
			map[string]any{"name": "app", "identity": map[string]any{"environment": dir + "/run/app.env"}, "vaults": []string{suite.broker.Vault}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"token": []byte(a.token), "workload.json": config} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.child = exec.Command(workload(t), "serve", "--json", "--config", filepath.Join(suite.broker.Dir, "agent.json"), "--serve-config", dir+"/workload.json",
		"--platform", "simulated-snp", "--simulator", m.Socket())
	a.child.SysProcAttr, a.child.Env = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}, suite.outside
	stderr, err := a.child.StderrPipe()
	if err == nil {
		err = a.child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	log := bufio.NewScanner(stderr)
	for log.Scan() && !strings.Contains(log.Text(), `"serving"`) {
		t.Log(log.Text())
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, stderr)
	}()
	t.Cleanup(func() {
		_ = a.child.Process.Signal(syscall.SIGTERM)
		<-drained
		if err := a.child.Wait(); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(dir + "/run/*"); left != nil {
			t.Errorf("left behind: %v", left)
		}
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return a
}

// post asks on the socket, as a client of the SKR sidecar does on its port.
func (a *localAPI) post(t *testing.T, path string, in map[string]string) map[string]string {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", a.dir+"/run/api")
	}}}
	resp, err := c.Post("http://localhost"+path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]string
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v, %v", path, resp.Status, out, err)
	}
	return out
}

// environ is what the service with the managed identity has in its environment.
func (a *localAPI) environ(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(a.dir + "/run/app.env")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// TestLocalAPI: a machine that stores no credential has keys, tokens and secrets by
// clients that know nothing of OpenSKR.
func TestLocalAPI(t *testing.T) {
	b := suite.broker
	policy := filepath.Join(t.TempDir(), "snp.rego")
	rego := "package release\n\ndefault allow := false\n\nallow if input.evidence.type == \"simulated-snp\"\n"
	if err := os.WriteFile(policy, []byte(rego), 0o600); err != nil {
		t.Fatal(err)
	}
	key, secret := fresh("local"), fresh("local")
	made := must2(t)(b.Run(t.Context(), "key", "create", key, "--kty", "EC", "--crv", "P-256", "--policy", policy, "--json"))
	value := rand.Text()
	set(t, secretsClient(t, admin()), secret, azsecrets.SetSecretParameters{Value: &value})
	must2(t)(b.Run(t.Context(), "attested-role", "add", secret, "--role", "Key Vault Secrets User", "--scope", "/vaults/sdk/secrets/"+secret, "--policy", policy))
	a := serveLocal(t, b.Authority+"/keys/"+key)

	t.Run("key", func(t *testing.T) { a.releases(t, key, made) })
	t.Run("token of the attestation service", a.attests)
	t.Run("azidentity", func(t *testing.T) { a.identity(t, secret, value) })
	t.Run("azure-identity", func(t *testing.T) {
		c := exec.CommandContext(t.Context(), filepath.Join(install(t, "python"), "bin/python"), "python/managed_identity.py", secret)
		c.Env = append(append(os.Environ(), a.environ(t)...), "OPENSKR_VAULT="+b.Vault)
		var stderr bytes.Buffer
		c.Stderr = &stderr
		if out, err := c.Output(); err != nil || strings.TrimSpace(string(out)) != value {
			t.Errorf("%v\n%s", err, &stderr)
		}
	})
}

// must2 is [must] for what is called in place.
func must2(t *testing.T) func([]byte, error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		return must(t, b, err)
	}
}

// releases wants the private half of what was made.
func (a *localAPI) releases(t *testing.T, key string, made []byte) {
	host := suite.broker.Host
	out := a.post(t, "/key/release", map[string]string{"maa_endpoint": host, "akv_endpoint": host, "kid": key, "access_token": "unused"})
	var jwk map[string]string
	var public struct{ Key map[string]any }
	if err := json.Unmarshal([]byte(out["key"]), &jwk); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(made, &public); err != nil {
		t.Fatal(err)
	}
	if jwk["kty"] != "EC" || jwk["x"] == "" || jwk["x"] != public.Key["x"] || jwk["y"] != public.Key["y"] || jwk["d"] == "" {
		t.Errorf("another key than %s", made)
	}
}

// attests has a token made over a key of this test's own, which then opens a release at
// the Key Vault door: what an application does that uses the sidecar for tokens alone.
func (a *localAPI) attests(t *testing.T) {
	s := sidecar(t)
	runtime, err := s.RuntimeData(&s.Target.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	out := a.post(t, "/attest/maa", map[string]string{"maa_endpoint": suite.broker.Host, "runtime_data": base64.StdEncoding.EncodeToString(runtime)})
	k := exportable(t, keysClient(t, admin()), azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)}, "sevsnpvm")
	answer, err := s.ReleaseTo(t.Context(), k.Key.KID.Name(), out["token"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(answer, s.Target); err != nil {
		t.Error(err)
	}
}

// identity reads the secret as DefaultAzureCredential finds it, and no other, in a process
// of its own: the library keeps tokens of managed identities for the whole process, those
// of other tests' too.
func (a *localAPI) identity(t *testing.T, secret, value string) {
	for name, want := range map[string]string{secret: value, "another": "403 Forbidden"} {
		c := exec.CommandContext(t.Context(), os.Args[0])
		c.Env = append(append(os.Environ(), a.environ(t)...), "OPENSKR_VAULT="+suite.broker.Vault, "OPENSKR_TEST_READ="+name)
		var stderr bytes.Buffer
		c.Stderr = &stderr
		if out, err := c.Output(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %s, %v\n%s", name, out, err, &stderr)
		}
	}
}

// readAlone prints a secret, or how it was refused.
func readAlone(name string) int {
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err == nil {
		var c *azsecrets.Client
		if c, err = azsecrets.NewClient(os.Getenv("OPENSKR_VAULT"), cred, nil); err == nil {
			var got azsecrets.GetSecretResponse
			if got, err = c.GetSecret(context.Background(), name, "", nil); err == nil {
				fmt.Println(*got.Value)
				return 0
			}
		}
	}
	var refused *azcore.ResponseError
	if errors.As(err, &refused) {
		fmt.Println(refused.StatusCode, refused.ErrorCode)
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}
