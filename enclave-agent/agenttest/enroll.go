package agenttest

import (
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest/tpm/format"
)

// enroll does credential activation with whatever EK it is shown.
func (b *Broker) enroll(body []byte) (any, error) {
	var req struct {
		Begin  *format.EnrollRequest
		Finish *format.EnrollProof
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	if req.Begin != nil {
		return b.begin(req.Begin)
	}
	if req.Finish == nil || string(req.Finish.State) != "state" || subtle.ConstantTimeCompare(req.Finish.Secret, b.secret) != 1 {
		return nil, errors.New("credential not opened")
	}
	b.Enrolled++
	res := format.EnrollResult{MachineID: "m1", Status: b.Enrollment}
	if b.Enrollment != "approved" {
		return res, nil
	}
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](b.ak)
	if err != nil {
		return nil, err
	}
	pub, err := tpm2.Pub(*area)
	if err != nil {
		return nil, err
	}
	res.Certificate, err = b.ca.issue(pub, &x509.Certificate{Subject: pkix.Name{CommonName: "m1"}})
	return res, err
}

func (b *Broker) begin(req *format.EnrollRequest) (any, error) {
	ek, err := tpm2.Unmarshal[tpm2.TPMTPublic](req.EKPublic)
	if err != nil {
		return nil, err
	}
	ak, err := tpm2.Unmarshal[tpm2.TPMTPublic](req.AK)
	if err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(ak)
	if err != nil {
		return nil, err
	}
	key, err := tpm2.ImportEncapsulationKey(ek)
	if err != nil {
		return nil, err
	}
	b.ak, b.secret = req.AK, make([]byte, 32)
	_, _ = rand.Read(b.secret)
	id, sec, err := tpm2.CreateCredential(rand.Reader, key, name.Buffer, b.secret)
	if err != nil {
		return nil, err
	}
	return format.EnrollChallenge{Credential: id, Secret: sec, State: []byte("state")}, nil
}
