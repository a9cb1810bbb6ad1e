package attestation_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/internal/api/attestation"
	"github.com/openskr/openskr/release"
)

// pass is a verifier that takes everything, so that requests are judged alone.
type pass struct{}

func (pass) Verify(_ context.Context, ev attest.Evidence, _ attest.Expect) (*attest.Result, error) {
	typ := map[attest.Type]string{attest.TypeSNP: "sevsnpvm", attest.TypeTDX: "tdxvm", attest.TypeSGX: "sgx"}[ev.Type]
	return &attest.Result{Type: ev.Type, Claims: attest.Claims{"x-ms-attestation-type": typ}, Facts: attest.Facts{Chain: true, Signature: true}}, nil
}

// listed says of what another verifier takes that revocation was checked.
type listed struct{ attest.Verifier }

func (l listed) Verify(ctx context.Context, ev attest.Evidence, want attest.Expect) (*attest.Result, error) {
	res, err := l.Verifier.Verify(ctx, ev, want)
	if err == nil {
		res.Facts.Revocation = attest.Checked
	}
	return res, err
}

// as is a verifier whose result has these facts.
type as struct{ facts attest.Facts }

func (a as) Verify(context.Context, attest.Evidence, attest.Expect) (*attest.Result, error) {
	return &attest.Result{Type: attest.TypeTDX, Claims: attest.Claims{"x-ms-attestation-type": "tdxvm"}, Facts: a.facts}, nil
}

// Evidence for our own protocol never becomes a token, however it is labelled.
func TestPurpose(t *testing.T) {
	s := newService(t, true)
	for _, purpose := range []string{"release", "unlock", "format", "token"} {
		doc := strings.Replace(native, `"other"`, `"`+purpose+`"`, 1)
		for _, typ := range []string{"JSON", "Binary", "json", "BINARY"} {
			_, err := s.attest("SevSnpVm", with(s.chip(doc, snpsim.Chip{}), map[string]any{"runtimeData": map[string]any{"data": b64u([]byte(doc)), "dataType": typ}}))
			s.refused(purpose+" as "+typ, err, release.ReasonPurpose)
		}
	}
	escaped := strings.Replace(native, `"purpose":"other"`, `"purp\u006fse":"rele\u0061se"`, 1)
	_, err := s.attest("SevSnpVm", with(s.chip(escaped, snpsim.Chip{}), map[string]any{"runtimeData": runtimeJSON(escaped)}))
	s.refused("escaped", err, release.ReasonPurpose)
}

