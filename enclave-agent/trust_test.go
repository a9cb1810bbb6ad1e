package agent

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/release/receipt"
)

func TestParseTrust(t *testing.T) {
	b := agenttest.Start(t)
	for name, c := range map[string]struct {
		change func(*receipt.Trust)
		ok     bool
	}{
		"good":              {func(*receipt.Trust) {}, true},
		"version":           {func(t *receipt.Trust) { t.V = 2 }, false},
		"no url":            {func(t *receipt.Trust) { t.URLs = nil }, false},
		"http":              {func(t *receipt.Trust) { t.URLs = []string{"http://h"} }, false},
		"one of two http":   {func(t *receipt.Trust) { t.URLs = append(t.URLs[:1:1], "http://h") }, false},
		"user in url":       {func(t *receipt.Trust) { t.URLs = []string{"https://u:p@h"} }, false},
		"path in url":       {func(t *receipt.Trust) { t.URLs = []string{"https://h/x"} }, false},
		"query in url":      {func(t *receipt.Trust) { t.URLs = []string{"https://h?x"} }, false},
		"no deployment":     {func(t *receipt.Trust) { t.Deployment = "" }, false},
		"no ca":             {func(t *receipt.Trust) { t.CA = "" }, false},
		"ca no pem":         {func(t *receipt.Trust) { t.CA = "MIIB" }, false},
		"no response key":   {func(t *receipt.Trust) { t.ResponseKeys = nil }, false},
		"response key junk": {func(t *receipt.Trust) { t.ResponseKeys = [][]byte{{1}} }, false},
		"no origin":         {func(t *receipt.Trust) { t.Log.Origin = "" }, false},
		"no log key":        {func(t *receipt.Trust) { t.Log.VKeys = nil }, false},
		"suffixes":          {func(t *receipt.Trust) { t.VaultSuffixes = []string{"vault.example:8443", "localhost"} }, true},
		"suffix a url":      {func(t *receipt.Trust) { t.VaultSuffixes = []string{"https://vault.example"} }, false},
		"suffix with a dot": {func(t *receipt.Trust) { t.VaultSuffixes = []string{".vault.example"} }, false},
		"suffix any host":   {func(t *receipt.Trust) { t.VaultSuffixes = []string{""} }, false},
		"log key junk":      {func(t *receipt.Trust) { t.Log.VKeys = []string{"x"} }, false},
	} {
		trust := b.Trust
		c.change(&trust)
		js, err := json.Marshal(trust)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseTrust(js)
		if (err == nil) != c.ok || !c.ok && (!errors.Is(err, ErrConfig) || ExitCode(err) != ExitUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, js := range []string{``, `{}`, `null`, `{"v":1,"v":1}`, `{"V":1}`, `{"v":1,"insecure":true}`} {
		if _, err := ParseTrust([]byte(js)); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", js, err)
		}
	}
}

func FuzzParseTrust(f *testing.F) {
	js, err := json.Marshal(agenttest.Start(f).Trust)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(js)
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		trust, err := ParseTrust(b)
		if err == nil && (len(trust.URLs) == 0 || len(trust.ResponseKeys) == 0 || len(trust.Log.VKeys) == 0 || trust.CA == "") {
			t.Fatal("trust with a part missing")
		}
	})
}

func TestParseKeyURL(t *testing.T) {
	const v = agenttest.Version
	for s, want := range map[string]string{
		"https://h/keys/disk":             "disk",
		"https://h:8443/keys/Disk-1/" + v: "Disk-1",
		"https://[::1]:1/keys/k":          "k",
		"http://h/keys/disk":              "",
		"HTTPS://h/keys/disk":             "",
		"https:///keys/disk":              "",
		"https://h/keys/":                 "",
		"https://h/keys/disk/":            "",
		"https://h/keys/disk/latest":      "",
		"https://h/keys/disk/" + v + "/":  "",
		"https://h/secrets/disk":          "",
		"https://h/keys/../disk":          "",
		"https://h/keys/di%73k":           "",
		"https://h/keys/disk?x=1":         "",
		"https://h/keys/disk#x":           "",
		"https://u@h/keys/disk":           "",
		"https://h/a/keys/disk":           "",
		"https://h/keys/disk\n":           "",
		"":                                "",
	} {
		r, err := parseKeyURL(s)
		if want == "" && !errors.Is(err, ErrConfig) || want != "" && (err != nil || r.name != want) {
			t.Errorf("%q: %+v, %v", s, r, err)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	b := agenttest.Start(t)
	for name, c := range map[string]Config{
		"no trust": {}, "recipient": {Trust: &b.Trust, Recipient: "x25519"},
		"platform": {Trust: &b.Trust, Hardware: Hardware{Platform: "psp"}}, "bank": {Trust: &b.Trust, Hardware: Hardware{PCRs: Selection{Bank: "sha1", PCRs: []int{0}}}},
	} {
		if _, err := New(t.Context(), c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: accepted", name)
		}
	}
}
