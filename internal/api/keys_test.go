package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// bundle is what a test reads of a key.
type bundle struct {
	Key struct {
		Kid, Kty, Crv, N, E, X, Y, D, K string
		KeyOps                          []string `json:"key_ops"`
	}
	Attributes struct {
		Enabled, Exportable, AttestedOnly bool
		Nbf, Exp, Created, Updated        int64
		RecoveryLevel                     string
	}
	Tags   map[string]string
	Policy *struct {
		ContentType, Data string
		Immutable         bool
	} `json:"release_policy"`
	AttestedOnly bool `json:"attested_only"`
}

const officer = identity.RoleCryptoOfficer

func (h *harness) create(name, body string) bundle {
	h.t.Helper()
	var b bundle
	h.ok("create "+name, h.send(http.MethodPost, "/keys/"+name+"/create?api-version=7.4", officer, body), &b)
	return b
}

func regoPolicy(extra string) string {
	return `{"contentType":"` + release.ContentTypeRego + `","data":"` + b64("package release\n\nallow := true") + `"` + extra + `}`
}

func TestCreate(t *testing.T) {
	h := newHarness(t)
	b := h.create("disk", `{"kty":"oct","key_size":256,"attested_only":true,"tags":{"Team":"a"},"attributes":{"nbf":1,"exp":2000000000},"release_policy":`+regoPolicy(`,"immutable":true`)+`}`)
	if b.Key.Kty != "oct" || b.Key.K != "" || len(b.Key.KeyOps) != 0 || !b.AttestedOnly || !b.Attributes.AttestedOnly || !b.Attributes.Exportable || !b.Attributes.Enabled ||
		b.Attributes.Nbf != 1 || b.Attributes.Exp != 2_000_000_000 || b.Attributes.Created != h.now.Unix() || b.Tags["Team"] != "a" || b.Policy == nil ||
		b.Policy.ContentType != release.ContentTypeRego || b.Policy.Data != b64("package release\n\nallow := true") || !b.Policy.Immutable {
		t.Errorf("%+v", b)
	}
	rec := h.lastRecord()
	if rec.Operation != "keys/create" || rec.Door != "keyvault" || rec.Caller == nil || rec.Correlation == "" || rec.Request == [32]byte{} {
		t.Errorf("%+v", rec)
	}
	if b := h.create("ec", `{"kty":"EC-HSM","crv":"P-384"}`); b.Key.Kty != "EC" || b.Key.Crv != "P-384" || b.Key.X == "" || b.Key.Y == "" || b.Attributes.Exportable || b.Policy != nil {
		t.Errorf("%+v", b)
	}
	if b := h.create("rsa", `{"kty":"RSA","public_exponent":65537}`); b.Key.N == "" || b.Key.E != "AQAB" || len(b.Key.KeyOps) != 6 {
		t.Errorf("%+v", b)
	}
	w := h.send(http.MethodPost, "/keys/x/create?api-version=7.4", officer, `{"kty":"oct","attributes":{"exportable":true},"release_policy":{"contentType":"`+release.ContentTypeRego+`","data":"`+b64("syntax error")+`"}}`)
	h.want("policy", w, http.StatusBadRequest, release.ReasonPolicyInvalid)
	if !strings.Contains(w.Body.String(), "line 3, column 7") {
		t.Errorf("whoever uploads a policy must be told where it is wrong: %s", w.Body)
	}
	h.want("exportable", h.send(http.MethodPost, "/keys/x/create?api-version=7.4", officer, `{"kty":"oct","attributes":{"exportable":true}}`), http.StatusBadRequest, release.ReasonPolicyInvalid)
}