// Real clients differ in case, padding and alphabet.
func TestSpellings(t *testing.T) {
	s := newService(t, false, func(c *attestation.Config) { c.Verifier = pass{} })
	std := base64.StdEncoding
	for name, body := range map[string]string{
		"plain":             `{"quote":"-_-_"}`,
		"other alphabet":    `{"quote":"+/+/"}`,
		"padded":            `{"quote":"-_8="}`,
		"other case":        `{"Quote":"AA","RuntimeData":{"Data":"e30=","DataType":"json"},"NONCE":null}`,
		"all of a sidecar":  `{"quote":"AA==","runtimeData":{"data":"` + std.EncodeToString([]byte(keys)) + `","dataType":"JSON"},"initTimeData":{"data":"","dataType":""},"nonce":18446744073709551615}`,
		"empty as absent":   `{"quote":"AA","runtimeData":{"data":"","dataType":""},"nonce":"","draftPolicyForAttestation":""}`,
		"null as absent":    `{"quote":"AA","runtimeData":null,"initTimeData":null,"nonce":null,"draftPolicyForAttestation":null}`,
		"nonce zero":        `{"quote":"AA","nonce":0}`,
		"nonce not decoded": `{"quote":"AA","nonce":"\u0041"}`,
	} {
		if _, err := s.call(http.MethodPost, "/attest/TdxVm", []byte(body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnknownMembers: what a newer client sends besides is ignored, as Azure does it, and
// its token says what the older one's does. The bodies are in the shapes that the clients
// of Azure Attestation for Python, Java and .NET send.
func TestUnknownMembers(t *testing.T) {
	s := newService(t, false, func(c *attestation.Config) { c.Verifier = pass{} })
	token := func(path, body string) map[string]any {
		t.Helper()
		answer, err := s.call(http.MethodPost, "/attest/"+path, []byte(body))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		c := claims(t, answer.(attestation.Token).Token)
		delete(c, "jti")
		return c
	}
	report := func(doc string) string { return b64u([]byte(doc)) }
	for _, c := range []struct{ path, known, more string }{
		{"SgxEnclave", `{"quote":"AA","runtimeData":{"data":"e30","dataType":"Binary"}}`, `{"quote":"AA","runtimeData":{"data":"e30","dataType":"Binary","size":2},"tenant":{"id":[1,null]}}`},
		{"TdxVm", `{"quote":"AA","runtimeData":{"data":"e30","dataType":"JSON"},"nonce":"1"}`, `{"quote":"AA","runtimeData":{"data":"e30","dataType":"JSON"},"nonce":"1","gpuEvidence":null,"report":"AA"}`},
		{"TdxVm", `{"quote":"AA","runtimeData":null,"initTimeData":null,"draftPolicyForAttestation":null}`, `{"quote":"AA","runtimeData":null,"initTimeData":null,"draftPolicyForAttestation":null,"":""}`},
		{"SevSnpVm", `{"report":"` + report(`{"SnpReport":"AA","Endorsements":"e30"}`) + `"}`, `{"report":"` + report(`{"SnpReport":"AA","Endorsements":"e30","Platform":1}`) + `","evidenceFormat":"2"}`},
	} {
		if known, more := token(c.path, c.known), token(c.path, c.more); !reflect.DeepEqual(known, more) {
			t.Errorf("%s: %v\n%s: %v", c.known, known, c.more, more)
		}
	}
}

func TestBadRequests(t *testing.T) {
	s := newService(t, false, func(c *attestation.Config) { c.Verifier = pass{} })
	bad, dup := release.ReasonBadRequest, release.ReasonDuplicateMember
	runtime := release.Reason(attest.CheckRuntimeData)
	for name, c := range map[string]struct {
		body string
		want release.Reason
	}{
		"null":                     {`null`, bad},
		"array":                    {`[]`, bad},
		"nothing":                  {``, bad},
		"two documents":            {`{"quote":"AA"}{}`, bad},
		"no quote":                 {`{}`, bad},
		"empty quote":              {`{"quote":""}`, bad},
		"quote no text":            {`{"quote":1}`, bad},
		"report instead":           {`{"report":"AA"}`, bad},
		"almost a known one":       {`{"quote":"AA","nonces":"1"}`, release.ReasonUnknownMember},
		"almost one, in data":      {`{"quote":"AA","runtimeData":{"data":"e30","dataTyp":"JSON","dataType":"JSON"}}`, release.ReasonUnknownMember},
		"in another style":         {`{"quote":"AA","draft_policy_for_attestation":"version=1.0"}`, release.ReasonUnknownMember},
		"unknown twice":            {`{"quote":"AA","policy":1,"policy":1}`, dup},
		"unknown in other case":    {`{"quote":"AA","policy":1,"Policy":1}`, dup},
		"unknown, twice deep":      {`{"quote":"AA","policy":{"a":[{"b":1,"b":1}]}}`, dup},
		"unknown too deep":         {`{"quote":"AA","policy":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, bad},
		"unknown and long":         {`{"quote":"AA","policy":"` + strings.Repeat("A", 400<<10) + `"}`, bad},
		"null in other case":       {`{"quote":"AA","Quote":null}`, dup},
		"twice":                    {`{"quote":"AA","quote":"AA"}`, dup},
		"twice in other case":      {`{"quote":"AA","QUOTE":"AA"}`, dup},
		"Kelvin sign":              {"{\"quote\":\"AA\",\"run\u0074imeData\":{},\"draftPolicyForAttestation\":\"\",\"dra\u017ft\":1}", release.ReasonUnknownMember},
		"line break":               {`{"quote":"AA\n"}`, bad},
		"blank":                    {`{"quote":"A A"}`, bad},
		"spare bits":               {`{"quote":"AB"}`, bad},
		"padding only":             {`{"quote":"===="}`, bad},
		"padding of three":         {`{"quote":"A==="}`, bad},
		"too little padding":       {`{"quote":"AA="}`, bad},
		"padding in between":       {`{"quote":"AA==AA=="}`, bad},
		"long quote":               {`{"quote":"` + strings.Repeat("A", 90<<10) + `"}`, release.ReasonTooLarge},
		"draft policy":             {`{"quote":"AA","draftPolicyForAttestation":"version=1.0"}`, release.ReasonNotOffered},
		"draft policy no text":     {`{"quote":"AA","draftPolicyForAttestation":{}}`, release.ReasonNotOffered},
		"data type":                {`{"quote":"AA","runtimeData":{"data":"e30","dataType":"XML"}}`, bad},
		"no data type":             {`{"quote":"AA","runtimeData":{"data":"e30"}}`, bad},
		"data no object":           {`{"quote":"AA","runtimeData":"e30"}`, bad},
		"data twice":               {`{"quote":"AA","runtimeData":{"data":"e30","Data":"e30","dataType":"JSON"}}`, dup},
		"JSON that is none":        {`{"quote":"AA","runtimeData":{"data":"` + b64u([]byte(`{`)) + `","dataType":"JSON"}}`, runtime},
		"JSON array":               {`{"quote":"AA","runtimeData":{"data":"` + b64u([]byte(`[]`)) + `","dataType":"JSON"}}`, runtime},
		"JSON null":                {`{"quote":"AA","runtimeData":{"data":"` + b64u([]byte(`null`)) + `","dataType":"JSON"}}`, runtime},
		"JSON with a member twice": {`{"quote":"AA","runtimeData":{"data":"` + b64u([]byte(`{"keys":[],"keys":[1]}`)) + `","dataType":"JSON"}}`, runtime},
		"deep twice":               {`{"quote":"AA","runtimeData":{"data":"` + b64u([]byte(`{"a":[{"n":1,"n":2}]}`)) + `","dataType":"JSON"}}`, runtime},
		"JSON too deep":            {`{"quote":"AA","runtimeData":{"data":"` + b64u([]byte(`{"a":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`)) + `","dataType":"JSON"}}`, runtime},
		"long data":                {`{"quote":"AA","runtimeData":{"data":"` + strings.Repeat("A", 30<<10) + `","dataType":"Binary"}}`, release.ReasonTooLarge},
		"nonce negative":           {`{"quote":"AA","nonce":-1}`, bad},
		"nonce fraction":           {`{"quote":"AA","nonce":1.5}`, bad},
		"nonce exponent":           {`{"quote":"AA","nonce":1e3}`, bad},
		"nonce of 21 digits":       {`{"quote":"AA","nonce":184467440737095516150}`, bad},
		"nonce boolean":            {`{"quote":"AA","nonce":true}`, bad},
		"nonce object":             {`{"quote":"AA","nonce":{}}`, bad},
		"nonce long":               {`{"quote":"AA","nonce":"` + strings.Repeat("n", 1<<10) + `"}`, bad},
	} {
		_, err := s.call(http.MethodPost, "/attest/TdxVm", []byte(c.body))
		s.refused(name, err, c.want)
	}
}

func TestBadReports(t *testing.T) {
	s := newService(t, false, func(c *attestation.Config) { c.Verifier = pass{} })
	for name, c := range map[string]struct {
		doc  string
		want release.Reason
	}{
		"nothing":           {``, release.ReasonBadRequest},
		"no object":         {`"AA"`, release.ReasonBadRequest},
		"almost a known":    {`{"SnpReport":"AA","VcekCertsChain":"AA"}`, release.ReasonUnknownMember},
		"unknown twice":     {`{"SnpReport":"AA","Chain":"AA","chain":"AA"}`, release.ReasonDuplicateMember},
		"two reports":       {`{"SnpReport":"AA","snpreport":"BA"}`, release.ReasonDuplicateMember},
		"report no text":    {`{"SnpReport":[]}`, release.ReasonBadRequest},
		"report not base64": {`{"SnpReport":"!"}`, release.ReasonBadRequest},
		"chain too long":    {`{"SnpReport":"AA","VcekCertChain":"` + strings.Repeat("A", 60<<10) + `"}`, release.ReasonTooLarge},
	} {
		_, err := s.attest("SevSnpVm", map[string]any{"report": b64u([]byte(c.doc))})
		s.refused(name, err, c.want)
	}
}

// What verifiers take and no door releases anything to becomes no token.
func TestFloor(t *testing.T) {
	good := attest.Facts{Chain: true, Signature: true}
	for name, c := range map[string]struct {
		change func(*attest.Facts)
		want   release.Reason
	}{
		"no chain":     {func(f *attest.Facts) { f.Chain = false }, release.ReasonFloor},
		"no signature": {func(f *attest.Facts) { f.Signature = false }, release.ReasonFloor},
		"debug":        {func(f *attest.Facts) { f.Debug = true }, release.Reason(attest.CheckDebug)},
		"revoked TCB":  {func(f *attest.Facts) { f.TCBStatus = attest.TCBRevoked }, release.Reason(attest.CheckTCBRevoked)},
	} {
		f := good
		c.change(&f)
		s := newService(t, false, func(c *attestation.Config) { c.Verifier = as{f} })
		_, err := s.attest("TdxVm", map[string]any{"quote": "AA"})
		s.refused(name, err, c.want)
	}
	for status, want := range map[string]any{"UpToDate": "openskr-compliant-cvm", "SWHardeningNeeded": "openskr-compliant-cvm", "OutOfDate": nil, "unknown": nil, "": nil} {
		s := newService(t, false, func(c *attestation.Config) {
			c.Verifier = as{attest.Facts{Chain: true, Signature: true, Revocation: attest.Checked, TCBStatus: status}}
		})
		jwt, err := s.attest("TdxVm", map[string]any{"quote": "AA"})
		if err != nil {
			t.Fatal(err)
		}
		if got := claims(t, jwt)["x-ms-compliance-status"]; got != want {
			t.Errorf("TCB %q is %v", status, got)
		}
	}
}

func TestConfig(t *testing.T) {
	good := attestation.Config{Deployment: "d", Verifier: pass{}, Now: now}
	if _, err := attestation.New(good); err == nil {
		t.Error("a service without keys")
	}
}
