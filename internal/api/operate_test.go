package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// outcome is what a test reads of an operation's answer.
type outcome struct{ Kid, Value, IV, Tag, AAD string }

const cryptoUser = identity.RoleCryptoUser

func (h *harness) use(path, body string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.send(http.MethodPost, path+"?api-version=7.4", cryptoUser, body)
}

func (h *harness) used(path, body string) (o outcome) {
	h.t.Helper()
	h.ok(path, h.use(path, body), &o)
	return o
}

func (h *harness) decode(s string) []byte {
	h.t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	h.must(err)
	return b
}

func (h *harness) valid(path, body string) bool {
	h.t.Helper()
	var v struct{ Value *bool }
	h.ok(path, h.use(path, body), &v)
	return v.Value != nil && *v.Value
}

func TestSignAndVerify(t *testing.T) {
	h := newHarness(t)
	b := h.create("ec", `{"kty":"EC"}`)
	digest := make([]byte, 32)
	d := base64.RawURLEncoding.EncodeToString(digest)
	version := b.Key.Kid[strings.LastIndex(b.Key.Kid, "/")+1:]
	for _, path := range []string{"/keys/ec/sign", "/keys/ec//sign", "/keys/ec/SIGN/", "/KEYS/ec/" + version + "/sign"} {
		o := h.used(path, `{"ALG":"ES256","Value":"`+d+`","x":1}`)
		sig := h.decode(o.Value)
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, h.decode(b.Key.X), h.decode(b.Key.Y)))
		h.must(err)
		if o.Kid != b.Key.Kid || len(sig) != 64 || !ecdsa.Verify(pub, digest, new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
			t.Errorf("%s: %+v", path, o)
		}
		rec := h.lastRecord()
		if rec.Kind != receipt.KindOperation || rec.Decision != receipt.Allow || rec.Operation != "keys/sign" || rec.Version != version || rec.Door != "keyvault" ||
			rec.Caller == nil || rec.Caller.Kind != "principal" || rec.Detail["input"] != digestOf(string(digest)).String() {
			t.Errorf("%+v", rec)
		}
		before := len(h.store.Leaves)
		if !h.valid("/keys/ec/verify", `{"alg":"ES256","digest":"`+d+`","value":"`+o.Value+`"}`) || h.valid("/keys/ec/verify", `{"alg":"ES256","digest":"`+d+`","value":"AAAA"}`) {
			t.Error("verify")
		}
		if len(h.store.Leaves) != before {
			t.Error("a verification has a record")
		}
	}
}

func TestEncryptAndWrap(t *testing.T) {
	h := newHarness(t)
	h.create("rsa", `{"kty":"RSA"}`)
	h.create("aes", `{"kty":"oct-HSM","key_size":256}`)
	for _, pair := range [][2]string{{"encrypt", "decrypt"}, {"wrapkey", "unwrapkey"}} {
		for _, alg := range []string{"RSA-OAEP", "RSA-OAEP-256"} {
			o := h.used("/keys/rsa/"+pair[0], `{"alg":"`+alg+`","value":"`+b64("secret")+`","iv":null,"aad":"","tag":null}`)
			if got := h.used("/keys/rsa/"+pair[1], `{"alg":"`+alg+`","value":"`+o.Value+`"}`); got.Value != b64("secret") || got.IV != "" || o.IV != "" {
				t.Errorf("%s %s: %+v", pair[0], alg, got)
			}
		}
	}
	o := h.used("/keys/aes/encrypt", `{"alg":"A256GCM","value":"`+b64("1234")+`","aad":"`+b64("aad")+`"}`)
	if o.IV == "" || o.Tag == "" || o.AAD != b64("aad") {
		t.Errorf("%+v", o)
	}
	if rec := h.lastRecord(); rec.Operation != "keys/encrypt" || rec.Request != (receipt.Digest{}) || rec.Detail["input"] != "" {
		t.Errorf("a digest of the plain text is in the log: %+v", rec)
	}
	opened := h.used("/keys/aes/decrypt", `{"alg":"A256GCM","value":"`+o.Value+`","iv":"`+o.IV+`","tag":"`+o.Tag+`==","aad":"`+o.AAD+`"}`)
	if opened.Value != b64("1234") || opened.IV != "" {
		t.Errorf("%+v", opened)
	}
	w := h.used("/keys/aes/wrapKey", `{"alg":"A256KW","value":"`+b64("0123456789abcdef")+`"}`)
	if got := h.used("/keys/aes/unwrapKey", `{"alg":"A256KW","value":"`+w.Value+`"}`); got.Value != b64("0123456789abcdef") {
		t.Errorf("%+v", got)
	}
	if strings.Contains(h.logged.String(), b64("1234")) {
		t.Error("the plain text is in the broker's output")
	}
}

