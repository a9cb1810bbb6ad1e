package dcap

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// qeIdentity is what Intel's quoting enclave for SGX or TDX looks like (PCS v4, "GET
// /qe/identity", version 2), checked.
type qeIdentity struct {
	dates          `json:",inline"`
	ID             string     `json:"id"`
	Version        int        `json:"version"`
	MiscSelect     hexBytes   `json:"miscselect"`
	MiscSelectMask hexBytes   `json:"miscselectMask"`
	Attributes     hexBytes   `json:"attributes"`
	AttributesMask hexBytes   `json:"attributesMask"`
	Signer         hexBytes   `json:"mrsigner"`
	ISVProdID      uint16     `json:"isvprodid"`
	Levels         []svnLevel `json:"tcbLevels"`

	signer *signer
}

func (e *Evaluator) qeIdentity(ctx context.Context, tee TEE, at time.Time) (*qeIdentity, *attest.Rejection) {
	doc, rej := e.fetch(ctx, attest.Need{Kind: attest.NeedIntelQE, ID: string(tee)})
	if rej != nil {
		return nil, rej
	}
	return e.checkQEIdentity(doc, tee, at)
}

func (e *Evaluator) checkQEIdentity(doc *attest.Document, tee TEE, at time.Time) (*qeIdentity, *attest.Rejection) {
	name := verified.Key([]byte(tee), doc.Data, doc.Chain)
	if qe, ok := e.qes.Get(name, at); ok {
		return qe, nil
	}
	raw, s, rej := e.verifySigned("enclaveIdentity", doc, at)
	if rej != nil {
		return nil, rej
	}
	qe, err := parseQEIdentity(raw, tee)
	if err != nil {
		return nil, attest.Reject(attest.CheckCollateralInvalid, "QE identity: %w", err)
	}
	if rej := current("QE identity", qe.IssueDate, qe.NextUpdate, at); rej != nil {
		return nil, rej
	}
	qe.signer = s
	from, end := s.within(&qe.dates)
	e.qes.Put(name, qe, from, end)
	return qe, nil
}

// parseQEIdentity reads the object that was signed.
func parseQEIdentity(raw []byte, tee TEE) (*qeIdentity, error) {
	var qe qeIdentity
	if err := json.Unmarshal(raw, &qe); err != nil {
		return nil, err
	}
	id := map[TEE]string{SGX: "QE", TDX: "TD_QE"}[tee]
	switch {
	case id == "" || qe.ID != id || qe.Version != 2:
		return nil, fmt.Errorf("id %.16q, version %d; want %s, 2", qe.ID, qe.Version, id)
	case len(qe.MiscSelect) != 4 || len(qe.MiscSelectMask) != 4 || len(qe.Attributes) != 16 || len(qe.AttributesMask) != 16 || len(qe.Signer) != 32:
		return nil, errLength
	}
	return &qe, checkLevels(qe.Levels)
}

// judge compares a QE report with the identity and gives its level.
func (qe *qeIdentity) judge(report []byte) (*grade, *attest.Rejection) {
	// SGX REPORT body (SDM vol. 3D, table 35-21). MISCSELECT is a little-endian number
	// there and a big-endian one in the document; both mean the same when reversed.
	misc := binary.BigEndian.AppendUint32(nil, binary.LittleEndian.Uint32(report[16:20]))
	product := binary.LittleEndian.Uint16(report[256:258])
	svn := binary.LittleEndian.Uint16(report[258:260])
	switch {
	case !bytes.Equal(report[128:160], qe.Signer):
		return nil, notQE("MRSIGNER", fmt.Sprintf("%x", qe.Signer), fmt.Sprintf("%x", report[128:160]))
	case product != qe.ISVProdID:
		return nil, notQE("ISVPRODID", fmt.Sprint(qe.ISVProdID), fmt.Sprint(product))
	case !maskedEqual(report[48:64], qe.AttributesMask, qe.Attributes):
		return nil, notQE("attributes", fmt.Sprintf("%x", qe.Attributes), fmt.Sprintf("%x", report[48:64]))
	case !maskedEqual(misc, qe.MiscSelectMask, qe.MiscSelect):
		return nil, notQE("MISCSELECT", fmt.Sprintf("%x", qe.MiscSelect), fmt.Sprintf("%x", misc))
	}
	g, ok := reached(qe.Levels, svn)
	if !ok {
		return nil, notQE("ISVSVN", "at least that of the lowest level", fmt.Sprint(svn))
	}
	return g, nil
}

func notQE(field, want, got string) *attest.Rejection {
	r := attest.Reject(attest.CheckQEIdentity, "the quoting enclave is not Intel's: %s", field)
	r.Expected, r.Got = want, got
	return r
}