func TestImport(t *testing.T) {
	h := newHarness(t)
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	h.must(err)
	d, err := k.Bytes()
	h.must(err)
	p, err := k.PublicKey.Bytes()
	h.must(err)
	e := base64.RawURLEncoding.EncodeToString
	jwk := fmt.Sprintf(`{"kty":"EC-HSM","crv":"P-256","x":%q,"y":%q,"d":%q,"key_ops":["sign"]}`, e(p[1:33]), e(p[33:]), e(d))
	var b bundle
	w := h.send(http.MethodPut, "/keys/ec?api-version=7.4", officer, `{"key":`+jwk+`,"Hsm":true,"attributes":{"exportable":true},"release_policy":`+regoPolicy("")+`}`)
	h.ok("import", w, &b)
	if b.Key.X != e(p[1:33]) || b.Key.D != "" || len(b.Key.KeyOps) != 1 || !b.Attributes.Exportable {
		t.Errorf("%+v", b)
	}
	if strings.Contains(w.Body.String(), e(d)) || strings.Contains(h.logged.String(), e(d)) {
		t.Error("the private part came out")
	}
	for name, body := range map[string]string{
		"no key": `{}`, "null": `{"key":null}`, "wrong point": `{"key":` + strings.Replace(jwk, e(p[33:]), e(p[1:33]), 1) + `}`,
		"padding": `{"key":` + strings.Replace(jwk, e(d), e(d)+"=", 1) + `}`,
		"string":  `{"key":"AA"}`, "D and d": `{"key":` + strings.Replace(jwk, `"d":`, `"D":"AA","d":`, 1) + `}`,
	} {
		if w := h.send(http.MethodPut, "/keys/bad?api-version=7.4", officer, body); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		} else if strings.Contains(w.Body.String(), e(d)) {
			t.Errorf("%s: the error quotes the private part", name)
		}
	}
}

// TestPatch is AP-22: what is not given, or null, stays as it is.
func TestPatch(t *testing.T) {
	h := newHarness(t)
	h.create("k", `{"kty":"oct","attributes":{"exportable":true,"exp":2000000000},"tags":{"a":"b"},"release_policy":`+regoPolicy("")+`}`)
	patch := func(body string) *httptest.ResponseRecorder {
		return h.send(http.MethodPatch, "/keys/k?api-version=7.4", officer, body)
	}
	for _, body := range []string{
		`{}`, `{"attributes":null,"release_policy":null,"tags":null,"key_ops":null,"attested_only":null}`,
		`{"attributes":{"enabled":null,"exportable":null,"nbf":null,"exp":null}}`, `{"attributes":{}}`, `{"attributes":{"exportable":true}}`,
	} {
		var b bundle
		h.ok(body, patch(body), &b)
		if !b.Attributes.Enabled || !b.Attributes.Exportable || b.Attributes.Exp != 2_000_000_000 || b.Tags["a"] != "b" || b.Policy == nil || len(b.Key.KeyOps) != 4 {
			t.Errorf("%s changed something: %+v", body, b)
		}
	}
	var b bundle
	h.ok("disable", patch(`{"attributes":{"enabled":false},"tags":{}}`), &b)
	if b.Attributes.Enabled || len(b.Tags) != 0 {
		t.Errorf("%+v", b)
	}
	h.want("exportable", patch(`{"attributes":{"exportable":false}}`), http.StatusBadRequest, release.ReasonBadRequest)
	h.want("empty policy", patch(`{"release_policy":{}}`), http.StatusBadRequest, release.ReasonPolicyInvalid)
	h.want("attested only twice", patch(`{"attested_only":true,"key_ops":["sign"]}`), http.StatusForbidden, release.ReasonAttestedOnly)
	h.ok("immutable", patch(`{"release_policy":`+regoPolicy(`,"immutable":true`)+`}`), nil)
	h.want("immutable", patch(`{"release_policy":`+regoPolicy(`,"immutable":false`)+`}`), http.StatusConflict, release.ReasonPolicyImmutable)
	h.ok("version", h.send(http.MethodPatch, "/keys/k/"+h.store.Leaves[0].Version+"?api-version=7.4", officer, `{"attributes":{"enabled":true}}`), nil)
}

