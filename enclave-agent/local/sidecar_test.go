package local

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/agenttest"
)

var runtimeData = base64.StdEncoding.EncodeToString([]byte(`{"keys":[]}`))

// The answers are the sidecar's, byte for byte where it is one that a client may compare.
func TestAnswers(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	for name, c := range map[string]struct{ path, body, answer, asked string }{
		"key": {
			"/key/release", keyBody,
			`{"key":"{\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\",\"kty\":\"oct\"}"}`, "key " + agenttest.KeyURL,
		},
		"key, version and case": {
			"/key/release", `{"maa_endpoint":"Broker.example:8443","akv_endpoint":"VAULT.example","kid":"disk/` + agenttest.Version + `"}`,
			`{"key":"{\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\",\"kty\":\"oct\"}"}`, "key " + agenttest.KeyURL + "/" + agenttest.Version,
		},
		"raw": {"/attest/raw", `{"runtime_data":"` + runtimeData + `"}`, `{"report":"` + strings.Repeat("00", 0x180) + "0300000000000873" + strings.Repeat("00", 1184-0x188) + `"}`, `report {"keys":[]}`},
		"maa": {"/attest/maa", `{"maa_endpoint":"second.example","runtime_data":"` + runtimeData + `"}`, `{"token":"a.b.c"}`, `maa https://second.example {"keys":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{kty: "oct", key: key}
			s := serve(t, f, onSocket(me(mayKey+mayEvidence)))
			status, answer := s.post(t, c.path, c.body)
			if status != http.StatusOK || answer != c.answer {
				t.Errorf("%d %s", status, answer)
			}
			if got := f.calls(); !slices.Equal(got, []string{c.asked}) {
				t.Errorf("the agent was asked %q", got)
			}
			if log := s.log.String(); strings.Contains(log, "unused") || strings.Contains(log, "MDEy") || !strings.Contains(log, "caller=me") {
				t.Errorf("log: %s", log)
			}
			if !f.closed() {
				t.Error("the material is not closed")
			}
		})
	}
	t.Run("combined", func(t *testing.T) {
		s := serve(t, &fake{}, onSocket(me(mayEvidence)))
		status, answer := s.post(t, "/attest/combined", `{"runtime_data":"`+runtimeData+`"}`)
		for _, part := range []string{`"endorsed_tcb":"0300000000000873"`, `"endorsements":"UEVN"`, `"evidence":"AAAA`, `"uvm_endorsements":""`} {
			if status != http.StatusOK || !strings.Contains(answer, part) {
				t.Errorf("%d, without %s", status, part)
			}
		}
	})
	t.Run("status", func(t *testing.T) {
		s := serve(t, &fake{}, onSocket(me("")))
		r, err := over(s.sock()).Get("http://any/status")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%s %v", r.Status, r.Header)
		}
	})
}

// AG-04: whatever a caller names, only what the configuration names is asked for.
func TestRefusals(t *testing.T) {
	f := &fake{kty: "oct"}
	s := serve(t, f, onSocket(me(mayKey+`,"evidence":true`)+`,{"name":"token","user":"4000000000","keys":["https://vault.example/keys/other"]}`))
	release := func(old, new string) string { return strings.Replace(keyBody, old, new, 1) }
	purpose := base64.StdEncoding.EncodeToString([]byte(`{"purpose":"release"}`))
	for name, c := range map[string]struct {
		path, body string
		want       int
	}{
		"metadata service as vault":       {"/key/release", release("vault.example", "169.254.169.254"), http.StatusForbidden},
		"metadata service as attestation": {"/key/release", release("broker.example:8443", "169.254.169.254"), http.StatusForbidden},
		"broker at another port":          {"/key/release", release("broker.example:8443", "broker.example"), http.StatusForbidden},
		"broker with a scheme":            {"/key/release", release("broker.example:8443", "https://broker.example:8443"), http.StatusForbidden},
		"broker with a path":              {"/key/release", release("broker.example:8443", "broker.example:8443/x"), http.StatusForbidden},
		"user before the broker":          {"/key/release", release("broker.example:8443", "evil@broker.example:8443"), http.StatusForbidden},
		"vault with a path":               {"/key/release", release("vault.example", "vault.example/keys/disk?"), http.StatusBadRequest},
		"user before the vault":           {"/key/release", release("vault.example", "vault.example@evil.example"), http.StatusBadRequest},
		"vault with a fragment":           {"/key/release", release("vault.example", "evil.example#vault.example"), http.StatusBadRequest},
		"another vault":                   {"/key/release", release("vault.example", "other.example"), http.StatusForbidden},
		"another caller's key":            {"/key/release", release(`"disk"`, `"other"`), http.StatusForbidden},
		"key with a path":                 {"/key/release", release(`"disk"`, `"disk/../other"`), http.StatusBadRequest},
		"key with a query":                {"/key/release", release(`"disk"`, `"disk?x=1"`), http.StatusBadRequest},
		"no vault":                        {"/key/release", release(`"akv_endpoint":"vault.example",`, ``), http.StatusBadRequest},
		"unknown member":                  {"/key/release", release(`"kid"`, `"url":"http://evil","kid"`), http.StatusBadRequest},
		"member twice":                    {"/key/release", release(`"kid"`, `"kid":"disk","kid"`), http.StatusBadRequest},
		"null":                            {"/key/release", `null`, http.StatusBadRequest},
		"list":                            {"/key/release", `[]`, http.StatusBadRequest},
		"no body":                         {"/key/release", ``, http.StatusBadRequest},
		"too long":                        {"/key/release", release("unused", strings.Repeat("u", maxRequest)), http.StatusBadRequest},
		"maa of another":                  {"/attest/maa", `{"maa_endpoint":"169.254.169.254","runtime_data":"` + runtimeData + `"}`, http.StatusForbidden},
		"maa of nobody":                   {"/attest/maa", `{"runtime_data":"` + runtimeData + `"}`, http.StatusBadRequest},
		"no runtime data":                 {"/attest/raw", `{"runtime_data":""}`, http.StatusBadRequest},
		"base64url":                       {"/attest/raw", `{"runtime_data":"-_-_"}`, http.StatusBadRequest},
		"base64 in lines":                 {"/attest/combined", `{"runtime_data":"AAAA\r\n"}`, http.StatusBadRequest},
		"long runtime data":               {"/attest/raw", `{"runtime_data":"` + strings.Repeat("AAAA", agent.MaxRuntimeData/3+1) + `"}`, http.StatusBadRequest},
		"another path":                    {"/keys/disk/release", keyBody, http.StatusNotFound},
		"path with a slash":               {"/key/release/", keyBody, http.StatusNotFound},
		"POST of the status":              {"/status", ``, http.StatusMethodNotAllowed},
	} {
		status, answer := s.post(t, c.path, c.body)
		if status != c.want || !strings.HasPrefix(answer, `{"error":"`) {
			t.Errorf("%s: %d %s, want %d", name, status, answer, c.want)
		}
	}
	if got := f.calls(); got != nil {
		t.Errorf("the agent was asked: %q", got)
	}
	f.err = agent.ErrPurpose
	if status, answer := s.post(t, "/attest/raw", `{"runtime_data":"`+purpose+`"}`); status != http.StatusForbidden || !strings.Contains(answer, "member purpose") {
		t.Errorf("purpose: %d %s", status, answer)
	}
}

