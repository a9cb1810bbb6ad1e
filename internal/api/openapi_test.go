package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/api/attestation"
	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/api/tokens"
	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/internal/reference"
)

type schema struct {
	Properties map[string]json.RawMessage
	Required   []string
}

type operation struct {
	Operation  string `json:"x-openskr-operation"`
	Action     string `json:"x-openskr-action"`
	Security   []map[string][]string
	Parameters []struct {
		Name, In string
	}
	RequestBody *struct {
		Required bool
		Content  map[string]any
	}
}

type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

func readOpenAPI(t *testing.T) (d document) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(openAPI))
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

var parameter = regexp.MustCompile(`:(\w+)`)

// TestOpenAPI: the document has every route that is offered, and no other, with
// its rights, parameters and body as the table has them.
func TestOpenAPI(t *testing.T) {
	h := newHarness(t)
	d := readOpenAPI(t)
	documented := 0
	for _, ops := range d.Paths {
		documented += len(ops)
	}
	for _, r := range h.handler.(*funnel).routes() {
		if r.Access == route.Anyone {
			continue // not offered
		}
		o, ok := d.Paths[parameter.ReplaceAllString(r.Path, "{$1}")][strings.ToLower(r.Method)]
		if !ok {
			t.Errorf("%s %s is not in the document", r.Method, r.Path)
			continue
		}
		documented--
		if o.Operation != r.Name || o.Action != string(r.Action) || (len(o.Security) == 0) != (r.Access == route.Public) {
			t.Errorf("%s %s: %+v", r.Method, r.Path, o)
		}
		if (o.RequestBody == nil) != (r.Body == route.NoBody) || o.RequestBody != nil && o.RequestBody.Required == r.Optional {
			t.Errorf("%s %s: body", r.Method, r.Path)
		}
		var query []string
		for _, p := range o.Parameters {
			if p.In == "query" {
				query = append(query, p.Name)
			}
		}
		for _, q := range r.Query {
			if !slices.Contains(query, q) {
				t.Errorf("%s %s: parameter %s", r.Method, r.Path, q)
			}
		}
	}
	if documented != 0 {
		t.Errorf("%d operations in the document have no route", documented)
	}
	w := h.do(request{method: http.MethodGet, path: "/.well-known/openapi.json"})
	if !bytes.Equal(w.Body.Bytes(), openAPI) {
		t.Error("another document is served")
	}
}