// TestReadOnly is RB-06.
func TestReadOnly(t *testing.T) {
	h := newHarness(t)
	h.create("k", `{"kty":"EC"}`)
	for _, m := range []string{
		`"attributes":{"created":1}`, `"attributes":{"updated":1}`, `"attributes":{"recoveryLevel":"Purgeable"}`, `"attributes":{"RecoverableDays":7}`,
		`"attributes":{"hsmPlatform":"2"}`, `"attributes":{"attestation":{}}`, `"attributes":{"attestedOnly":true}`, `"managed":true`, `"hsm":true`,
	} {
		h.want("PATCH "+m, h.send(http.MethodPatch, "/keys/k?api-version=7.4", officer, "{"+m+"}"), http.StatusBadRequest, release.ReasonReadOnly)
		h.want("create "+m, h.send(http.MethodPost, "/keys/k/create?api-version=7.4", officer, `{"kty":"EC",`+m+"}"), http.StatusBadRequest, release.ReasonReadOnly)
	}
}

// TestMembers are AP-03 to AP-07, AP-10, AP-19 and AP-23 on the compatible door.
func TestMembers(t *testing.T) {
	h := newHarness(t)
	policy := regoPolicy("")
	for name, c := range map[string]struct {
		body string
		want release.Reason
	}{
		"AP-03 duplicate":         {`{"kty":"EC","kty":"EC"}`, release.ReasonDuplicateMember},
		"AP-03 escaped":           {`{"kty":"EC","\u006bty":"EC"}`, release.ReasonDuplicateMember},
		"AP-03 nested":            {`{"kty":"EC","attributes":{"enabled":true,"enabled":false}}`, release.ReasonDuplicateMember},
		"AP-03 in an ignored one": {`{"kty":"EC","other":{"deep":[{"a":1,"a":2}]}}`, release.ReasonDuplicateMember},
		"AP-03 in tags":           {`{"kty":"EC","tags":{"a":"1","A":"2"}}`, release.ReasonDuplicateMember},
		"AP-04 collision":         {`{"kty":"EC","Kty":"EC"}`, release.ReasonDuplicateMember},
		"AP-04 collision, policy": {`{"kty":"oct","release_policy":` + policy + `,"Release_Policy":` + policy + `}`, release.ReasonDuplicateMember},
		"AP-04 collision inside":  {`{"kty":"EC","attributes":{"exportable":false,"Exportable":true}}`, release.ReasonDuplicateMember},
		"AP-04 ignored collision": {`{"kty":"EC","zzz":1,"ZZZ":2}`, release.ReasonDuplicateMember},
		"AP-05 long s":            {"{\"kty\":\"EC\",\"relea\u017fe_policy\":1}", release.ReasonUnknownMember},
		"AP-05 escaped long s":    {`{"kty":"EC","relea\u017fe_policy":1}`, release.ReasonUnknownMember},
		"AP-05 Kelvin":            {`{"\u212aty":"EC"}`, release.ReasonUnknownMember},
		"AP-05 Cyrillic":          {`{"kty":"EC","attributes":{"еxp":1}}`, release.ReasonUnknownMember},
		"AP-06 trailing":          {`{"kty":"EC"}x`, release.ReasonBadRequest},
		"AP-06 second":            {`{"kty":"EC"}{}`, release.ReasonBadRequest},
		"AP-06 BOM":               {"\ufeff" + `{"kty":"EC"}`, release.ReasonBadRequest},
		"AP-07 depth":             {`{"kty":"EC","x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, release.ReasonBadRequest},
		"AP-07 depth, objects":    {`{"kty":"EC","x":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40) + `}`, release.ReasonBadRequest},
		"AP-10 string":            {`{"kty":"RSA","key_size":"2048"}`, release.ReasonBadRequest},
		"AP-10 1.0":               {`{"kty":"RSA","key_size":2048.0}`, release.ReasonBadRequest},
		"AP-10 1e400":             {`{"kty":"RSA","key_size":1e400}`, release.ReasonBadRequest},
		"AP-10 2^63":              {`{"kty":"EC","attributes":{"exp":9223372036854775808}}`, release.ReasonBadRequest},
		"AP-10 bool":              {`{"kty":"EC","attributes":{"enabled":"true"}}`, release.ReasonBadRequest},
		"AP-19 negative":          {`{"kty":"EC","attributes":{"nbf":-1}}`, release.ReasonBadRequest},
		"AP-19 fraction":          {`{"kty":"EC","attributes":{"nbf":1.5}}`, release.ReasonBadRequest},
		"AP-19 order":             {`{"kty":"EC","attributes":{"nbf":20,"exp":10}}`, release.ReasonBadRequest},
		"AP-23 release-policy":    {`{"kty":"EC","release-policy":{}}`, release.ReasonUnknownMember},
		"AP-23 releasePolicy":     {`{"kty":"EC","releasePolicy":{}}`, release.ReasonUnknownMember},
		"AP-23 relase_policy":     {`{"kty":"EC","relase_policy":{}}`, release.ReasonUnknownMember},
		"AP-23 attribute":         {`{"kty":"EC","attribute":{}}`, release.ReasonUnknownMember},
		"AP-23 swapped":           {`{"kty":"EC","attributes":{"exprotable":false}}`, release.ReasonUnknownMember},
		"AP-23 enable":            {`{"kty":"EC","attributes":{"enable":false}}`, release.ReasonUnknownMember},
		"AP-23 imutable":          {`{"kty":"EC","release_policy":{"data":"AA","imutable":true}}`, release.ReasonUnknownMember},
		"AP-23 content_type":      {`{"kty":"EC","release_policy":{"data":"AA","content_type":"x"}}`, release.ReasonUnknownMember},
		"AP-23 attestedOnly":      {`{"kty":"EC","attestedOnly":true}`, release.ReasonUnknownMember},
		"object for a scalar":     {`{"kty":{"a":1}}`, release.ReasonBadRequest},
		"scalar for an object":    {`{"kty":"EC","attributes":1}`, release.ReasonBadRequest},
		"array":                   {`[]`, release.ReasonBadRequest},
		"null":                    {`null`, release.ReasonBadRequest},
		"invalid UTF-8":           {"{\"kty\":\"\xff\"}", release.ReasonBadRequest},
	} {
		n := len(h.store.Leaves)
		s, reason := h.refusal(h.send(http.MethodPost, "/keys/k/create?api-version=7.4", officer, c.body))
		if s != http.StatusBadRequest || reason != string(c.want) {
			t.Errorf("%s: %d %s, want %s", name, s, reason, c.want)
		}
		if len(h.store.Leaves) != n+1 || h.lastRecord().Decision != "deny" {
			t.Errorf("%s: no record of the refusal", name)
		}
	}
	// what clients do send
	for name, body := range map[string]string{
		"other case":    `{"KTY":"EC","Attributes":{"Enabled":true},"TAGS":{"Case":"kept"}}`,
		"unknown":       `{"kty":"EC","someNewMember":{"a":[1,{"b":null}]}}`,
		"unknown inner": `{"kty":"EC","attributes":{"somethingNew":1}}`,
	} {
		b := h.create("k", body)
		if name == "other case" && b.Tags["Case"] != "kept" {
			t.Errorf("tags are data, their case is kept: %+v", b.Tags)
		}
	}
}

