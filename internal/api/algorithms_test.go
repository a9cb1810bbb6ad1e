package api

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault/p256k"
	"github.com/openskr/openskr/release/receipt"
)

// TestRareAlgorithms has those over the wire that only some clients ask for.
func TestRareAlgorithms(t *testing.T) {
	h := newHarness(t)
	digest := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	b := h.create("koblitz", `{"kty":"EC-HSM","crv":"P-256K"}`)
	if b.Key.Kty != "EC" || b.Key.Crv != "P-256K" || len(b.Key.X) != 43 || len(b.Key.Y) != 43 {
		t.Fatalf("%+v", b.Key)
	}
	sig := h.used("/keys/koblitz/sign", `{"alg":"ES256K","value":"`+digest+`"}`)
	point := append(append([]byte{4}, h.decode(b.Key.X)...), h.decode(b.Key.Y)...)
	if !p256k.Verify(point, make([]byte, 32), h.decode(sig.Value)) || !h.valid("/keys/koblitz/verify", `{"alg":"ES256K","digest":"`+digest+`","value":"`+sig.Value+`"}`) {
		t.Errorf("%+v", sig)
	}
	h.create("mac", `{"kty":"oct-HSM","key_ops":["sign","verify"]}`)
	tag := h.used("/keys/mac/sign", `{"alg":"HS256","value":"`+digest+`"}`)
	before := len(h.store.Leaves)
	if !h.valid("/keys/mac/verify", `{"alg":"HS256","digest":"`+digest+`","value":"`+tag.Value+`"}`) || h.valid("/keys/mac/verify", `{"alg":"HS256","digest":"`+digest+`","value":"`+digest+`"}`) {
		t.Errorf("%+v", tag)
	}
	if len(h.store.Leaves) != before+2 || h.lastRecord().Kind != receipt.KindOperation {
		t.Error("a verification with a secret key has no record")
	}
	h.create("aes", `{"kty":"oct"}`)
	w := h.used("/keys/aes/wrapkey", `{"alg":"CKM_AES_KEY_WRAP_PAD","value":"`+b64("odd")+`"}`)
	if got := h.used("/keys/aes/unwrapkey", `{"alg":"CKM_AES_KEY_WRAP_PAD","value":"`+w.Value+`"}`); got.Value != b64("odd") {
		t.Errorf("%+v", got)
	}
}

// TestWeakAlgorithmsAreOff: whoever asks, whatever with, nothing is done.
func TestWeakAlgorithmsAreOff(t *testing.T) {
	h := newHarness(t)
	h.create("rsa", `{"kty":"RSA"}`)
	h.create("aes", `{"kty":"oct","key_size":128}`)
	block := base64.RawURLEncoding.EncodeToString(make([]byte, 16))
	for path, body := range map[string]string{
		"/keys/rsa/encrypt": `{"alg":"RSA1_5","value":"AA"}`, "/keys/rsa/decrypt": `{"alg":"RSA1_5","value":"AA"}`,
		"/keys/rsa/wrapkey": `{"alg":"RSA1_5","value":"AA"}`, "/keys/rsa/unwrapkey": `{"alg":"RSA1_5","value":"AA"}`,
		"/keys/aes/encrypt": `{"alg":"A128CBC","value":"` + block + `","iv":"` + block + `"}`,
		"/keys/aes/decrypt": `{"alg":"A128CBCPAD","value":"` + block + `","iv":"` + block + `"}`,
	} {
		before := len(h.store.Leaves)
		h.want(path, h.use(path, body), http.StatusBadRequest, release.ReasonAlgorithm)
		for _, rec := range h.store.Leaves[before:] {
			if rec.Decision != receipt.Deny {
				t.Errorf("%s: %+v", path, rec)
			}
		}
	}
}

// A key that is wrapped for an HSM, and the types of Azure's HSMs: the first is
// refused by its name, the second are taken, and the answer says what the key is.
func TestHSM(t *testing.T) {
	h := newHarness(t)
	for _, body := range []string{`{"key":{"kty":"RSA-HSM","key_hsm":"AA"}}`, `{"key":{"kty":"RSA-HSM","key_hsm":{"schema_version":"1.0.0"}},"hsm":true}`, `{"key":{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA","Key_HSM":"AA"}}`} {
		h.want(body, h.send(http.MethodPut, "/keys/byok?api-version=7.4", officer, body), http.StatusForbidden, release.ReasonNotOffered)
	}
	h.want("not a member", h.send(http.MethodPut, "/keys/byok?api-version=7.4", officer, `{"key":{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA","keyhsm2":"AA"}}`), http.StatusBadRequest, release.ReasonUnknownMember)
	h.ok("null", h.send(http.MethodPut, "/keys/plain?api-version=7.4", officer, `{"key":{"kty":"oct-HSM","k":"AAAAAAAAAAAAAAAAAAAAAA","key_hsm":null}}`), nil)
	for asked, is := range map[string]string{"RSA-HSM": "RSA", "EC-HSM": "EC", "oct-HSM": "oct"} {
		if b := h.create(asked, `{"kty":"`+asked+`"}`); b.Key.Kty != is {
			t.Errorf("%s: %s", asked, b.Key.Kty)
		}
	}
}
