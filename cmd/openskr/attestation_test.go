package main

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/openskr/openskr/attest"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/attest/token"
	"github.com/openskr/openskr/internal/deployment"
)

// A running broker makes a token that `openskr evidence verify --type token` reads with
// the keys of /certs, also one that was signed before a rotation.
func TestAttestationTokens(t *testing.T) {
	r := newTEERig(t)
	file := func(name string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		write(t, path, content)
		return path
	}
	read := func(jwt, jwks string) {
		t.Helper()
		code, stdout, stderr := call(t, "evidence", "verify", "--type", "token", "--token", file("token", []byte(jwt)), "--jwks", jwks)
		if code != codeDone || !strings.Contains(stdout, "sevsnpvm") {
			t.Errorf("exit %d\n%s%s", code, stdout, stderr)
		}
	}
	r.start(servedBroker{})
	jwt := r.token(t)
	read(jwt, file("jwks", r.certs(t)))
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, step := range []deployment.Step{deployment.StepAnnounce, deployment.StepActivate} {
		if code, _, stderr := call(t, "rotate", "attestation", string(step), "--data", r.dir, "--force"); code != codeDone {
			t.Fatalf("rotate %s: %s", step, stderr)
		}
	}
	r.start(servedBroker{})
	jwks := file("jwks", r.certs(t))
	read(jwt, jwks)
	next := r.token(t)
	read(next, jwks)
	head := func(s string) string { h, _, _ := strings.Cut(s, "."); return h }
	if head(jwt) == head(next) {
		t.Error("the old key still signs")
	}
	if _, rej := token.Introduce([]byte(`{"type":"token","token":"` + next + `"}`)); rej != nil {
		t.Error(rej)
	}
}

// token asks for one with evidence of the simulation's chip.
func (r *teeRig) token(t *testing.T) string {
	t.Helper()
	p, err := snpsim.New(r.seed)
	if err != nil {
		t.Fatal(err)
	}
	report, err1 := p.Report([64]byte{}, snpsim.Chip{})
	leaf, err2 := p.Leaf(snpsim.Chip{})
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	doc, err := json.Marshal(map[string]attest.Bytes{
		"SnpReport": report, "VcekCertChain": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}),
	})
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ Token string }
	if _, err := r.post(t.Context(), "/attest/SevSnpVm?api-version=2022-08-01", map[string]any{"report": attest.Bytes(doc)}, &out); err != nil {
		t.Fatal(err)
	}
	return out.Token
}

func (r *teeRig) certs(t *testing.T) []byte {
	t.Helper()
	resp, err := r.client.Get(r.url + "/certs")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	return b
}