// TestNoDecryptionOracle: whatever is wrong with a ciphertext, the answer is one.
func TestNoDecryptionOracle(t *testing.T) {
	h := newHarness(t)
	h.create("rsa", `{"kty":"RSA"}`)
	h.create("aes", `{"kty":"oct"}`)
	o := h.used("/keys/rsa/encrypt", `{"alg":"RSA-OAEP","value":"`+b64("x")+`"}`)
	g := h.used("/keys/aes/encrypt", `{"alg":"A256GCM","value":"`+b64("x")+`"}`)
	zero := base64.RawURLEncoding.EncodeToString(make([]byte, 256))
	var first string
	for path, bodies := range map[string][]string{
		"/keys/rsa/decrypt":   {`{"alg":"RSA-OAEP-256","value":"` + o.Value + `"}`, `{"alg":"RSA-OAEP","value":"` + zero + `"}`, `{"alg":"RSA-OAEP","value":"AA"}`},
		"/keys/rsa/unwrapkey": {`{"alg":"RSA-OAEP-256","value":"` + o.Value + `"}`, `{"alg":"RSA-OAEP","value":"` + zero + `AAAA"}`},
		"/keys/aes/decrypt":   {`{"alg":"A256GCM","value":"AA","iv":"` + g.IV + `","tag":"` + g.Tag + `"}`, `{"alg":"A256GCM","value":"` + g.Value + `","iv":"` + g.IV + `","tag":"` + g.Tag + `","aad":"AA"}`},
		"/keys/aes/unwrapkey": {`{"alg":"A256KW","value":"AA"}`, `{"alg":"A256KW","value":"` + zero[:32] + `"}`},
	} {
		for _, body := range bodies {
			w := h.use(path, body)
			h.want(path+" "+body, w, http.StatusBadRequest, release.ReasonDecryption)
			same := strings.ReplaceAll(w.Body.String(), w.Header().Get("x-ms-request-id"), "")
			if first == "" {
				first = same
			}
			if same != first {
				t.Errorf("%s: %s, elsewhere %s", path, same, first)
			}
			if rec := h.lastRecord(); rec.Decision != receipt.Deny || rec.Reason != string(release.ReasonDecryption) {
				t.Errorf("%s: %+v", path, rec)
			}
		}
	}
}

func TestOperationsRefused(t *testing.T) {
	h := newHarness(t)
	h.create("ec", `{"kty":"EC"}`)
	h.create("rsa", `{"kty":"RSA","key_ops":["sign"]}`)
	h.create("only", `{"kty":"RSA","attested_only":true,"release_policy":`+regoPolicy("")+`}`)
	d := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	good := `{"alg":"ES256","value":"` + d + `"}`
	for _, c := range []struct {
		path, body string
		status     int
		want       release.Reason
	}{
		{"/keys/nobody/sign", good, 404, release.ReasonNotFound},
		{"/keys/ec/00000000000000000000000000000000/sign", good, 404, release.ReasonNotFound},
		{"/keys/ec/0/sign", good, 400, release.ReasonBadRequest},
		{"/keys/e_c/sign", good, 400, release.ReasonBadRequest},
		{"/keys/only/sign", `{"alg":"RS256","value":"` + d + `"}`, 403, release.ReasonAttestedOnly},
		{"/keys/only/decrypt", `{"alg":"RSA1_5","value":"` + d + `"}`, 403, release.ReasonAttestedOnly},
		{"/keys/only/encrypt", `{"alg":"RSA-OAEP","value":"` + d + `"}`, 403, release.ReasonAttestedOnly},
		{"/keys/only/verify", `{"alg":"RS256","digest":"` + d + `","value":"AA"}`, 403, release.ReasonAttestedOnly},
		{"/keys/ec/encrypt", `{"alg":"RSA-OAEP","value":"AA"}`, 403, release.ReasonKeyOperation},
		{"/keys/rsa/decrypt", `{"alg":"RSA-OAEP","value":"AA"}`, 403, release.ReasonKeyOperation},
		{"/keys/ec/sign", `{"alg":"ES384","value":"` + d + `"}`, 400, release.ReasonAlgorithm},
		{"/keys/ec/sign", `{"alg":"es256","value":"` + d + `"}`, 400, release.ReasonAlgorithm},
		{"/keys/ec/sign", `{"value":"` + d + `"}`, 400, release.ReasonAlgorithm},
		{"/keys/ec/sign", `{"alg":"ES256","value":"` + d + `","iv":"AA"}`, 400, release.ReasonBadRequest},
		{"/keys/ec/sign", `{"alg":"ES256","value":"AA"}`, 400, release.ReasonBadRequest},
		{"/keys/ec/sign", `{"alg":"ES256"}`, 400, release.ReasonBadRequest},
		{"/keys/ec/sign", `{"alg":"ES256","value":null}`, 400, release.ReasonBadRequest},
		{"/keys/ec/sign", `{"alg":"ES256","value":7}`, 400, release.ReasonBadRequest},
		{"/keys/ec/sign", `{"alg":"ES256","value":"+-AA"}`, 400, release.ReasonBadRequest},
		{"/keys/ec/sign", `{"alg":"ES256","value":"` + d + `","Value":"AA"}`, 400, release.ReasonDuplicateMember},
		{"/keys/ec/sign", `{"alg":"ES256","valeu":"` + d + `"}`, 400, release.ReasonUnknownMember},
		{"/keys/ec/sign", `[]`, 400, release.ReasonBadRequest},
	} {
		before := len(h.store.Leaves)
		h.want(c.path+" "+c.body, h.use(c.path, c.body), c.status, c.want)
		for _, rec := range h.store.Leaves[before:] {
			if rec.Kind == receipt.KindOperation || rec.Decision != receipt.Deny {
				t.Errorf("%s %s: %+v", c.path, c.body, rec)
			}
		}
	}
	w := h.send(http.MethodPost, "/keys/ec/sign", cryptoUser, good)
	h.want("no api-version", w, http.StatusBadRequest, release.ReasonBadRequest)
}

