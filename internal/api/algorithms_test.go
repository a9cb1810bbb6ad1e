package api

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/openskr/openskr/internal/identity"
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

// TestWeakAlgorithmsOn: an administrator turns them on, for one vault, on record.
func TestWeakAlgorithmsOn(t *testing.T) {
	h := newHarness(t)
	h.create("rsa", `{"kty":"RSA"}`)
	h.create("aes", `{"kty":"oct","key_size":128}`)
	const setting, admin = `{"legacy_algorithms":true}`, identity.RoleAdministrator
	h.want("not one's own right", h.send(http.MethodPatch, "/v1/vaults/default", cryptoUser, setting), http.StatusForbidden, release.ReasonForbidden)
	h.ok("on", h.send(http.MethodPatch, "/v1/vaults/default", admin, setting), nil)
	if rec := h.lastRecord(); rec.Operation != "vaults/update" || rec.Detail["legacy_algorithms"] != "true" {
		t.Errorf("%+v", rec)
	}
	o := h.used("/keys/rsa/wrapkey", `{"alg":"RSA1_5","value":"`+b64("key")+`"}`)
	if got := h.used("/keys/rsa/unwrapkey", `{"alg":"RSA1_5","value":"`+o.Value+`"}`); got.Value != b64("key") {
		t.Errorf("%+v", got)
	}
	if rec := h.lastRecord(); rec.Detail["alg"] != "RSA1_5" || rec.Kind != receipt.KindOperation {
		t.Errorf("%+v", rec)
	}
	torn := base64.RawURLEncoding.EncodeToString(append([]byte{0}, make([]byte, 255)...)) // no padding at all
	first := h.used("/keys/rsa/decrypt", `{"alg":"RSA1_5","value":"`+torn+`"}`)
	if again := h.used("/keys/rsa/decrypt", `{"alg":"RSA1_5","value":"`+torn+`"}`); again.Value != first.Value {
		t.Error("a ciphertext that does not open tells so by its second answer")
	}
	o = h.used("/keys/aes/encrypt", `{"alg":"A128CBCPAD","value":"`+b64("text")+`"}`)
	if o.IV == "" || o.Tag != "" || o.AAD != "" {
		t.Errorf("%+v", o)
	}
	if got := h.used("/keys/aes/decrypt", `{"alg":"A128CBCPAD","value":"`+o.Value+`","iv":"`+o.IV+`"}`); got.Value != b64("text") {
		t.Errorf("%+v", got)
	}
	h.want("torn", h.use("/keys/aes/decrypt", `{"alg":"A128CBCPAD","value":"`+b64("0123456789abcde")+`","iv":"`+o.IV+`"}`), http.StatusBadRequest, release.ReasonDecryption)
	h.ok("off", h.send(http.MethodPatch, "/v1/vaults/default", admin, `{"legacy_algorithms":false}`), nil)
	h.want("off again", h.use("/keys/rsa/encrypt", `{"alg":"RSA1_5","value":"AA"}`), http.StatusBadRequest, release.ReasonAlgorithm)
}
