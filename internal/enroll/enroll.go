// Package enroll is the broker's half of the enrolment of a TPM (design: D16): an
// EK certificate that chains to a configured manufacturer, and proof by credential
// activation that the AK lives in the TPM of that EK, are answered with a
// short-lived AK certificate, once an operator has approved the machine.
//
//	Begin   EK, certificate, AK  →  credential for (EK, AK name), sealed state
//	Finish  state, secret        →  machine row; AK certificate when approved
//
// Between the two the broker keeps nothing. Nothing about a machine is looked up,
// told or written before its proof.
package enroll

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/release"
)

// Limits.
const (
	MaxLife   = 24 * time.Hour   // of an AK certificate
	StateLife = 60 * time.Second // to open the credential
	// maxBurned bounds the states remembered as used; more answer overloaded.
	maxBurned = 1 << 16

	keySize    = 32
	secretSize = 32
)

// Log is the part of release.Log that enrolment needs. Refusals of strangers are
// counted by the door, from the returned error.
type Log interface {
	Append(ctx context.Context, e release.Entry) (*release.Committed, error)
}

// Config of a Service. AllowList, Denied, Open and Life have defaults; the rest is required.
type Config struct {
	EKRoots *x509.CertPool    // whose TPMs may enrol
	CA      *x509.Certificate // AK CA, of its own key, never of TLS
	CAKey   crypto.Signer
	Key     []byte // seals the state, 32 bytes
	// Pseudonym keys machine ids, 32 bytes: the log shows no EK.
	Pseudonym []byte
	Objects   release.Objects
	Log       Log // certificates, and refusals of denied machines
	// AllowList approves machines by the SHA-256 of the EK's SubjectPublicKeyInfo or
	// of its certificate. nil: none.
	AllowList func(hash [32]byte) bool
	// Denied is the operator's deny list, by the SHA-256 of the EK's
	// SubjectPublicKeyInfo and of its certificate. It wins over AllowList, Open and the
	// machine's row. nil: none.
	Denied func(spki, cert [32]byte) bool
	// Open approves every genuine TPM. An explicit setting, shown by /readyz.
	Open       bool
	Deployment string
	// Record gives a record of an operation with deployment, configuration, binary
	// and the call's correlation filled in.
	Record func(ctx context.Context, op string) *release.Record
	Now    func() time.Time
	Life   time.Duration // of an AK certificate, at most and by default MaxLife
}

// Service enrols machines. It is safe for concurrent use.
type Service struct {
	cfg   Config
	state *sealer
	used  burned
}

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Life == 0 {
		c.Life = MaxLife
	}
	if c.AllowList == nil {
		c.AllowList = func([32]byte) bool { return false }
	}
	if c.Denied == nil {
		c.Denied = func(_, _ [32]byte) bool { return false }
	}
	switch {
	case c.EKRoots == nil || c.CA == nil || c.CAKey == nil || c.Objects == nil || c.Log == nil ||
		c.Deployment == "" || c.Record == nil || c.Now == nil:
		return nil, errors.New("enroll: a part is missing")
	case len(c.Key) != keySize || len(c.Pseudonym) != keySize:
		return nil, fmt.Errorf("enroll: keys must have %d bytes", keySize)
	case c.Life < time.Minute || c.Life > MaxLife:
		return nil, fmt.Errorf("enroll: certificate life %v, want one minute to %v", c.Life, MaxLife)
	}
	state, err := newSealer(c.Key, c.Deployment)
	if err != nil {
		return nil, err
	}
	return &Service{cfg: c, state: state}, nil
}

// Begin verifies the EK certificate and the AK's attributes, and makes a credential
// that opens only in the TPM that holds both. The answer has neither machine id nor
// status. Errors: ek_not_trusted, ak_not_trusted, evidence_malformed.
func (s *Service) Begin(_ context.Context, req format.EnrollRequest) (c *format.EnrollChallenge, err error) {
	defer func() {
		if p := recover(); p != nil { // libraries read what a stranger sent
			c, err = nil, attest.Reject(attest.CheckInternal, "enrolment panicked: %v", p)
		}
	}()
	ak, err := tpm.ParseAK(req.AK)
	if err != nil {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "%w", err)
	}
	chain := make([][]byte, len(req.Intermediates))
	for i, c := range req.Intermediates {
		chain[i] = c
	}
	now := s.cfg.Now()
	ek, err := tpm.VerifyEK(req.EKPublic, req.EKCertificate, chain, s.cfg.EKRoots, now)
	if err != nil {
		return nil, notTrusted(err)
	}
	secret := make([]byte, secretSize)
	defer clear(secret)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	key, err := tpm2.ImportEncapsulationKey(ek.PublicArea)
	if err != nil {
		return nil, release.Refuse(release.ReasonEKNotTrusted, "EK cannot take a credential: %w", err)
	}
	credential, encrypted, err := tpm2.CreateCredential(rand.Reader, key, ak.Name, secret)
	if err != nil {
		return nil, release.Refuse(release.ReasonEKNotTrusted, "credential: %w", err)
	}
	st := state{AK: ak.Raw, EKCertificate: ek.Certificate.Raw, Proof: sha256.Sum256(secret), Expires: now.Add(StateLife).Unix()}
	sealed, err := s.state.seal(&st)
	if err != nil {
		return nil, err
	}
	return &format.EnrollChallenge{Credential: credential, Secret: encrypted, State: sealed}, nil
}

// notTrusted gives every doubt about an EK one code, and leaves a malformed request
// what it is.
func notTrusted(err error) error {
	if release.ReasonOf(err).Class() == release.ClassBad {
		return err
	}
	return release.Refuse(release.ReasonEKNotTrusted, "%w", err)
}

// MachineID is the pseudonym of an EK: 32 hex digits of HMAC-SHA256 over the
// SHA-256 of its SubjectPublicKeyInfo.
func MachineID(pseudonym []byte, ekHash [32]byte) string {
	h := hmac.New(sha256.New, pseudonym)
	h.Write(ekHash[:])
	return hex.EncodeToString(h.Sum(nil)[:16])
}