// TestOpenAPISchemas: the members in the document are those of the Go types.
func TestOpenAPISchemas(t *testing.T) {
	d := readOpenAPI(t)
	for name, v := range map[string]any{
		"ChallengeRequest": binding.ChallengeRequest{}, "Challenge": binding.Challenge{}, "ReleaseRequest": binding.ReleaseRequest{},
		"ReleaseResponse": binding.ReleaseResponse{}, "Error": binding.ErrorBody{}, "Endorsement": attest.Endorsement{},
		"EnrollBody": v1.EnrollBody{}, "EnrollRequest": format.EnrollRequest{}, "EnrollChallenge": format.EnrollChallenge{},
		"EnrollProof": format.EnrollProof{}, "EnrollResult": format.EnrollResult{},
		"Machine": v1.Machine{}, "MachinePage": v1.MachinePage{}, "MachinePatch": v1.MachinePatch{}, "Entries": v1.Entries{}, "Proof": v1.Proof{},
		"ReferenceSets": v1.ReferenceSets{}, "ReferenceSet": reference.Set{}, "ReferencePage": v1.ReferencePage{}, "Reference": v1.Reference{},
		"ReferenceAdd": v1.ReferenceAdd{}, "ReferenceEntry": v1.ReferenceEntry{}, "ReferenceRetire": v1.ReferenceRetire{},
		"AttestedRole": v1.AttestedRole{}, "AttestedRoleList": v1.AttestedRoleList{}, "AttestedRoleBody": v1.AttestedRoleBody{},
		"FormatGrant": v1.FormatGrant{}, "FormatGrantPage": v1.FormatGrantPage{}, "FormatGrantBody": v1.FormatGrantBody{},
		"Decision": v1.Decision{}, "DecisionPolicy": v1.Policy{}, "DrillBody": v1.DrillBody{}, "Ready": v1.Ready{}, "Discovery": v1.Discovery{},
		"Backup": apikeyvault.Backup{}, "Vault": v1.Vault{}, "VaultPage": v1.VaultPage{}, "VaultCreate": v1.VaultCreate{}, "VaultPatch": v1.VaultPatch{},
		"KeyBundle": apikeyvault.Bundle{}, "KeyItem": apikeyvault.Item{}, "KeyPage": apikeyvault.Page[apikeyvault.Item]{},
		"SecretBundle": apikeyvault.SecretBundle{}, "SecretItem": apikeyvault.SecretItem{}, "SecretAttributes": apikeyvault.SecretAttributes{},
		"RotationPolicy": apikeyvault.RotationPolicy{}, "LifetimeAction": apikeyvault.LifetimeAction{}, "LifetimeTrigger": apikeyvault.LifetimeTrigger{},
		"LifetimeActionType": apikeyvault.LifetimeActionType{}, "RotationAttributes": apikeyvault.RotationAttributes{}, "KeyAttestation": apikeyvault.KeyAttestation{},
		"SecretPage": apikeyvault.Page[apikeyvault.SecretItem]{}, "PublicJWK": apikeyvault.PublicJWK{},
		"KeyReleaseResult": apikeyvault.Released{}, "KeyOperationResult": apikeyvault.KeyOperationResult{}, "KeyVerifyResult": apikeyvault.KeyVerifyResult{}, "RandomBytes": apikeyvault.RandomBytes{},
		"KeyAttributes": apikeyvault.Attributes{}, "ReleasePolicy": apikeyvault.Policy{}, "Token": identity.Token{},
		"RoleAssignment": apikeyvault.RoleAssignment{}, "RoleAssignmentProperties": apikeyvault.AssignmentProperties{}, "RoleDefinition": apikeyvault.RoleDefinition{},
		"RoleDefinitionProperties": apikeyvault.DefinitionProperties{}, "RolePermission": apikeyvault.Permission{},
		"RoleAssignmentPage": apikeyvault.Page[apikeyvault.RoleAssignment]{}, "RoleDefinitionPage": apikeyvault.Page[apikeyvault.RoleDefinition]{},
		"Principal": v1.Principal{}, "PrincipalCertificate": v1.Certificate{}, "PrincipalFederated": v1.Federated{}, "PrincipalPage": v1.PrincipalPage{},
		"PrincipalCreate": v1.PrincipalCreate{}, "PrincipalCreated": v1.PrincipalCreated{}, "PrincipalPatch": v1.PrincipalPatch{},
		"TokenDiscovery": tokens.Discovery{}, "TokenKeys": jose.ECKeySet{}, "TokenKey": jose.ECKey{}, "Subscriptions": tokens.Subscriptions{},
		"AttestationDiscovery": attestation.Discovery{}, "AttestationKeys": jose.PublicKeySet{}, "AttestationKey": jose.PublicKey{}, "AttestationToken": attestation.Token{},
	} {
		s, ok := d.Components.Schemas[name]
		if !ok {
			t.Errorf("no schema %s", name)
			continue
		}
		typ, members := reflect.TypeOf(v), []string{}
		for i := range typ.NumField() {
			m, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			members = append(members, m)
			if _, ok := s.Properties[m]; !ok {
				t.Errorf("%s: no %s in the document", name, m)
			}
		}
		for m := range s.Properties {
			if !slices.Contains(members, m) {
				t.Errorf("%s: %s is in the document only", name, m)
			}
		}
		for _, m := range s.Required {
			if _, ok := s.Properties[m]; !ok {
				t.Errorf("%s: required %s is not a property", name, m)
			}
		}
	}
	for _, m := range regexp.MustCompile(`#/components/schemas/(\w+)`).FindAllStringSubmatch(string(openAPI), -1) {
		if _, ok := d.Components.Schemas[m[1]]; !ok {
			t.Errorf("dangling reference to %s", m[1])
		}
	}
}
