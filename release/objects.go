package release

import (
	"context"
	"encoding/json"
)

// Kinds of objects.
const (
	ObjectMachine   = "machine"
	ObjectPrincipal = "principal"
	ObjectSetting   = "setting"
	ObjectReference = "reference" // a reference value, named set/kind/value
	ObjectVault     = "vault"     // a vault and its settings, named as in its URLs
	ObjectRoles     = "roles"     // role assignments of one principal, named by its id
	// ObjectAttestedRole says which machines have which role, by what they prove.
	ObjectAttestedRole = "attested-role"
	// ObjectRotation says when a key is rotated, named by the key's object id.
	ObjectRotation = "rotation"
	// ObjectFormatGrant lets a disk be made with a key version, once; see [FormatGrant].
	ObjectFormatGrant = "format-grant"
)

// ObjectKinds lists them: whoever verifies a store reads them all.
func ObjectKinds() []string {
	return []string{ObjectMachine, ObjectPrincipal, ObjectSetting, ObjectReference, ObjectVault, ObjectRoles, ObjectAttestedRole, ObjectRotation, ObjectFormatGrant}
}

// Object is a small document without secrets: an enrolled machine, a principal, a
// setting. Its row carries a MAC over every field, so an edited one is refused.
type Object struct {
	Kind, Name string
	Generation int64 // from 1, grows with every change
	Index      int64 // log index of the record that made this generation
	Value      []byte
}

// Objects keeps documents; every change has a record in the same transaction.
type Objects interface {
	// Object gives one. ReasonNotFound when there is none.
	Object(ctx context.Context, kind, name string) (*Object, error)
	// List gives those whose name sorts after `after`, in name order.
	List(ctx context.Context, kind, after string, limit int) ([]*Object, error)
	// ChangeObject replaces one in the transaction that appends rec. fn gets the
	// present object, nil when there is none, and gives the new value; its error
	// stops the change and nothing is written.
	ChangeObject(ctx context.Context, rec *Record, kind, name string, fn func(old *Object) ([]byte, error)) (*Committed, error)
}

// Enrolled is the value of a machine object.
type Enrolled struct {
	Status        string            `json:"status"`
	Labels        map[string]string `json:"labels,omitempty"`
	EKHash        []byte            `json:"ek_hash"` // SHA-256 of the EK's SPKI
	EKCertificate []byte            `json:"ek_certificate"`
	EKIssuer      string            `json:"ek_issuer"`
	EKSerial      string            `json:"ek_serial"`
	Created       int64             `json:"created"` // Unix seconds
	Updated       int64             `json:"updated"`
}

// EnrolledMachines reads machines from objects; it implements Machines.
type EnrolledMachines struct{ Objects }

// Machine implements Machines.
func (m EnrolledMachines) Machine(ctx context.Context, id string) (*Machine, error) {
	o, err := m.Object(ctx, ObjectMachine, id)
	if ReasonOf(err) == ReasonNotFound && err != nil {
		return nil, Refuse(ReasonMachineUnknown, "machine %s is not enrolled here", id)
	}
	if err != nil {
		return nil, err
	}
	var e Enrolled
	if err := json.Unmarshal(o.Value, &e); err != nil {
		return nil, Refuse(ReasonIntegrity, "machine %s: %w", id, err)
	}
	return &Machine{ID: id, Status: e.Status, Labels: e.Labels, Epoch: o.Generation}, nil
}
