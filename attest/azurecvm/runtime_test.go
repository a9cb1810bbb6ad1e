package azurecvm

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest/azurecvm/format"
)

const configuration = `"vm-configuration":{"secure-boot":true}`

func key(kid, more string) string {
	n := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 256)))
	return `{"kid":"` + kid + `","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"` + n + `"` + more + `}`
}

// TestParseRuntime is EV-25, and KB-12 of the JSON.
func TestParseRuntime(t *testing.T) {
	ak := key(akID, "")
	for name, c := range map[string]struct {
		json string
		ok   bool
	}{
		"one key":                     {`{"keys":[` + ak + `],` + configuration + `}`, true},
		"two keys":                    {`{"keys":[` + ak + `,` + key("HCLEkPub", "") + `],` + configuration + `}`, true},
		"unknown members":             {`{"keys":[` + key(akID, `,"x":[1]`) + `],"vm-configuration":{"new":{"a":1.5}},"more":null}`, true},
		"no keys":                     {`{"keys":[],` + configuration + `}`, true},
		"two keys of one name":        {`{"keys":[` + ak + `,` + ak + `],` + configuration + `}`, false},
		"keys twice":                  {`{"keys":[` + ak + `],"keys":[],` + configuration + `}`, false},
		"keys twice by an escape":     {`{"keys":[` + ak + `],"k\u0065ys":[],` + configuration + `}`, false},
		"kid twice":                   {`{"keys":[` + key(akID, `,"kid":"x"`) + `],` + configuration + `}`, false},
		"unknown member twice":        {`{"keys":[` + ak + `],"vm-configuration":{"new":{"a":1,"a":2}}}`, false},
		"too many keys":               {`{"keys":[` + strings.Repeat("{},", 8) + `{}],` + configuration + `}`, false},
		"keys no list":                {`{"keys":{},` + configuration + `}`, false},
		"key no object":               {`{"keys":[1],` + configuration + `}`, false},
		"key_ops no list":             {`{"keys":[` + strings.Replace(ak, `["sign"]`, `"sign"`, 1) + `],` + configuration + `}`, false},
		"key_ops holds a number":      {`{"keys":[` + strings.Replace(ak, `["sign"]`, `["sign",1]`, 1) + `],` + configuration + `}`, false},
		"no configuration":            {`{"keys":[` + ak + `]}`, false},
		"vmUniqueId no GUID":          {`{"keys":[],"vm-configuration":{"vmUniqueId":"26F8BC30-774E-4290-8E7A-535F3B672AEG"}}`, false},
		"vmUniqueId too long":         {`{"keys":[],"vm-configuration":{"vmUniqueId":"26F8BC30-774E-4290-8E7A-535F3B672AEEE"}}`, false},
		"vmUniqueId no text":          {`{"keys":[],"vm-configuration":{"vmUniqueId":1}}`, false},
		"user-data no hex":            {`{"keys":[],` + configuration + `,"user-data":"xy"}`, false},
		"user-data empty":             {`{"keys":[],` + configuration + `,"user-data":""}`, true},
		"a key that is not RSA":       {`{"keys":[` + ak + `,{"kid":"x","kty":"EC","key_ops":[],"crv":"P-256"}],` + configuration + `}`, true},
		"modulus no text":             {`{"keys":[{"kid":"x","kty":"RSA","key_ops":[],"n":1}],` + configuration + `}`, false},
		"no kty":                      {`{"keys":[{"kid":"x","key_ops":[]}],` + configuration + `}`, false},
		"user-data no text":           {`{"keys":[],` + configuration + `,"user-data":{}}`, false},
		"trailing":                    {`{"keys":[],` + configuration + `}{}`, false},
		"no JSON":                     {``, false},
		"a list":                      {`[]`, false},
		"member names are not folded": {`{"Keys":[],` + configuration + `}`, false},
	} {
		if _, err := parseRuntime([]byte(c.json)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The AK of the JSON is used only when every promise about it is kept.
func TestAttestationKey(t *testing.T) {
	for name, c := range map[string]struct {
		from, to string
		ok       bool
	}{
		"sound":               {"", "", true},
		"padded base64":       {`AQAB`, `AQAB=`, false},
		"leading zero":        {`AQAB`, `AAEAAQ`, false},
		"exponent of 5 bytes": {`AQAB`, `AQAAAAE`, false},
		"no exponent":         {`AQAB`, ``, false},
		"modulus of zeros":    {`"n":"`, `"n":"AAAA`, false},
		"no operations":       {`["sign"]`, `[]`, false},
		"sign twice":          {`["sign"]`, `["sign","sign"]`, false},
		"other name":          {akID, `hclakpub`, false},
		"elliptic":            {`"RSA"`, `"EC"`, false},
	} {
		json := strings.Replace(`{"keys":[`+key(akID, "")+`],`+configuration+`}`, c.from, c.to, 1)
		r, err := parseRuntime([]byte(json))
		if err != nil {
			t.Fatal(name, err)
		}
		if _, rej := r.attestationKey(nil); (rej == nil) != c.ok {
			t.Errorf("%s: %v", name, rej)
		}
	}
}

func FuzzRuntime(f *testing.F) {
	f.Add([]byte(`{"keys":[` + key(akID, "") + `],"vm-configuration":{"vmUniqueId":"26F8BC30-774E-4290-8E7A-535F3B672AEE","current-time":1678652405},"user-data":"00"}`))
	f.Add([]byte(`{"keys":[` + key(akID, "") + `,` + key(akID, "") + `],` + configuration + `}`))
	if dir := os.Getenv("OPENSKR_VECTORS"); dir != "" {
		files, _ := filepath.Glob(filepath.Join(dir, "azure-*", "hcl-report*.bin"))
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			h, err := format.ParseHCL(b)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(h.Runtime)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRuntime(b)
		if err != nil {
			return
		}
		if ak, rej := r.attestationKey(nil); rej == nil && strings.Count(string(b), `"sign"`) == 0 && !strings.Contains(string(b), `\`) {
			t.Errorf("AK %v from %s", ak, b)
		}
		r.claims()
	})
}
