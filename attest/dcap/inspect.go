package dcap

import (
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
)

// Inspect implements [attest.Inspector] for Intel's documents.
func (e *Evaluator) Inspect(need attest.Need, doc *attest.Document, at time.Time) (attest.Validity, error) {
	v, rej := e.inspect(need, doc, at)
	if rej != nil {
		return attest.Validity{}, rej
	}
	return v, nil
}

func (e *Evaluator) inspect(need attest.Need, doc *attest.Document, at time.Time) (v attest.Validity, rej *attest.Rejection) {
	if rej := checkSize(doc); rej != nil {
		return v, rej
	}
	switch need.Kind {
	case attest.NeedIntelTCB:
		tee, fmspc, _ := strings.Cut(need.ID, "/")
		info, rej := e.checkTCBInfo(doc, TEE(tee), at)
		if rej != nil {
			return v, rej
		}
		if p := (&PCK{FMSPC: [6]byte(info.FMSPC)}); p.FMSPCHex() != fmspc {
			return v, attest.Reject(attest.CheckCollateralInvalid, "TCB info is of FMSPC %s, not %.16q", p.FMSPCHex(), fmspc)
		}
		return info.validity(), nil
	case attest.NeedIntelQE:
		qe, rej := e.checkQEIdentity(doc, TEE(need.ID), at)
		if rej != nil {
			return v, rej
		}
		return qe.validity(), nil
	case attest.NeedIntelRootCRL:
		return e.inspectRootCRL(doc, at)
	case attest.NeedIntelPCKCRL:
		return e.inspectPCKCRL(need.ID, doc, at)
	}
	return v, attest.Reject(attest.CheckCollateralInvalid, "%.32q is no document of Intel", need.Kind)
}

// issueBits is how much of Validity.Number the issue date takes: seconds since 1970
// fit until the year 36812.
const issueBits = 40

func (d *dates) validity() attest.Validity {
	return attest.Validity{Issued: d.IssueDate, NextUpdate: d.NextUpdate, Number: d.Number<<issueBits | d.IssueDate.Unix()}
}

func (l *crl) validity() attest.Validity {
	v := attest.Validity{Issued: l.issued, NextUpdate: l.next}
	if l.number != nil && l.number.IsInt64() {
		v.Number = l.number.Int64()
	}
	return v
}

func (e *Evaluator) inspectRootCRL(doc *attest.Document, at time.Time) (v attest.Validity, rej *attest.Rejection) {
	for _, root := range e.roots {
		var l *crl
		switch l, rej = e.checkCRL(doc.Data, root, at); {
		case rej == nil:
			return l.validity(), nil
		case rej.Check == attest.CheckCollateralStale: // this root signed it, so that no other did
			return v, rej
		}
	}
	return v, rej
}

func (e *Evaluator) inspectPCKCRL(id string, doc *attest.Document, at time.Time) (v attest.Validity, rej *attest.Rejection) {
	certs, err := parsePEM(doc.Chain, 2)
	if err != nil {
		return v, attest.Reject(attest.CheckCollateralInvalid, "chain of the PCK CRL: %w", err)
	}
	if ca, err := caOf(certs[0].Subject.CommonName); err != nil || ca != id {
		return v, attest.Reject(attest.CheckCollateralInvalid, "CRL of %q is not that of the PCK %.16s CA", certs[0].Subject.CommonName, id)
	}
	if _, _, _, rej := e.roots.verify(certs, at); rej != nil {
		return v, attest.Reject(attest.CheckCollateralInvalid, "chain of the PCK CRL: %w", rej)
	}
	l, rej := e.checkCRL(doc.Data, certs[0], at)
	if rej != nil {
		return v, rej
	}
	return l.validity(), nil
}
