package keyprovider_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/enclave-agent/keyprovider"
)

const secretFile = "the program that only this machine may read"

// image is an OCI layout with one image of one layer.
func image(t *testing.T, dir string) {
	t.Helper()
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	blob := func(media string, b []byte) descriptor {
		h := sha256.Sum256(b)
		write(t, filepath.Join(dir, "blobs/sha256", hex.EncodeToString(h[:])), b)
		return descriptor{media, "sha256:" + hex.EncodeToString(h[:]), len(b)}
	}
	var plain, zipped bytes.Buffer
	w := tar.NewWriter(&plain)
	err := w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(secretFile))})
	if err == nil {
		_, err = w.Write([]byte(secretFile))
	}
	if err == nil {
		err = w.Close()
	}
	diff := sha256.Sum256(plain.Bytes())
	z := gzip.NewWriter(&zipped)
	if err == nil {
		_, err = z.Write(plain.Bytes())
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	layer := blob("application/vnd.oci.image.layer.v1.tar+gzip", zipped.Bytes())
	config := blob("application/vnd.oci.image.config.v1+json", encode(t, map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(diff[:])}},
	}))
	const media = "application/vnd.oci.image.manifest.v1+json"
	manifest := blob(media, encode(t, map[string]any{"schemaVersion": 2, "mediaType": media, "config": config, "layers": []descriptor{layer}}))
	write(t, filepath.Join(dir, "index.json"), encode(t, map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}}))
	write(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// layers is the media types and annotations of a layout's layers, and the first blob unzipped.
func layers(t *testing.T, dir string) (media string, annotations map[string]string, content []byte) {
	t.Helper()
	type descriptor struct {
		MediaType   string
		Digest      string
		Annotations map[string]string
	}
	read := func(digest string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", strings.TrimPrefix(digest, "sha256:")))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal(b, &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("%s: %v", b, err)
	}
	var manifest struct{ Layers []descriptor }
	if err := json.Unmarshal(read(index.Manifests[0].Digest), &manifest); err != nil || len(manifest.Layers) != 1 {
		t.Fatal(err, manifest)
	}
	l := manifest.Layers[0]
	return l.MediaType, l.Annotations, read(l.Digest)
}

// skopeo runs Debian's program with a configuration that leads to socket.
func skopeo(t *testing.T, address string, args ...string) error {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "ocicrypt.conf")
	write(t, conf, encode(t, map[string]any{"key-providers": map[string]any{keyprovider.Provider: map[string]string{"grpc": address}}}))
	cmd := exec.CommandContext(t.Context(), "skopeo", append([]string{"--insecure-policy", "copy"}, args...)...)
	cmd.Env = append(os.Environ(), "OCICRYPT_KEYPROVIDER_CONFIG="+conf)
	out, err := cmd.CombinedOutput()
	t.Logf("skopeo copy %s\n%s", strings.Join(args, " "), out)
	return err
}

// An image that skopeo encrypts to a public half opens in the machine, and there alone.
func TestSkopeo(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is not installed")
	}
	out, err := exec.CommandContext(t.Context(), "skopeo", "copy", "--encryption-key", "provider:openskr", "oci:/nowhere", "oci:/nowhere").CombinedOutput()
	if err != nil && bytes.Contains(out, []byte("protocol not recognized")) {
		t.Skip("this skopeo was built before key providers (Debian 12's was; Debian 13's is good)")
	}
	r := newReleaser(t)
	inside := "unix://" + serve(t, keyprovider.Config{Agent: r, Keys: all("rsa", "ec", "oct")})
	stranger := newReleaser(t)
	stranger.fail = errRefused
	outside := "unix://" + serve(t, keyprovider.Config{Agent: stranger, Keys: all("rsa", "ec", "oct")})
	plain := filepath.Join(t.TempDir(), "plain")
	image(t, plain)
	for _, name := range []string{"rsa", "ec", "oct"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			encrypted, opened := filepath.Join(dir, "encrypted"), filepath.Join(dir, "opened")
			if err := skopeo(t, inside, "--encryption-key", "provider:openskr:"+base+name, "oci:"+plain, "oci:"+encrypted); err != nil {
				t.Fatal(err)
			}
			media, annotations, content := layers(t, encrypted)
			if !strings.HasSuffix(media, "+encrypted") || annotations["org.opencontainers.image.enc.keys.provider.openskr"] == "" || zipped(content) {
				t.Fatalf("not encrypted: %s %v", media, annotations)
			}
			if err := skopeo(t, outside, "--decryption-key", "provider:openskr", "oci:"+encrypted, "oci:"+opened+"-outside"); err == nil {
				t.Fatal("opened without a release")
			}
			if err := skopeo(t, inside, "--decryption-key", "provider:openskr", "oci:"+encrypted, "oci:"+opened); err != nil {
				t.Fatal(err)
			}
			_, _, want := layers(t, plain)
			if media, _, got := layers(t, opened); strings.HasSuffix(media, "+encrypted") || !bytes.Equal(got, want) {
				t.Errorf("%s: another layer than before", media)
			}
		})
	}
	if !r.closed() {
		t.Error("a released key was kept")
	}
}

func zipped(b []byte) bool { return bytes.HasPrefix(b, []byte{0x1f, 0x8b}) }