// Rights are those of an entry: neither key nor evidence comes with the other.
func TestRights(t *testing.T) {
	for rights, want := range map[string][3]int{
		"":                    {403, 403, 403},
		mayKey:                {200, 403, 403},
		mayEvidence:           {403, 200, 200},
		`,"keyprovider":true`: {403, 403, 403},
	} {
		config := onSocket(me(rights))
		if strings.Contains(rights, "keyprovider") {
			config = strings.Replace(config, `"callers"`, `"keyprovider":{"address":"unix:%DIR%/k/p","keys":["`+agenttest.KeyURL+`"]},"callers"`, 1)
		}
		f := &fake{kty: "oct", key: []byte("k")}
		s := serve(t, f, config)
		for i, ask := range [][2]string{
			{"/key/release", keyBody}, {"/attest/raw", `{"runtime_data":"` + runtimeData + `"}`}, {"/attest/maa", `{"maa_endpoint":"second.example","runtime_data":"` + runtimeData + `"}`},
		} {
			if status, answer := s.post(t, ask[0], ask[1]); status != want[i] {
				t.Errorf("%q, %s: %d %s, want %d", rights, ask[0], status, answer, want[i])
			}
		}
		if s.provider != nil {
			if err := s.provider.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// What the agent fails with is 403 and its text, as the sidecar's failures are.
func TestFailures(t *testing.T) {
	for _, err := range []error{
		&agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied", Correlation: "c-1"},
		&agent.Invalid{Check: "nonce", Err: errors.New("another")},
		fmt.Errorf("%w: all of them", agent.ErrUnreachable),
	} {
		s := serve(t, &fake{err: err}, onSocket(me(mayKey)))
		status, answer := s.post(t, "/key/release", keyBody)
		if status != http.StatusForbidden || answer != fmt.Sprintf(`{"error":%q}`, err) {
			t.Errorf("%d %s", status, answer)
		}
		if log := s.log.String(); !strings.Contains(log, "refused") || !strings.Contains(log, fmt.Sprintf("pid %d", os.Getpid())) {
			t.Errorf("log: %s", log)
		}
	}
	f := &fake{kty: "EC", key: []byte("canary-canary")}
	s := serve(t, f, onSocket(me(mayKey)))
	if status, answer := s.post(t, "/key/release", keyBody); status != http.StatusForbidden || strings.Contains(answer+s.log.String(), "canary") || !f.closed() {
		t.Errorf("%d %s, material closed: %v", status, answer, f.closed())
	}
}

// AG-14: one caller's requests are bounded, and what is beyond is told to come back.
func TestBusy(t *testing.T) {
	f := &fake{hold: make(chan struct{}), kty: "oct", key: []byte("k")}
	s := serve(t, f, onSocket(me(mayKey)))
	const n = 200
	type got struct {
		status int
		answer string
	}
	answers := make(chan got, n)
	for range n {
		go func() {
			status, answer := s.post(t, "/key/release", keyBody)
			answers <- got{status, answer}
		}()
	}
	for range n - maxWaiting { // the others are held
		if a := <-answers; a.status != http.StatusTooManyRequests {
			t.Errorf("%d %s", a.status, a.answer)
		}
	}
	close(f.hold)
	for range maxWaiting {
		if a := <-answers; a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.answer)
		}
	}
	if got := len(f.calls()); got != maxWaiting {
		t.Errorf("%d requests reached the agent, want %d", got, maxWaiting)
	}
}
