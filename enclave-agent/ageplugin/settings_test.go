package ageplugin

import (
	"errors"
	"strings"
	"testing"

	"filippo.io/age/plugin"

	agent "github.com/openskr/openskr/enclave-agent"
)

func TestIdentityString(t *testing.T) {
	s := Settings{Key: url, Config: defaultConfig, Platform: "snp", State: "/var/lib/openskr", PCRs: "0,7"}
	text, err := s.Identity()
	if err != nil || !strings.HasPrefix(text, "AGE-PLUGIN-OPENSKR-1") {
		t.Fatalf("%q, %v", text, err)
	}
	got, err := ParseIdentity(text)
	if err != nil || got.Key != url || got.Config != "" || got.Platform != "snp" || got.State != "/var/lib/openskr" || got.PCRs != "0,7" {
		t.Errorf("%+v, %v", got, err)
	}
	for name, s := range map[string]Settings{
		"key": {Key: "disk"}, "relative": {Key: url, Config: "agent.json"}, "platform": {Key: url, Platform: "abacus"},
		"PCRs": {Key: url, PCRs: "99"}, "long": {Key: url, Config: "/" + strings.Repeat("a", maxSettings)},
	} {
		if _, err := s.Identity(); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseIdentityRefuses(t *testing.T) {
	good := `{"v":1,"key":"` + url + `"}`
	for name, text := range map[string]string{
		"empty": "", "null": "null", "version": `{"v":2,"key":"` + url + `"}`, "no version": `{"key":"` + url + `"}`,
		"no key": `{"v":1}`, "unknown member": `{"v":1,"key":"` + url + `","broker":"https://evil.example"}`,
		"twice": good + good, "relative": `{"v":1,"key":"` + url + `","config":"x"}`,
	} {
		if s, err := ParseIdentity(plugin.EncodeIdentity("openskr", []byte(text))); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	for _, s := range []string{"", "AGE-PLUGIN-OPENSKR-1", plugin.EncodeIdentity("other", []byte(good)), plugin.EncodeRecipient("openskr", []byte(good))} {
		if _, err := ParseIdentity(s); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%.30q: %v", s, err)
		}
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte(`{"v":1,"key":"` + url + `","platform":"snp","config":"/etc/agent.json"}`))
	f.Add([]byte(`{"v":1,"key":"` + kid + `","pcrs":"sha384:0,1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSettings(b)
		if err != nil {
			return
		}
		text, err := s.Identity()
		if err != nil {
			t.Skip(err)
		}
		if again, err := ParseIdentity(text); err != nil || again.Key != s.Key {
			t.Fatalf("%s is read as %+v, %v", b, again, err)
		}
	})
}