// TestPolicyData is AP-11: every spelling of the same bytes is the same policy.
func TestPolicyData(t *testing.T) {
	h := newHarness(t)
	doc := "package release\n\n# \u00fb\u00ff\u00fe??>>\n"
	for i, data := range []string{
		base64.RawURLEncoding.EncodeToString([]byte(doc)), base64.URLEncoding.EncodeToString([]byte(doc)),
		base64.RawStdEncoding.EncodeToString([]byte(doc)), base64.StdEncoding.EncodeToString([]byte(doc)),
	} {
		b := h.create(fmt.Sprintf("k%d", i), `{"kty":"oct","attributes":{"exportable":true},"release_policy":{"contentType":"`+release.ContentTypeRego+`","data":"`+data+`"}}`)
		if b.Policy.Data != b64(doc) || h.lastRecord().Policy != digestOf(doc) {
			t.Errorf("%s: %s", data, b.Policy.Data)
		}
	}
	for _, data := range []string{"", "A", "AAA", "AB", "AA=", "AAAA=", "A===", "AA\\n", "AA ", "-+AA", "_/AA", "AA==AA==", "é"} {
		if data == "AAA" {
			continue // three characters are two bytes
		}
		w := h.send(http.MethodPost, "/keys/bad/create?api-version=7.4", officer, `{"kty":"oct","attributes":{"exportable":true},"release_policy":{"data":"`+data+`"}}`)
		h.want(data, w, http.StatusBadRequest, release.ReasonPolicyInvalid)
	}
	for typ, want := range map[string]string{
		"application/json; charset=utf-8": release.ContentTypeJSON, "application/json": release.ContentTypeJSON, "Application/JSON;charset=UTF-8": release.ContentTypeJSON,
	} {
		b := h.create("json", `{"kty":"oct","attributes":{"exportable":true},"release_policy":{"contentType":"`+typ+`","data":"e30"}}`)
		if b.Policy.ContentType != want {
			t.Errorf("%s: %s", typ, b.Policy.ContentType)
		}
	}
}

