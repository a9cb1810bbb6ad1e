package api

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

func TestRotationDoor(t *testing.T) {
	h := newHarness(t)
	const admin, path = identity.RoleAdministrator, "/keys/k/rotationpolicy?api-version=7.4"
	var key, turned apikeyvault.Bundle
	h.ok("create", h.send(http.MethodPost, "/keys/K/create?api-version=7.4", admin, `{"kty":"EC","crv":"P-384","tags":{"a":"b"}}`), &key)

	var p apikeyvault.RotationPolicy
	w := h.get(path, admin)
	h.ok("default", w, &p)
	if want := `{"id":"https://` + testHost + `/keys/k/rotationpolicy","lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"Notify"}}],"attributes":{}}`; w.Body.String() != want {
		t.Errorf("default %s, want %s", w.Body, want)
	}
	body := `{"id":"x","LifetimeActions":[{"Trigger":{"timeAfterCreate":"P90D","TIMEBEFOREEXPIRY":null},"ACTION":{"type":"rOTATE"}},
		{"trigger":{"timeBeforeExpiry":"P1M"},"action":{"Type":"notify"},"other":1}],"attributes":{"expiryTime":"P2Y","created":1}}`
	w = h.send(http.MethodPut, path, admin, body)
	h.ok("set", w, nil)
	want := `{"id":"https://` + testHost + `/keys/k/rotationpolicy","lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"Rotate"}},` +
		`{"trigger":{"timeBeforeExpiry":"P1M"},"action":{"type":"Notify"}}],"attributes":{"expiryTime":"P2Y","created":1800000000,"updated":1800000000}}`
	if w.Body.String() != want {
		t.Errorf("set %s, want %s", w.Body, want)
	}
	if w = h.get(path, admin); w.Body.String() != want {
		t.Errorf("get %s", w.Body)
	}
	h.ok("as it was answered", h.send(http.MethodPut, path, admin, want), nil)

	h.ok("rotate", h.send(http.MethodPost, "/keys/K/rotate?api-version=7.4", admin, ""), &turned)
	if turned.Key.KID == key.Key.KID || !strings.HasPrefix(turned.Key.KID, "https://"+testHost+"/keys/K/") || turned.Key.X == key.Key.X || turned.Key.Crv != "P-384" ||
		turned.Tags["a"] != "b" || turned.Attributes.Expires != h.now.AddDate(2, 0, 0).Unix() {
		t.Errorf("%+v", turned)
	}
	if r := h.lastRecord(); r.Operation != "keys/rotate" || r.Caller.Kind != "principal" {
		t.Errorf("record %+v", r)
	}
}

