package enroll

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Operations of the records written here.
const (
	OpEnroll      = "machines/enroll"      // a machine appears
	OpApprove     = "machines/approve"     // a waiting one is approved by allow list or open enrolment
	OpCertificate = "machines/certificate" // an AK certificate is issued, or refused to a denied machine
)

// proven is a machine that opened its credential.
type proven struct {
	id string
	ak *tpm.AK
	ek *x509.Certificate
	spki,
	cert [32]byte // SHA-256 of the EK's SubjectPublicKeyInfo and certificate
}

// Finish takes the opened credential. A state works once and for StateLife,
// whatever the secret. The first proof makes the machine's row; a certificate is
// issued, and recorded, only to an approved machine. A denied one, by its row or by
// the deny list, learns its status and no more, and each attempt is a record; the deny
// list makes and changes no row. Errors: enroll_state_invalid,
// overloaded, and those of Objects and Log.
func (s *Service) Finish(ctx context.Context, proof format.EnrollProof) (*format.EnrollResult, error) {
	now := s.cfg.Now()
	m, err := s.prove(proof, now)
	if err != nil {
		return nil, err
	}
	if s.cfg.Denied(m.spki, m.cert) {
		return s.refuse(ctx, m, "deny_list")
	}
	row, err := s.row(ctx, m, now)
	if err != nil {
		return nil, err
	}
	res := &format.EnrollResult{MachineID: m.id, Status: row.Status}
	switch row.Status {
	case release.MachineApproved:
		res.Certificate, err = s.certify(ctx, m, now)
	case release.MachineDenied:
		return s.refuse(ctx, m, "status")
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

// refuse records an attempt of a denied machine, and by what it is denied.
func (s *Service) refuse(ctx context.Context, m *proven, by string) (*format.EnrollResult, error) {
	rec := s.record(ctx, m, OpCertificate)
	rec.Decision, rec.Reason = receipt.Deny, string(release.ReasonMachineDenied)
	rec.Detail["by"] = by
	if _, err := s.cfg.Log.Append(context.WithoutCancel(ctx), release.Entry{Record: rec}); err != nil {
		return nil, err
	}
	return &format.EnrollResult{MachineID: m.id, Status: release.MachineDenied}, nil
}

// prove opens the state and compares the secret: one answer for all that is wrong.
func (s *Service) prove(proof format.EnrollProof, now time.Time) (*proven, error) {
	invalid := func(err error) error { return release.Refuse(release.ReasonEnrollState, "%w", err) }
	st, err := s.state.open(proof.State)
	if err != nil {
		return nil, invalid(err)
	}
	if now.Unix() > st.Expires || now.Add(StateLife).Unix() < st.Expires {
		return nil, invalid(fmt.Errorf("state expires at %d, now is %d", st.Expires, now.Unix()))
	}
	switch err := s.used.add(st, now); {
	case errors.Is(err, errFull):
		return nil, &release.Error{Reason: release.ReasonOverloaded, Err: err, Retry: int(StateLife / time.Second)}
	case err != nil:
		return nil, invalid(err)
	}
	if got := sha256.Sum256(proof.Secret); subtle.ConstantTimeCompare(got[:], st.Proof[:]) != 1 {
		return nil, invalid(errors.New("secret is not that of the credential: EK and AK are not in one TPM"))
	}
	m := &proven{}
	if m.ak, err = tpm.ParseAK(st.AK); err != nil {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "%w", err)
	}
	if m.ek, err = x509.ParseCertificate(st.EKCertificate); err != nil {
		return nil, invalid(err)
	}
	m.spki, m.cert = sha256.Sum256(m.ek.RawSubjectPublicKeyInfo), sha256.Sum256(m.ek.Raw)
	m.id = MachineID(s.cfg.Pseudonym, m.spki)
	return m, nil
}

// errUnchanged stops a change that is not needed.
var errUnchanged = errors.New("unchanged")

// row gives the machine's row, made or approved now when the settings say so. A
// denied machine stays denied, an approved one approved.
func (s *Service) row(ctx context.Context, m *proven, now time.Time) (*release.Enrolled, error) {
	auto := s.approves(m)
	var row release.Enrolled
	rec := s.record(ctx, m, OpEnroll)
	_, err := s.cfg.Objects.ChangeObject(context.WithoutCancel(ctx), rec, release.ObjectMachine, m.id, func(old *release.Object) ([]byte, error) {
		if old == nil {
			row = release.Enrolled{
				Status: release.MachinePending, EKHash: m.spki[:], EKCertificate: m.ek.Raw,
				EKIssuer: m.ek.Issuer.String(), EKSerial: m.ek.SerialNumber.Text(16), Created: now.Unix(),
			}
		} else {
			if err := json.Unmarshal(old.Value, &row); err != nil {
				return nil, release.Refuse(release.ReasonIntegrity, "machine %s: %w", m.id, err)
			}
			if row.Status != release.MachinePending || auto == "" {
				return nil, errUnchanged
			}
			rec.Operation = OpApprove
		}
		if auto != "" {
			row.Status = release.MachineApproved
			rec.Detail["by"] = auto
		}
		row.Updated = now.Unix()
		rec.Detail["status"] = row.Status
		return json.Marshal(row)
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return nil, err
	}
	return &row, nil
}

// approves says what approves a machine without an operator, "" for nothing.
func (s *Service) approves(m *proven) string {
	switch {
	case s.cfg.AllowList(m.spki) || s.cfg.AllowList(m.cert):
		return "allow_list"
	case s.cfg.Open:
		return "open_enrollment"
	}
	return ""
}

// certify issues and records an AK certificate; without the record it is not given.
// It ends with the earliest of Life, the CA and the EK certificate.
func (s *Service) certify(ctx context.Context, m *proven, now time.Time) ([]byte, error) {
	serial := make([]byte, 16)
	if _, err := rand.Read(serial); err != nil {
		return nil, err
	}
	serial[0] = serial[0]&0x7f | 0x40 // positive, of full length
	until := now.Add(s.cfg.Life)
	for _, end := range []time.Time{s.cfg.CA.NotAfter, m.ek.NotAfter} {
		if end.Before(until) {
			until = end
		}
	}
	der, err := tpm.IssueAKCertificate(s.cfg.CA, s.cfg.CAKey, m.ak, tpm.AKCertificate{
		MachineID: m.id, AKName: m.ak.Name, EKHash: m.spki, EKCert: m.cert, Serial: new(big.Int).SetBytes(serial),
		NotBefore: now.Add(-time.Minute), NotAfter: until, // a replica's clock may be a little behind
	})
	if err != nil {
		return nil, fmt.Errorf("enroll: %w", err)
	}
	rec := s.record(ctx, m, OpCertificate)
	rec.Detail["serial"] = fmt.Sprintf("%x", serial)
	rec.Detail["sha256"] = fmt.Sprintf("%x", sha256.Sum256(der))
	if _, err := s.cfg.Log.Append(context.WithoutCancel(ctx), release.Entry{Record: rec}); err != nil {
		return nil, fmt.Errorf("AK certificate not recorded, withheld: %w", err)
	}
	return der, nil
}

func (s *Service) record(ctx context.Context, m *proven, op string) *release.Record {
	rec := s.cfg.Record(ctx, op)
	rec.V, rec.Kind, rec.Operation, rec.Door = 1, receipt.KindChange, op, string(release.DoorNative)
	rec.Caller = &receipt.Caller{Kind: "machine", ID: m.id}
	rec.Object = m.id
	rec.Detail = map[string]string{}
	return rec
}
