package keyvault

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
)

// createKey is the body of POST /keys/{name}/create.
type createKey struct {
	Kty            string            `json:"kty"`
	Crv            string            `json:"crv"`
	KeySize        int               `json:"key_size"`
	PublicExponent int               `json:"public_exponent"`
	KeyOps         []string          `json:"key_ops"`
	Attributes     *attributes       `json:"attributes"`
	Tags           map[string]string `json:"tags"`
	Policy         *policy           `json:"release_policy"`
	AttestedOnly   *bool             `json:"attested_only"` // ours
	Managed        jsontext.Value    `json:"managed"`       // the broker's
	HSM            jsontext.Value    `json:"hsm"`           // fixed by kty
}

// importKey is the body of PUT /keys/{name}.
type importKey struct {
	Key          *privateJWK       `json:"key"`
	HSM          *bool             `json:"hsm"` // accepted and without effect: keys are held in software
	Attributes   *attributes       `json:"attributes"`
	Tags         map[string]string `json:"tags"`
	Policy       *policy           `json:"release_policy"`
	AttestedOnly *bool             `json:"attested_only"`
	Managed      jsontext.Value    `json:"managed"`
}

// updateKey is the body of PATCH /keys/{name}[/{version}].
type updateKey struct {
	KeyOps       []string          `json:"key_ops"`
	Attributes   *attributes       `json:"attributes"`
	Tags         map[string]string `json:"tags"`
	Policy       *policy           `json:"release_policy"`
	AttestedOnly *bool             `json:"attested_only"`
	Managed      jsontext.Value    `json:"managed"`
	HSM          jsontext.Value    `json:"hsm"`
}

// attributes of a request. Those that only the broker sets are decoded so that
// an attempt to set one is refused and not ignored.
type attributes struct {
	Enabled    *bool  `json:"enabled"`
	NotBefore  *int64 `json:"nbf"`
	Expires    *int64 `json:"exp"`
	Exportable *bool  `json:"exportable"`

	Created         jsontext.Value `json:"created"`
	Updated         jsontext.Value `json:"updated"`
	RecoveryLevel   jsontext.Value `json:"recoveryLevel"`
	RecoverableDays jsontext.Value `json:"recoverableDays"`
	HSMPlatform     jsontext.Value `json:"hsmPlatform"`
	Attestation     jsontext.Value `json:"attestation"`
	AttestedOnly    jsontext.Value `json:"attestedOnly"`
}

type policy struct {
	ContentType string `json:"contentType"`
	Data        string `json:"data"` // base64, either alphabet
	Immutable   bool   `json:"immutable"`
}

type privateJWK struct {
	KID    string       `json:"kid"` // ignored
	Kty    string       `json:"kty"`
	KeyOps []string     `json:"key_ops"`
	Crv    string       `json:"crv"`
	N      attest.Bytes `json:"n"`
	E      attest.Bytes `json:"e"`
	D      attest.Bytes `json:"d"`
	P      attest.Bytes `json:"p"`
	Q      attest.Bytes `json:"q"`
	DP     attest.Bytes `json:"dp"`
	DQ     attest.Bytes `json:"dq"`
	QI     attest.Bytes `json:"qi"`
	X      attest.Bytes `json:"x"`
	Y      attest.Bytes `json:"y"`
	K      attest.Bytes `json:"k"`
	// KeyHSM is a key that is wrapped for an HSM (bring your own key).
	KeyHSM jsontext.Value `json:"key_hsm"`
}

// clear overwrites the private members.
func (k *privateJWK) clear() {
	for _, b := range []attest.Bytes{k.D, k.P, k.Q, k.DP, k.DQ, k.QI, k.K} {
		clear(b)
	}
}

// The shapes of bodies, for fold.
func shapeAttributes() *shape {
	return &shape{
		members: leaves("enabled", "nbf", "exp", "exportable", "created", "updated", "recoveryLevel", "recoverableDays", "hsmPlatform", "attestation", "attestedOnly"),
		guarded: []string{"enabled", "nbf", "exp", "exportable", "attestedOnly"},
	}
}

func shapePolicy() *shape {
	return &shape{members: leaves("contentType", "data", "immutable"), guarded: []string{"contentType", "data", "immutable"}}
}

func shapeJWK() *shape {
	return &shape{
		members: leaves("kid", "kty", "key_ops", "crv", "n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y", "k", "key_hsm"),
		guarded: []string{"key_ops", "key_hsm"},
	}
}

// shapeOf adds what all bodies have in common.
func shapeOf(own ...string) *shape {
	s := &shape{members: leaves(own...), guarded: []string{"release_policy", "attributes", "key_ops", "attested_only", "tags"}}
	s.members["attributes"], s.members["release_policy"] = shapeAttributes(), shapePolicy()
	s.members["tags"], s.members["attested_only"], s.members["managed"] = &shape{free: true}, nil, nil
	return s
}

func shapeCreate() *shape {
	return shapeOf("kty", "crv", "key_size", "public_exponent", "key_ops", "hsm")
}
func shapeUpdate() *shape { return shapeOf("key_ops", "hsm") }

func shapeImport() *shape {
	s := shapeOf("hsm")
	s.members["key"] = shapeJWK()
	return s
}

func leaves(names ...string) map[string]*shape {
	m := make(map[string]*shape, len(names))
	for _, n := range names {
		m[n] = nil
	}
	return m
}
