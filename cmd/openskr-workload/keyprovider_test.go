package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
)

// keyWrap is what ocicrypt writes to a key provider's standard input.
func keyWrap(key string) string {
	std := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`{"op":"keywrap","keywrapparams":{"ec":{"Parameters":{"openskr":[%q]},"DecryptConfig":{"Parameters":null}},"optsdata":%q},"keyunwrapparams":{"dc":null,"annotation":null}}`,
		std([]byte(key)), std([]byte(`{"symkey":"AAAA"}`)))
}

func TestKeyproviderWraps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, []byte(shownKey(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, stderr bytes.Buffer
	latest := ageKey[:strings.LastIndex(ageKey, "/")]
	args := []string{"keyprovider", "--public-key", path}
	if code := run(t.Context(), args, strings.NewReader(keyWrap(latest)), &out, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, &stderr)
	}
	var answer struct {
		Results struct{ Annotation []byte } `json:"keywrapresults"`
	}
	var annotation struct{ KID, Alg string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(answer.Results.Annotation, &annotation); err != nil || annotation.KID != ageKey || annotation.Alg != "HPKE-P256+A256GCM" {
		t.Errorf("%s: %v", &out, err)
	}
}

func TestKeyproviderRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, []byte(shownKey(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	with := []string{"--public-key", path}
	for what, c := range map[string]struct {
		args  []string
		stdin string
		code  int
	}{
		"no key":       {nil, keyWrap(ageKey), agent.ExitUsage},
		"no file":      {[]string{"--public-key", path + "x"}, keyWrap(ageKey), agent.ExitUsage},
		"no agent":     {[]string{"--key", ageKey, "--config", path}, keyWrap(ageKey), agent.ExitUsage},
		"another key":  {with, keyWrap("https://vault.example/keys/other"), agent.ExitFailed},
		"no request":   {with, "", agent.ExitFailed},
		"too long":     {with, strings.Repeat(" ", 300<<10), agent.ExitFailed},
		"no operation": {with, `{}`, agent.ExitFailed},
	} {
		var out, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"keyprovider"}, c.args...), strings.NewReader(c.stdin), &out, &stderr)
		if code != c.code || out.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%s: exit %d, want %d: %s%s", what, code, c.code, &out, &stderr)
		}
	}
}
