package canary_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/ocicrypt/config"
	providers "github.com/containers/ocicrypt/config/keyprovider-config"
	"github.com/containers/ocicrypt/keywrap"
	ocicrypt "github.com/containers/ocicrypt/keywrap/keyprovider"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/enclave-agent/keyprovider"
)

// TestModeKeyProvider: neither the key of an image nor that of a layer is left in the
// server that a container runtime asks, buffers of gRPC included.
func TestModeKeyProvider(t *testing.T) {
	for _, kty := range []string{"oct", "EC", "RSA"} {
		t.Run(kty, func(t *testing.T) {
			m := newMachine(t)
			secrets := [][]byte{m.broker.Material}
			if kty != "oct" {
				_, secrets = m.private(kty)
			}
			m.unwrapsLayer(t, secrets)
		})
	}
}

func (m *machine) unwrapsLayer(t *testing.T, secrets [][]byte) {
	t.Helper()
	socket, file := m.serving()
	provider := filepath.Join(t.TempDir(), "kp")
	js := fmt.Sprintf(`{"v":1,"socket":{"path":%q},"keyprovider":{"address":"unix:%s","keys":[%q]},"callers":[{"name":"test","user":"0","keyprovider":true,"keys":[%[3]q]}]}`,
		socket, provider, agenttest.KeyURL)
	if err := os.WriteFile(file, []byte(js), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, _ := m.start("openskr-workload", append([]string{"serve", "--serve-config", file}, m.options...)...)
	m.keyRelease(socket) // it listens
	runtime := ocicrypt.NewKeyWrapper(keyprovider.Provider, providers.KeyProviderAttrs{Grpc: "unix://" + provider})
	layer := random()
	annotation := wrapped(t, runtime, layer)
	if m.broker.Kty == "EC" {
		secrets = append(secrets, m.inAnnotation(annotation, layer)...)
	}
	cc, err := config.DecryptWithKeyProvider([][]byte{[]byte(keyprovider.Provider)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := runtime.UnwrapKey(cc.DecryptConfig, annotation)
	if err != nil || !bytes.Equal(got, options(layer)) {
		t.Fatal("the layer's key was not handed over:", err, m.said.String())
	}
	m.clean(cmd.Process.Pid, secrets...)
	// In the protocol it is base64 in base64.
	m.clean(cmd.Process.Pid, layer, []byte(base64.StdEncoding.EncodeToString(layer)))
}

// options of a layer, with its key, and so long that nobody reads them at once.
func options(layer []byte) []byte {
	return []byte(`{"symkeyoptions":{"symkey":"` + base64.StdEncoding.EncodeToString(layer) + `"},"digest":"sha256:` + strings.Repeat("0", 2<<10) + `"}`)
}

func wrapped(t *testing.T, runtime keywrap.KeyWrapper, layer []byte) []byte {
	t.Helper()
	cc, err := config.EncryptWithKeyProvider([][]byte{[]byte(keyprovider.Provider + ":" + agenttest.KeyURL)})
	if err != nil {
		t.Fatal(err)
	}
	annotation, err := runtime.WrapKeys(cc.EncryptConfig, options(layer))
	if err != nil {
		t.Fatal(err)
	}
	return annotation
}

// inAnnotation is what opening a layer's annotation with an EC key makes.
func (m *machine) inAnnotation(annotation, layer []byte) [][]byte {
	m.Helper()
	var a struct{ KID, Alg, Wrapped string }
	if err := json.Unmarshal(annotation, &a); err != nil {
		m.Fatal(err)
	}
	message, err := base64.RawURLEncoding.DecodeString(a.Wrapped)
	if err != nil {
		m.Fatal(err)
	}
	info := "openskr/keyprovider/v1\x00" + a.KID + "\x00" + a.Alg + "\x00"
	secrets, opened := secretsOf(m.T, m.scalar(), aesGCM, []byte(info), message)
	if !bytes.Equal(opened, options(layer)) {
		m.Fatal("the annotation holds something else")
	}
	return secrets
}
