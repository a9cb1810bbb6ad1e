package dcap

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/strict"
)

// tcbSigner is the subject of the certificate that signs TCB info and QE identities.
const tcbSigner = "Intel SGX TCB Signing"

// hexBytes is binary data that collateral carries as hex, in either case.
type hexBytes []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// dates are those of every signed document.
type dates struct {
	IssueDate  time.Time `json:"issueDate"`
	NextUpdate time.Time `json:"nextUpdate"`
	Number     int64     `json:"tcbEvaluationDataNumber"`
}

// grade is what a TCB level says, apart from what it takes to reach it.
type grade struct {
	Date       time.Time `json:"tcbDate"`
	Status     string    `json:"tcbStatus"`
	Advisories []string  `json:"advisoryIDs"`
}

// svnLevel is a level that one security version number reaches.
type svnLevel struct {
	grade `json:",inline"`
	TCB   struct {
		ISVSVN uint16 `json:"isvsvn"`
	} `json:"tcb"`
}

// reached gives the first level at or below svn: levels come highest first.
func reached(levels []svnLevel, svn uint16) (*grade, bool) {
	for i := range levels {
		if svn >= levels[i].TCB.ISVSVN {
			return &levels[i].grade, true
		}
	}
	return nil, false
}

// signer is the certificate that signed a document, verified.
type signer struct {
	cert      *x509.Certificate
	root      *x509.Certificate
	from, end time.Time
}

// verifySigned proves a document {"<name>": {…}, "signature": "<hex>"}: the signature
// is over the bytes of the inner object as they stand, by a TCB signing certificate
// right below an anchor. It gives these bytes.
func (e *Evaluator) verifySigned(name string, doc *attest.Document, at time.Time) ([]byte, *signer, *attest.Rejection) {
	var outer map[string]jsontext.Value
	if err := strict.Unmarshal(doc.Data, maxDocument, &outer); err != nil {
		return nil, nil, attest.Reject(attest.CheckCollateralInvalid, "%s: %w", name, err)
	}
	var signature hexBytes
	if err := json.Unmarshal(outer["signature"], &signature); err != nil || len(signature) != signatureSize || len(outer) != 2 || outer[name] == nil {
		return nil, nil, attest.Reject(attest.CheckCollateralInvalid, "%s: want the object and a signature of %d bytes", name, signatureSize)
	}
	s, rej := e.verifySigner(doc.Chain, at)
	if rej != nil {
		return nil, nil, rej
	}
	key, err := p256(s.cert)
	if err != nil || !verifyRaw(key, outer[name], signature) {
		return nil, nil, attest.Reject(attest.CheckCollateralInvalid, "%s: the signature does not hold", name)
	}
	return outer[name], s, nil
}

// verifySigner proves the chain of a document. An expired one is stale collateral,
// not an expired machine.
func (e *Evaluator) verifySigner(chain []byte, at time.Time) (*signer, *attest.Rejection) {
	certs, err := parsePEM(chain, 2)
	if err != nil {
		return nil, attest.Reject(attest.CheckCollateralInvalid, "TCB signing chain: %w", err)
	}
	if certs[0].IsCA || certs[0].Subject.CommonName != tcbSigner {
		return nil, attest.Reject(attest.CheckCollateralInvalid, "%q does not sign TCB information", certs[0].Subject.CommonName)
	}
	root, from, end, rej := e.roots.verify(certs, at)
	if rej != nil {
		check := attest.CheckCollateralInvalid
		if rej.Check == attest.CheckChainExpired {
			check = attest.CheckCollateralStale
		}
		return nil, attest.Reject(check, "TCB signing chain: %w", rej)
	}
	return &signer{certs[0], root, from, end}, nil
}

// within gives the part of the document's own period in which its signer is valid.
func (s *signer) within(d *dates) (from, end time.Time) {
	from, end = s.from, s.end
	if d.IssueDate.After(from) {
		from = d.IssueDate
	}
	if d.NextUpdate.Before(end) {
		end = d.NextUpdate
	}
	return from, end
}

func checkLevels(levels []svnLevel) error {
	if len(levels) == 0 || len(levels) > maxLevels {
		return fmt.Errorf("%d levels, want 1 to %d", len(levels), maxLevels)
	}
	return nil
}

// maxLevels bounds every list in collateral. Real ones have up to twenty levels.
const maxLevels = 256

var errLength = errors.New("a hexadecimal value has a wrong length")