type page struct {
	Value []struct {
		Kid        string
		Attributes struct{ Enabled bool }
	}
	NextLink *string
}

// TestPaging is AP-16: pages hang together, and a token is good for its list and caller only.
func TestPaging(t *testing.T) {
	h := newHarness(t)
	for i := range 7 {
		h.create(fmt.Sprintf("k%d", i), `{"kty":"EC"}`)
	}
	for range 3 {
		h.create("k0", `{"kty":"EC"}`)
	}
	walk := func(path string) (kids []string, tokens []string) {
		for path != "" {
			var p page
			h.ok(path, h.get(path, officer), &p)
			for _, v := range p.Value {
				kids = append(kids, v.Kid)
			}
			path = ""
			if p.NextLink != nil {
				rest, ok := strings.CutPrefix(*p.NextLink, "https://"+testHost)
				if !ok || !strings.Contains(rest, "api-version=7.4") {
					t.Fatalf("next link %s", *p.NextLink)
				}
				path, tokens = rest, append(tokens, rest)
			}
		}
		return kids, tokens
	}
	kids, links := walk("/keys?api-version=7.4&maxresults=3")
	if len(kids) != 7 || len(links) != 2 || kids[6] != "https://"+testHost+"/keys/k6" {
		t.Errorf("%v %v", kids, links)
	}
	versions, vlinks := walk("/keys/k0/versions?api-version=7.4&maxresults=2")
	if len(versions) != 4 || len(vlinks) != 1 || len(versions[0]) != len("https://"+testHost+"/keys/k0/")+32 {
		t.Errorf("%v %v", versions, vlinks)
	}
	if kids, _ := walk("/keys/none/versions?api-version=7.4"); len(kids) != 0 {
		t.Errorf("%v", kids)
	}
	var empty struct {
		Value    json.RawMessage
		NextLink json.RawMessage
	}
	h.ok("empty", h.get("/keys/none/versions?api-version=7.4", officer), &empty)
	if string(empty.Value) != "[]" || string(empty.NextLink) != "null" {
		t.Errorf("%s %s", empty.Value, empty.NextLink)
	}
	h.want("other caller", h.get(links[0], identity.RoleReader), http.StatusBadRequest, release.ReasonBadRequest)
	h.want("other list", h.get(strings.Replace(links[0], "/keys?", "/keys/k0/versions?", 1), officer), http.StatusBadRequest, release.ReasonBadRequest)
	h.want("other key", h.get(strings.Replace(vlinks[0], "/k0/", "/k1/", 1), officer), http.StatusBadRequest, release.ReasonBadRequest)
	i := strings.Index(links[0], "skiptoken=") + len("skiptoken=")
	other := "A"
	if links[0][i] == 'A' {
		other = "B"
	}
	for _, tok := range []string{"", "AA", "k3", links[0][i : i+20], other + links[0][i+1:], strings.Repeat("A", 600), b64(strings.Repeat("\x00", 32) + "k3")} {
		h.want(tok, h.get(links[0][:i]+tok, officer), http.StatusBadRequest, release.ReasonBadRequest)
	}
	for _, n := range []string{"-1", "0", "26", "1000000000", "x", "1.0"} {
		h.want(n, h.get("/keys?api-version=7.4&maxresults="+n, officer), http.StatusBadRequest, release.ReasonBadRequest)
	}
}
