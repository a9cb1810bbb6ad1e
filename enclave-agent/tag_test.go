package agent

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/enclave-agent/agenttest"
)

// keyDoor answers for one key as the Key Vault door does.
type keyDoor struct {
	tags map[string]string
	deaf bool // takes no tag
	seen []string
}

func (d *keyDoor) intercept(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodPost {
		return false
	}
	d.seen = append(d.seen, r.Method+" "+r.Host+r.URL.RequestURI())
	if r.Header.Get("Authorization") != "Bearer operator.token" {
		agenttest.Refuse(w, http.StatusUnauthorized, "unauthenticated")
		return true
	}
	if r.Method == http.MethodPatch && !d.deaf {
		var body struct{ Tags map[string]string }
		if json.NewDecoder(r.Body).Decode(&body) == nil {
			d.tags = body.Tags
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"key": map[string]string{"kid": agenttest.KeyURL}, "tags": d.tags})
	return true
}

func TestTag(t *testing.T) {
	b, door := agenttest.Start(t), &keyDoor{tags: map[string]string{"owner": "me", "luks-header": "old"}}
	b.Intercept = door.intercept
	a := newAgent(t, b, nil)
	url := agenttest.KeyURL + "/" + agenttest.Version
	change := func(old string) string { return "new," + old }
	if err := a.Tag(t.Context(), url, "operator.token", "luks-header", change); err != nil {
		t.Fatal(err)
	}
	if door.tags["luks-header"] != "new,old" || door.tags["owner"] != "me" || len(door.tags) != 2 {
		t.Errorf("%v", door.tags)
	}
	// The vault is named by the URL; who is asked is the broker of agent.json.
	const path = "vault.example/keys/disk/" + agenttest.Version + "?api-version="
	for i, want := range []string{"GET " + path + apiVersion, "PATCH " + path + apiVersion} {
		if len(door.seen) != 2 || door.seen[i] != want {
			t.Errorf("requests %q, want %q", door.seen, want)
		}
	}
	var refused *Refused
	if err := a.Tag(t.Context(), url, "other.token", "luks-header", change); !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
		t.Errorf("another token: %v", err)
	}
	for _, bad := range []string{"", "a\r\nX: y", "a b", "ü"} {
		if err := a.Tag(t.Context(), url, bad, "luks-header", change); !errors.Is(err, ErrConfig) {
			t.Errorf("token %q: %v", bad, err)
		}
	}
	door.deaf = true
	var invalid *Invalid
	if err := a.Tag(t.Context(), url, "operator.token", "luks-header", change); !errors.As(err, &invalid) || invalid.Check != "tags" {
		t.Errorf("a tag that is not taken: %v", err)
	}
}

// What answers a change of tags is judged as every other answer is.
func TestTagAnswers(t *testing.T) {
	for check, answer := range map[string]func(w http.ResponseWriter){
		"redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://elsewhere.example")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"media": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"tags":{}}`)) },
	} {
		b := agenttest.Start(t)
		b.Intercept = func(w http.ResponseWriter, _ *http.Request) bool {
			answer(w)
			return true
		}
		err := newAgent(t, b, nil).Tag(t.Context(), agenttest.KeyURL, "operator.token", "luks-header", func(string) string { return "new" })
		var invalid *Invalid
		if !errors.As(err, &invalid) || invalid.Check != check {
			t.Errorf("%s: %v", check, err)
		}
	}
}

func TestEvidenceOfTooMuch(t *testing.T) {
	if _, err := Evidence(t.Context(), Hardware{}, make([]byte, MaxRuntimeData+1)); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
}

func TestCap(t *testing.T) {
	if shared.err != nil {
		t.Skip(shared.err)
	}
	read := func() string {
		ev, err := Evidence(t.Context(), Hardware{Platform: attest.TypeTPM, TPM: shared.Socket, PCRs: Selection{Bank: "sha256", PCRs: []int{14}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			Evidence struct{ PCRs map[string]map[string]string }
		}
		if err := json.Unmarshal(ev, &e); err != nil {
			t.Fatal(err)
		}
		if v := e.Evidence.PCRs["sha256"]["14"]; v != "" {
			return v
		}
		var inner struct{ PCRs map[string]map[string]string }
		if err := json.Unmarshal(ev, &inner); err != nil {
			t.Fatal(err)
		}
		return inner.PCRs["sha256"]["14"]
	}
	before := read()
	if err := Cap(t.Context(), Hardware{TPM: shared.Socket}, 14, CapEvent); err != nil {
		t.Fatal(err)
	}
	if after := read(); before == "" || after == before {
		t.Errorf("PCR 14: %q, then %q", before, after)
	}
	for _, n := range []int{-1, 0, 7, 16, 23} {
		if err := Cap(t.Context(), Hardware{TPM: shared.Socket}, n, CapEvent); !errors.Is(err, ErrConfig) {
			t.Errorf("PCR %d: %v", n, err)
		}
	}
	if err := Cap(t.Context(), Hardware{Root: t.TempDir()}, 15, CapEvent); !errors.Is(err, ErrNoPCR) {
		t.Errorf("no TPM: %v", err)
	}
	// One that is there and does not open is no machine without a TPM.
	broken := t.TempDir()
	if err := os.MkdirAll(filepath.Join(broken, guest.DefaultDevice), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]Hardware{"does not open": {Root: broken}, "named, and not there": {TPM: filepath.Join(broken, "tpm")}} {
		if err := Cap(t.Context(), h, 15, CapEvent); err == nil || errors.Is(err, ErrNoPCR) {
			t.Errorf("a TPM that is %s: %v", name, err)
		}
	}
}
