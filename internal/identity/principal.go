package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/release"
)

// Principal is the value of a release.ObjectPrincipal; its object's name is ID.
//
// The secret is 32 random bytes made by us and never chosen by a person, so that
// one salted SHA-256 is enough: there is nothing to guess that a slow hash would
// protect, and a slow hash before authentication is work that strangers order.
type Principal struct {
	ID      string `json:"id"`   // UUID, the client_id
	Name    string `json:"name"` // for people
	Salt    []byte `json:"salt"` // 16 bytes; with Hash empty where the principal has no secret
	Hash    []byte `json:"secret_hash"`
	Enabled bool   `json:"enabled"`
	Created int64  `json:"created"` // Unix seconds
	// Deleted is when it was deleted, in Unix seconds: it proves nothing and its id is
	// not given again.
	Deleted int64 `json:"deleted,omitempty"`

	Certificates []Certificate `json:"certificates,omitempty"`
	Federated    []Federated   `json:"federated,omitempty"`

	// Roles are those that versions before assignments had kept here; nothing reads
	// them but Access.Adopt.
	Roles []string `json:"roles,omitempty"`

	generation int64 // of the object it was read from
}

const (
	saltSize   = 16
	secretSize = 32
)

var (
	nameForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._@ -]{0,126}$`)
	idForm   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	b64      = base64.RawURLEncoding.Strict()
)

// ValidID says whether s has the form of a principal's id: a UUID in lower case.
func ValidID(s string) bool { return idForm.MatchString(s) }

// NewPrincipal makes a principal and its secret, which is nowhere kept.
func NewPrincipal(name string, now time.Time) (*Principal, string, error) {
	p := &Principal{ID: newUUID(), Name: name, Enabled: true, Created: now.Unix()}
	secret := p.newSecret()
	if err := p.validate(); err != nil {
		return nil, "", err
	}
	return p, secret, nil
}

// NewAdministrator makes the first principal of a deployment, its secret, and its
// rights: every one, at /.
func NewAdministrator(now time.Time) (*Principal, string, []Assignment, error) {
	p, secret, err := NewPrincipal("administrator", now)
	if err != nil {
		return nil, "", nil, err
	}
	var list []Assignment
	for _, role := range AdministratorRoles() {
		list = append(list, Assignment{ID: newUUID(), Role: role, Scope: Everywhere, Created: now.Unix(), By: "init"})
	}
	return p, secret, list, nil
}

// newSecret replaces the principal's secret and gives the new one. Its first bit is 0, so
// that no text begins with '-', which command lines (az login --password) take for an option.
func (p *Principal) newSecret() string {
	secret := make([]byte, secretSize)
	rand.Read(secret)
	secret[0] &= 0x7f
	p.Salt = make([]byte, saltSize)
	rand.Read(p.Salt)
	p.Hash = hash(p.Salt, secret)
	return b64.EncodeToString(secret)
}

// Encode gives the object's value.
func (p *Principal) Encode() ([]byte, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	return json.Marshal(p)
}

// DecodePrincipal reads the value of the object called id.
func DecodePrincipal(id string, value []byte) (*Principal, error) {
	var p Principal
	if err := json.Unmarshal(value, &p, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("principal: %w", err)
	}
	if p.ID != id {
		return nil, fmt.Errorf("principal %.64q stored as %.64q", p.ID, id)
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	return &p, nil
}

// readPrincipal reads an object, and notes its generation.
func readPrincipal(o *release.Object) (*Principal, error) {
	p, err := DecodePrincipal(o.Name, o.Value)
	if err != nil {
		return nil, release.Refuse(release.ReasonIntegrity, "%w", err)
	}
	p.generation = o.Generation
	return p, nil
}

func (p *Principal) validate() error {
	switch {
	case !idForm.MatchString(p.ID):
		return errors.New("principal: id is not a UUID")
	case !nameForm.MatchString(p.Name):
		return fmt.Errorf("principal: name %.64q: letters, digits, space and . _ @ -, at most 127, beginning with a letter or digit", p.Name)
	case (len(p.Salt) != saltSize || len(p.Hash) != sha256.Size) && len(p.Salt)+len(p.Hash) != 0:
		return errors.New("principal: salt or hash of wrong size")
	}
	if err := p.credentials(); err != nil {
		return err
	}
	if p.Deleted != 0 && (p.Enabled || len(p.Hash)+len(p.Certificates)+len(p.Federated) != 0) {
		return errors.New("principal: deleted, and can still be proven")
	}
	return nil
}

// provable says whether there is anything that could prove p.
func (p *Principal) provable() bool {
	return len(p.Hash)+len(p.Certificates)+len(p.Federated) != 0
}

// proves compares in constant time. A nil principal, or one without a secret, costs
// the same and is never proven.
func (p *Principal) proves(secret []byte) bool {
	salt, want := make([]byte, saltSize), make([]byte, sha256.Size)
	has := p != nil && len(p.Hash) == sha256.Size
	if has {
		salt, want = p.Salt, p.Hash
	}
	same := subtle.ConstantTimeCompare(hash(salt, secret), want) == 1
	return same && has
}

func hash(salt, secret []byte) []byte {
	h := sha256.New()
	h.Write([]byte("openskr/principal/v1"))
	h.Write(salt) // fixed length, so that the concatenation is unambiguous
	h.Write(secret)
	return h.Sum(nil)
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562 §5.4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