// The digest of a body that may hold a guessable secret is in no record, not even
// in one of a refusal, whoever refuses it.
func TestSecretBodiesLeaveNoDigest(t *testing.T) {
	h := newHarness(t)
	h.create("aes", `{"kty":"oct"}`)
	secret := `{"alg":"A256GCM","value":"` + b64("1234") + `"}`
	for _, op := range []string{"encrypt", "wrapkey"} {
		h.use("/keys/aes/"+op, `{"alg":"x","value":"`+b64("1234")+`"}`)
		h.use("/keys/aes/"+op, `{"alg":"x","value":"`+b64("1234")+`"`)
		h.send(http.MethodPost, "/keys/aes/"+op, cryptoUser, secret) // no api-version
	}
	h.use("/keys/aes/encrypt", secret)
	for _, body := range []string{`{"key":{"kty":"oct","k":"` + b64("a short passwords") + `"}}`, `{"key":{"kty":"oct","k":"` + b64("a password of 16") + `"}}`} {
		h.send(http.MethodPut, "/keys/word?api-version=7.4", identity.RoleCryptoOfficer, body)
	}
	if n := len(h.store.Leaves); n != 10 || h.lastRecord().Operation != "keys/import" || h.lastRecord().Decision == receipt.Deny {
		t.Errorf("%d records", n)
	}
	for _, rec := range h.store.Leaves[1:] {
		if rec.Request != (receipt.Digest{}) {
			t.Errorf("%+v", rec)
		}
	}
	h.use("/keys/aes/decrypt", `{"alg":"x"}`)
	if h.lastRecord().Request == (receipt.Digest{}) {
		t.Error("other bodies keep theirs")
	}
}

// A denial that the log made is one record, not two; a log that is down is 503.
func TestOperationAndTheLog(t *testing.T) {
	h := newHarness(t)
	h.create("ec", fmt.Sprintf(`{"kty":"EC","attributes":{"exp":%d}}`, h.now.Unix()+60))
	body := `{"alg":"ES256","value":"` + base64.RawURLEncoding.EncodeToString(make([]byte, 32)) + `"}`
	h.store.Fault = func(rec *release.Record) error {
		if rec.Kind == receipt.KindOperation {
			return errDisk
		}
		return nil
	}
	before := len(h.store.Leaves)
	w := h.use("/keys/ec/sign", body)
	h.want("log down", w, http.StatusServiceUnavailable, release.ReasonLogUnavailable)
	if w.Header().Get("Retry-After") == "" || len(h.store.Leaves) != before {
		t.Errorf("%v, %d records", w.Header(), len(h.store.Leaves)-before)
	}
	h.store.Fault = nil
	h.store.Now = func() time.Time { return h.now.Add(time.Hour) } // the log's clock, when the record is due
	h.want("denied", h.use("/keys/ec/sign", body), http.StatusForbidden, release.ReasonKeyExpired)
	if len(h.store.Leaves) != before+1 || h.lastRecord().Kind != receipt.KindOperation || h.lastRecord().Decision != receipt.Deny {
		t.Errorf("%d records, last %+v", len(h.store.Leaves)-before, h.lastRecord())
	}
}

func TestRandomBytes(t *testing.T) {
	h := newHarness(t)
	var seen []string
	for body, n := range map[string]int{`{"count":1}`: 1, `{"Count":128}`: 128, `{"count":32}`: 32} {
		for _, path := range []string{"/rng", "/rng/", "//RNG"} {
			o := h.used(path, body)
			if len(h.decode(o.Value)) != n || n == 128 && slices.Contains(seen, o.Value) {
				t.Errorf("%s: %s", body, o.Value)
			}
			seen = append(seen, o.Value)
		}
	}
	for _, body := range []string{`{}`, `{"count":0}`, `{"count":129}`, `{"count":-1}`, `{"count":"8"}`, `{"count":1.5}`, `{"count":null}`} {
		h.want(body, h.use("/rng", body), http.StatusBadRequest, release.ReasonBadRequest)
	}
	h.want("no role", h.send(http.MethodPost, "/rng?api-version=7.4", identity.RoleReader, `{"count":1}`), http.StatusForbidden, release.ReasonForbidden)
}
