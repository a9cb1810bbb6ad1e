package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/internal/strict"
)

// enrollBody is the body of POST /v1/enroll: one of the two.
type enrollBody struct {
	Begin  *format.EnrollRequest `json:"begin,omitempty"`
	Finish *format.EnrollProof   `json:"finish,omitempty"`
}

// Enroll proves this machine's TPM to the broker and keeps the AK certificate that
// it gets once it is approved. A machine that waits for approval has a result with
// status "pending" and no error. On any platform but a TPM it is [ErrNotNeeded]: there
// the evidence itself is the credential.
func (a *Agent) Enroll(ctx context.Context) (*format.EnrollResult, error) {
	tpm, ok := a.enrols()
	if !ok {
		return nil, fmt.Errorf("%w: %s evidence carries its own proof, ask for a key at once", ErrNotNeeded, a.device.Type())
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	a.checkClock()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.enroll(ctx, tpm)
}

// enroll does it; a.mu is held.
func (a *Agent) enroll(ctx context.Context, tpm *guest.TPM) (*format.EnrollResult, error) {
	req, err := tpm.EnrollRequest(ctx)
	if err != nil {
		return nil, err
	}
	begin, err := strict.Marshal(enrollBody{Begin: req})
	if err != nil {
		return nil, err
	}
	var res format.EnrollResult
	err = a.anyBroker(ctx, func(ctx context.Context, broker string) error {
		var c format.EnrollChallenge
		if err := a.post(ctx, broker, "/v1/enroll", begin, &c); err != nil {
			return err
		}
		secret, err := tpm.Activate(ctx, &c)
		defer clear(secret)
		if err != nil {
			return err
		}
		finish, err := strict.Marshal(enrollBody{Finish: &format.EnrollProof{State: c.State, Secret: secret}})
		if err != nil {
			return err
		}
		res = format.EnrollResult{}
		return a.post(ctx, broker, "/v1/enroll", finish, &res)
	})
	if err != nil {
		return nil, err
	}
	res.MachineID, res.Status = word(res.MachineID), word(res.Status)
	if len(res.Certificate) == 0 {
		return &res, nil
	}
	if err := a.usable(res.Certificate); err != nil {
		return nil, invalid("ak_certificate", "%w", err)
	}
	a.cert = res.Certificate
	a.keep()
	return &res, nil
}

// certificate gives the AK certificate at hand, or enrols for one; fresh says that
// it is new.
func (a *Agent) certificate(ctx context.Context, tpm *guest.TPM) (cert []byte, fresh bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cert == nil {
		a.cert = a.stored()
	}
	if a.cert != nil && a.usable(a.cert) == nil {
		return a.cert, false, nil
	}
	cert, err = a.enrolled(ctx, tpm)
	return cert, true, err
}

// renew enrols whatever is at hand.
func (a *Agent) renew(ctx context.Context, tpm *guest.TPM) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.enrolled(ctx, tpm)
}

// enrolled enrols and insists on a certificate; a.mu is held.
func (a *Agent) enrolled(ctx context.Context, tpm *guest.TPM) ([]byte, error) {
	res, err := a.enroll(ctx, tpm)
	switch {
	case err != nil:
		return nil, err
	case len(res.Certificate) > 0:
		return a.cert, nil
	case res.Status == "denied":
		return nil, &Refused{Status: 403, Code: "Forbidden", Reason: "machine_denied"}
	}
	return nil, fmt.Errorf("%w: an operator approves it with: openskr machine approve %s", ErrPending, res.MachineID)
}

// certificateSlack keeps a certificate from ending on its way to the broker.
const certificateSlack = time.Minute

// usable says whether a certificate is worth sending; the broker judges it.
func (a *Agent) usable(der []byte) error {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	if end := c.NotAfter.Add(-certificateSlack); a.now().After(end) {
		return fmt.Errorf("AK certificate ended at %s", c.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

const (
	certificateFile = "ak-certificate.der"
	maxCertificate  = 16 << 10
)

// stored reads the certificate of an earlier run, nil when there is none that can
// be read: then the machine enrols again.
func (a *Agent) stored() []byte {
	if a.cfg.State == "" {
		return nil
	}
	b, err := ReadBounded(filepath.Join(a.cfg.State, certificateFile), maxCertificate)
	if err == nil {
		return b
	}
	if !errors.Is(err, fs.ErrNotExist) {
		a.cfg.Notice("the stored AK certificate cannot be read: " + err.Error())
	}
	return nil
}

// keep stores the certificate for later runs. It is public: losing it costs one
// enrolment, so a full disk is a notice and no error.
func (a *Agent) keep() {
	if a.cfg.State == "" {
		return
	}
	if err := replace(a.cfg.State, certificateFile, a.cert); err != nil {
		a.cfg.Notice("the AK certificate could not be stored, the next run enrols again: " + err.Error())
	}
}

func replace(dir, name string, b []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