func TestRotationRefusals(t *testing.T) {
	h := newHarness(t)
	const admin, path = identity.RoleAdministrator, "/keys/k/rotationpolicy?api-version=7.4"
	h.ok("create", h.send(http.MethodPost, "/keys/k/create?api-version=7.4", admin, `{"kty":"EC"}`), nil)
	action := func(trigger, word string) string {
		return `{"trigger":` + trigger + `,"action":{"type":"` + word + `"}}`
	}
	for name, body := range map[string]string{
		"two rotations":  `{"lifetimeActions":[` + action(`{"timeAfterCreate":"P1D"}`, "Rotate") + `,` + action(`{"timeAfterCreate":"P1D"}`, "rotate") + `]}`,
		"both triggers":  `{"lifetimeActions":[` + action(`{"timeAfterCreate":"P1D","timeBeforeExpiry":"P1D"}`, "Rotate") + `]}`,
		"no trigger":     `{"lifetimeActions":[{"action":{"type":"Rotate"}}]}`,
		"empty trigger":  `{"lifetimeActions":[` + action(`{}`, "Rotate") + `]}`,
		"no action":      `{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P1D"}}]}`,
		"other action":   `{"lifetimeActions":[` + action(`{"timeAfterCreate":"P1D"}`, "Delete") + `]}`,
		"hours":          `{"lifetimeActions":[` + action(`{"timeAfterCreate":"PT1H"}`, "Rotate") + `]}`,
		"short life":     `{"attributes":{"expiryTime":"P27D"}}`,
		"no list":        `{"lifetimeActions":{}}`,
		"near miss":      `{"lifetimeAction":[]}`,
		"twice":          `{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P1D","TimeAfterCreate":"P2D"},"action":{"type":"Rotate"}}]}`,
		"near miss deep": `{"lifetimeActions":[{"trigger":{"timeAfterCreated":"P1D"},"action":{"type":"Rotate"}}]}`,
		"number":         `{"attributes":{"expiryTime":90}}`,
	} {
		if w := h.send(http.MethodPut, path, admin, body); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	h.want("unknown key", h.get("/keys/other/rotationpolicy?api-version=7.4", admin), http.StatusNotFound, release.ReasonNotFound)
	h.want("rotate unknown", h.send(http.MethodPost, "/keys/other/rotate?api-version=7.4", admin, ""), http.StatusNotFound, release.ReasonNotFound)
	h.want("reader", h.send(http.MethodPut, path, identity.RoleReader, `{}`), http.StatusForbidden, release.ReasonForbidden)
	h.want("crypto user", h.send(http.MethodPost, "/keys/k/rotate?api-version=7.4", identity.RoleCryptoUser, ""), http.StatusForbidden, release.ReasonForbidden)
}

// chained signs with nothing, under a chain of nothing.
type chained struct{}

func (chained) SignFor(_ string, payload []byte) (string, error) {
	return b64(`{"x5c":["AQID"]}`) + "." + base64.RawURLEncoding.EncodeToString(payload) + ".", nil
}

// TestKeyAttestation: the broker's own word, which says what it is.
func TestKeyAttestation(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Answers = chained{} })
	const admin = identity.RoleAdministrator
	var key apikeyvault.Bundle
	h.ok("create", h.send(http.MethodPost, "/keys/k/create?api-version=7.6", admin, `{"kty":"EC"}`), &key)
	made := int64(len(h.store.Leaves) - 1)
	h.ok("a newer one", h.send(http.MethodPost, "/keys/k/create?api-version=7.6", admin, `{"kty":"EC"}`), nil)
	version := key.Key.KID[strings.LastIndex(key.Key.KID, "/")+1:]
	var got apikeyvault.Bundle
	h.ok("attestation", h.get("/keys/k/"+version+"/attestation?api-version=7.6", identity.RoleReader), &got)
	a := got.Attributes.Attestation
	if a == nil || got.Key.KID != key.Key.KID || got.Key.X != key.Key.X {
		t.Fatalf("%+v", got)
	}
	parts := strings.Split(string(a.PublicKey), ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	h.must(err)
	var s struct {
		Type, Protection string
		Key              apikeyvault.PublicJWK
		Record, Time     int64
	}
	h.must(json.Unmarshal(payload, &s))
	if s.Type != "openskr-key-attestation/v1" || s.Protection != "software" || s.Key.X != key.Key.X || s.Key.KID != key.Key.KID || s.Record != made || s.Time != h.now.Unix() {
		t.Errorf("%s", payload)
	}
	if block, _ := pem.Decode(a.Certificates); block == nil || block.Type != "CERTIFICATE" {
		t.Errorf("certificates %q", a.Certificates)
	}
	var plain map[string]map[string]any
	h.ok("get", h.get("/keys/k?api-version=7.6", admin), &plain)
	if _, there := plain["attributes"]["attestation"]; there {
		t.Error("a plain answer has an attestation")
	}
	h.ok("oct", h.send(http.MethodPost, "/keys/o/create?api-version=7.6", admin, `{"kty":"oct"}`), nil)
	h.want("oct", h.get("/keys/o/attestation?api-version=7.6", admin), http.StatusBadRequest, release.ReasonBadRequest)
	h.want("unknown", h.get("/keys/other/attestation?api-version=7.6", admin), http.StatusNotFound, release.ReasonNotFound)
}
