package keyvault

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// KeyAttestation says what is known of a key's origin. Managed HSM has its vendor's word
// in it. There is no HSM here: it is the broker's own word, for the public half alone,
// and it says so (docs/wire/keyvault.md).
type KeyAttestation struct {
	Version      string       `json:"version"`
	Certificates attest.Bytes `json:"certificatePemFile"`   // of the key that signed, root last
	PublicKey    attest.Bytes `json:"publicKeyAttestation"` // compact JWS of a statement
}

// statement is what the broker says of a key.
type statement struct {
	Type         string        `json:"type"` // attestationType
	Key          PublicJWK     `json:"key"`
	Protection   string        `json:"protection"` // always "software"
	Exportable   bool          `json:"exportable"`
	AttestedOnly bool          `json:"attested_only"`
	Policy       *attest.Bytes `json:"policy_sha256,omitempty"`
	Record       int64         `json:"record"` // log index of the record that made the version
	Time         int64         `json:"time"`   // Unix seconds
}

// attestationType parts the statement from everything else that the same key signs.
const attestationType = "openskr-key-attestation/v1"

func (d *door) attestationRoutes() []*route.Route {
	var out []*route.Route
	for _, path := range []string{"/keys/:name/attestation", "/keys/:name/:version/attestation"} {
		out = append(out, &route.Route{
			Method: http.MethodGet, Path: path, Name: "keys/attestation", Access: route.Role, Action: identity.KeysRead, Queue: route.Deciding, Do: d.attestation,
		})
	}
	return out
}

func (d *door) attestation(ctx context.Context, c *route.Call) (any, error) {
	name, version, err := target(c)
	if err != nil {
		return nil, err
	}
	row, err := d.Service.Get(ctx, c.Vault, name, version)
	if err != nil {
		return nil, err
	}
	if len(row.Public) == 0 {
		return nil, release.Refuse(release.ReasonBadRequest, "a key of type %s has no public half that could be attested", row.Kty)
	}
	b, err := d.bundle(c, row)
	if err != nil {
		return nil, err
	}
	b.Attributes.Attestation, err = d.attest(c, row, b.Key)
	return b, err
}

func (d *door) attest(c *route.Call, row *keyvault.Row, key PublicJWK) (*KeyAttestation, error) {
	s := statement{
		Type: attestationType, Key: key, Protection: "software", Exportable: row.Attributes.Exportable, AttestedOnly: row.AttestedOnly,
		Record: row.CreatedIndex, Time: d.Now().Unix(),
	}
	if len(row.Policy.Data) > 0 {
		digest := attest.Bytes(row.Policy.Digest[:])
		s.Policy = &digest
	}
	payload, err := strict.Marshal(s)
	if err != nil {
		return nil, err
	}
	jws, err := d.Answers.SignFor(c.Host, payload)
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "statement about %s: %w", key.KID, err)
	}
	chain, err := chainOf(jws)
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "statement about %s: %w", key.KID, err)
	}
	return &KeyAttestation{Version: "openskr/1", Certificates: chain, PublicKey: []byte(jws)}, nil
}

// chainOf takes the certificates out of a JWS that was just made here, as PEM.
func chainOf(jws string) ([]byte, error) {
	first, _, _ := strings.Cut(jws, ".")
	head, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return nil, err
	}
	var h struct {
		X5C [][]byte `json:"x5c"`
	}
	if err := json.Unmarshal(head, &h); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, der := range h.X5C {
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
