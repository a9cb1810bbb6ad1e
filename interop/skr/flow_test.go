package skr

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
)

// runtimeKeys reads the one key of runtime data.
func runtimeKey(t *testing.T, runtime []byte) (pub *rsa.PublicKey, key map[string]any) {
	t.Helper()
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(runtime, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("runtime data %s: %v", runtime, err)
	}
	key = set.Keys[0]
	n := must(decodeSegment(key["n"].(string)))(t)
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}, key
}

// What the sidecar asks, from attestation to key, against a service of canned answers.
func TestSidecarFlow(t *testing.T) {
	r := newRig(t)
	var runtime []byte
	right := r.answer(t)
	s := newService(t, r.ca, []string{"openskr.local", "maa.local"}, map[string]func([]byte) (int, any){
		"/attest/SevSnpVM?api-version=2020-10-01": func([]byte) (int, any) { return 200, map[string]string{"token": "e30.e30.c2ln"} },
		"/keys/k/release?api-version=7.4": func([]byte) (int, any) {
			right.target, _ = runtimeKey(t, runtime)
			return 200, map[string]string{"value": right.jws(t)}
		},
	})
	client := &Sidecar{
		MAA: "maa.local:8444", AKV: vault, HTTP: s.client, Roots: r.ca.pool, UVM: []byte("COSE"),
		Bearer: func(_ context.Context, resource string) (string, error) { return "token-for-" + resource, nil },
		Evidence: func(data []byte) (report, chain []byte, err error) {
			runtime = data
			return []byte("report\xff"), []byte("PEM\xff\xfe"), nil
		},
	}
	out, err := client.Release(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if !r.released.Equal(out.PrivateKey) || out.Token != "e30.e30.c2ln" || out.KID != keyID {
		t.Errorf("got %+v", out)
	}
	checkAttest(t, s.calls[0].body, runtime, out.Nonce)
	if got := s.calls[1]; string(got.body) != `{"target":"e30.e30.c2ln"}` || got.auth != "Bearer token-for-https://vault.azure.net" || got.host != vault {
		t.Errorf("release was asked as %+v", got)
	}
	if s.calls[0].host != "maa.local:8444" || s.calls[0].auth != "" {
		t.Errorf("attestation was asked as %s with %q", s.calls[0].host, s.calls[0].auth)
	}
}

// checkAttest checks the sidecar's quirks (wire.md §5.2).
func checkAttest(t *testing.T, body, runtime []byte, nonce string) {
	t.Helper()
	pad := base64.URLEncoding.EncodeToString
	if !strings.Contains(string(body), `"initTimeData":{"data":"","dataType":""},"nonce":`+nonce+`}`) {
		t.Errorf("initTimeData or nonce as the sidecar never sends them: %s", body)
	}
	var request attestRequest
	if err := json.Unmarshal(body, &request); err != nil {
		t.Fatal(err)
	}
	if request.RuntimeData != (data{pad(runtime), "JSON"}) {
		t.Errorf("runtimeData %+v", request.RuntimeData)
	}
	var report map[string]string
	if err := json.Unmarshal(must(base64.URLEncoding.DecodeString(request.Report))(t), &report); err != nil {
		t.Fatal(err)
	}
	if report["SnpReport"] != pad([]byte("report\xff")) || report["VcekCertChain"] != pad([]byte("PEM\xff\xfe")) {
		t.Errorf("report %v", report)
	}
	if got := must(base64.URLEncoding.DecodeString(report["Endorsements"]))(t); string(got) != `{"Uvm":["`+pad([]byte("COSE"))+`"]}` {
		t.Errorf("endorsements %s", got)
	}
}

func TestNonceIsTooLargeForAFloat(t *testing.T) {
	for range 64 {
		if n := freshNonce(); n>>63 != 1 || n&1 != 1 {
			t.Fatalf("nonce %d fits a float64", n)
		}
	}
}

func TestSidecarRuntimeData(t *testing.T) {
	key := newRSA(t, 2048)
	for _, asString := range []bool{false, true} {
		raw, err := (&Sidecar{KeyOpsString: asString}).RuntimeData(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		pub, member := runtimeKey(t, raw)
		ops, isString := member["key_ops"].(string)
		if !pub.Equal(&key.PublicKey) || isString != asString || isString && ops != "encrypt" || member["kid"] == "" {
			t.Errorf("runtime key %v", member)
		}
	}
}

// The example of RFC 7638 §3.1.
func TestThumbprint(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	if got := thumbprint("AQAB", n); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("thumbprint %s", got)
	}
}

func TestSidecarResource(t *testing.T) {
	var asked string
	stop := errors.New("stop")
	s := &Sidecar{AKV: "m.managedhsm.openskr.local", Bearer: func(_ context.Context, resource string) (string, error) {
		asked = resource
		return "", stop
	}}
	if _, err := s.ReleaseTo(t.Context(), "k", "t"); !errors.Is(err, stop) || asked != hsmResource {
		t.Errorf("asked %q, %v", asked, err)
	}
}

// Anything but 200 is an APIError, a redirect too.
func TestAnswersThatAreNot200(t *testing.T) {
	r := newRig(t)
	status := 403
	s := newService(t, r.ca, []string{"openskr.local"}, map[string]func([]byte) (int, any){
		"/keys/k/release?api-version=7.4": func([]byte) (int, any) {
			return status, map[string]any{"error": map[string]string{"code": "Forbidden", "message": "no"}}
		},
	})
	client := &Sidecar{AKV: vault, HTTP: s.client, Bearer: func(context.Context, string) (string, error) { return "t", nil }}
	for _, status = range []int{201, 301, 307, 401, 403, 500} {
		_, err := client.ReleaseTo(t.Context(), "k", "e30.e30.e30")
		var e *APIError
		if !errors.As(err, &e) || *e != (APIError{"release", status, "Forbidden", "no", "id-1"}) {
			t.Errorf("%d: %v", status, err)
		}
	}
	if len(s.calls) != 6 {
		t.Errorf("%d calls, so one was repeated", len(s.calls))
	}
}
