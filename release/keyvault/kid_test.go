package keyvault_test

import (
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

const version = "0123456789abcdef0123456789abcdef"

func TestParseKID(t *testing.T) {
	l := newLab(t)
	long := strings.Repeat("a", 127)
	for url, want := range map[string]release.KeyRef{
		baseURL + "/keys/disk":                       {Vault: "default", Name: "disk"},
		baseURL + "/keys/disk/" + version:            {Vault: "default", Name: "disk", Version: version},
		aliased + "/keys/A-9/" + version:             {Vault: "default", Name: "A-9", Version: version},
		baseURL + "/keys/" + long:                    {Vault: "default", Name: long},
		baseURL + "/keys/-":                          {Vault: "default", Name: "-"},
		baseURL + "/keys/create":                     {Vault: "default", Name: "create"},
		baseURL + "/keys/" + version + "/" + version: {Vault: "default", Name: version, Version: version},
	} {
		got, err := l.ParseKID(url)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
		if url == l.KID(want) != strings.HasPrefix(url, baseURL) {
			t.Errorf("KID gives %s for %s", l.KID(want), url)
		}
	}
	for _, url := range []string{
		"", "disk", "/keys/disk",
		"http://vault.example:8443/keys/disk",
		"https://vault.example/keys/disk",
		"https://VAULT.example:8443/keys/disk",
		"https://vault.example:8443.evil.example/keys/disk",
		"https://user@vault.example:8443/keys/disk",
		"https://other.example:8443/keys/disk",
		baseURL + "/keys/", baseURL + "/keys", baseURL + "/Keys/disk", baseURL + "/secrets/disk",
		baseURL + "//keys/disk", baseURL + "/keys//disk", baseURL + "/keys/disk/", baseURL + "/keys/disk//" + version,
		baseURL + "/keys/disk/" + version + "/", baseURL + "/keys/disk/" + version + "/release",
		baseURL + "/keys/disk/" + version[1:], baseURL + "/keys/disk/" + version + "0", baseURL + "/keys/disk/" + strings.ToUpper(version),
		baseURL + "/keys/disk?api-version=7.4", baseURL + "/keys/disk#x", baseURL + "/keys/di%73k", baseURL + "/keys/disk ", " " + baseURL + "/keys/disk",
		baseURL + "/keys/" + long + "a", baseURL + "/keys/dísk", baseURL + "/keys/a_b", baseURL + "/keys/a.b", baseURL + "/keys/../keys/disk",
		baseURL + "/keys/disk\n", baseURL + "/keys/disk\x00",
	} {
		if got, err := l.ParseKID(url); err == nil {
			t.Errorf("%q is %+v", url, got)
		}
	}
}

func TestNewRefusesBaseURLs(t *testing.T) {
	l := newLab(t)
	for _, base := range []string{"", "https://", "http://h", "https://h/", "https://h/x", "https://u@h", "https://h?x", "h:1"} {
		c := l.Config
		c.BaseURL = base
		if _, err := keyvault.New(c); err == nil {
			t.Errorf("base URL %q accepted", base)
		}
		c = l.Config
		c.Aliases = []string{base}
		if _, err := keyvault.New(c); err == nil {
			t.Errorf("alias %q accepted", base)
		}
	}
}

// What is parsed is written the same way again, so no two URLs name one key
// through one host.
func TestParseVault(t *testing.T) {
	l := newLab(t)
	l.Suffixes = []string{"vaults.example:8443"}
	for url, want := range map[string]string{
		baseURL: "default", aliased: "default", "https://kv1.vaults.example:8443": "kv1",
		"": "", "default": "", baseURL + "/": "", baseURL + "/keys/disk": "", "http" + baseURL[5:]: "", strings.ToUpper(baseURL): "", baseURL + "?a": "",
		"https://kv1.vaults.example": "", "https://vaults.example:8443": "", "https://a.b.vaults.example:8443": "", "kv1.vaults.example:8443": "",
		"https://u@kv1.vaults.example:8443": "", "https://KV1.vaults.example:8443": "", "https://https://kv1.vaults.example:8443": "",
	} {
		got, err := l.ParseVault(url)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is vault %q, %v, want %q", url, got, err, want)
		}
	}
}

func FuzzParseVault(f *testing.F) {
	l := newLab(f)
	l.Suffixes = []string{"vaults.example"}
	f.Add(baseURL)
	f.Add("https://kv1.vaults.example")
	f.Fuzz(func(t *testing.T, url string) {
		vault, err := l.ParseVault(url)
		if (err == nil) != (vault != "") || err == nil && vault != keyvault.DefaultVault && url != "https://"+vault+".vaults.example" {
			t.Fatalf("%q is vault %q, %v", url, vault, err)
		}
	})
}

func FuzzParseKID(f *testing.F) {
	l := newLab(f)
	f.Add(baseURL + "/keys/disk/" + version)
	f.Add(baseURL + "/keys/disk")
	f.Add(aliased + "/keys/disk/")
	f.Fuzz(func(t *testing.T, url string) {
		ref, err := l.ParseKID(url)
		if err != nil {
			return
		}
		if rest, ok := strings.CutPrefix(url, aliased); ok {
			url = baseURL + rest
		}
		if l.KID(ref) != url {
			t.Fatalf("%q parsed as %+v, which is %q", url, ref, l.KID(ref))
		}
	})
}
