package dcap

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// tcbInfo is the TCB info of one FMSPC (PCS v4, "GET /tcb", version 3), checked.
type tcbInfo struct {
	dates      `json:",inline"`
	ID         string           `json:"id"`
	Version    int              `json:"version"`
	FMSPC      hexBytes         `json:"fmspc"`
	PCEID      hexBytes         `json:"pceId"`
	Type       int              `json:"tcbType"`
	Module     *moduleIdentity  `json:"tdxModule"`           // of TDX modules of major version 0
	Identities []moduleIdentity `json:"tdxModuleIdentities"` // of the others
	Levels     []platformLevel  `json:"tcbLevels"`

	signer *signer
}

type moduleIdentity struct {
	ID             string     `json:"id"`
	Signer         hexBytes   `json:"mrsigner"`
	Attributes     hexBytes   `json:"attributes"`
	AttributesMask hexBytes   `json:"attributesMask"`
	Levels         []svnLevel `json:"tcbLevels"`
}

type platformLevel struct {
	grade `json:",inline"`
	TCB   struct {
		SGX    []component `json:"sgxtcbcomponents"`
		TDX    []component `json:"tdxtcbcomponents"`
		PCESVN uint16      `json:"pcesvn"`
	} `json:"tcb"`
}

type component struct {
	SVN uint8 `json:"svn"`
}

func (e *Evaluator) tcbInfo(ctx context.Context, tee TEE, pck *PCK, at time.Time) (*tcbInfo, *attest.Rejection) {
	doc, rej := e.fetch(ctx, attest.Need{Kind: attest.NeedIntelTCB, ID: string(tee) + "/" + pck.FMSPCHex()})
	if rej != nil {
		return nil, rej
	}
	info, rej := e.checkTCBInfo(doc, tee, at)
	if rej != nil {
		return nil, rej
	}
	if !bytes.Equal(info.FMSPC, pck.FMSPC[:]) || !bytes.Equal(info.PCEID, pck.PCEID[:]) {
		r := attest.Reject(attest.CheckCollateralInvalid, "TCB info is of another kind of platform")
		r.Expected, r.Got = fmt.Sprintf("FMSPC %x, PCEID %x", pck.FMSPC, pck.PCEID), fmt.Sprintf("FMSPC %x, PCEID %x", info.FMSPC, info.PCEID)
		return nil, r
	}
	return info, nil
}

func (e *Evaluator) checkTCBInfo(doc *attest.Document, tee TEE, at time.Time) (*tcbInfo, *attest.Rejection) {
	name := verified.Key([]byte(tee), doc.Data, doc.Chain)
	if info, ok := e.tcbs.Get(name, at); ok {
		return info, nil
	}
	raw, s, rej := e.verifySigned("tcbInfo", doc, at)
	if rej != nil {
		return nil, rej
	}
	info, err := parseTCBInfo(raw, tee)
	if err != nil {
		return nil, attest.Reject(attest.CheckCollateralInvalid, "TCB info: %w", err)
	}
	if rej := current("TCB info", info.IssueDate, info.NextUpdate, at); rej != nil {
		return nil, rej
	}
	info.signer = s
	from, end := s.within(&info.dates)
	e.tcbs.Put(name, info, from, end)
	return info, nil
}

// parseTCBInfo reads the object that was signed. Members that Intel may add are left
// unread; version 3 says what those here mean.
func parseTCBInfo(raw []byte, tee TEE) (*tcbInfo, error) {
	var info tcbInfo
	if err := json.Unmarshal(raw, &info); err != nil {
		return nil, err
	}
	if info.Version != 3 || info.Type != 0 || info.ID != strings.ToUpper(string(tee)) {
		return nil, fmt.Errorf("id %.16q, version %d, type %d; want %s, 3, 0", info.ID, info.Version, info.Type, strings.ToUpper(string(tee)))
	}
	if len(info.FMSPC) != 6 || len(info.PCEID) != 2 {
		return nil, errLength
	}
	if n := len(info.Levels); n == 0 || n > maxLevels || len(info.Identities) > maxLevels {
		return nil, fmt.Errorf("%d levels and %d module identities, want 1 or 0 to %d", n, len(info.Identities), maxLevels)
	}
	for i := range info.Levels {
		t := &info.Levels[i].TCB
		if len(t.SGX) != 16 || len(t.TDX) != 16 && (tee == TDX || len(t.TDX) > 0) {
			return nil, fmt.Errorf("level %d has %d and %d components, want 16", i, len(t.SGX), len(t.TDX))
		}
	}
	if tee == TDX && info.Module == nil {
		return nil, fmt.Errorf("no tdxModule")
	}
	for i := range info.Identities {
		if err := checkLevels(info.Identities[i].Levels); err != nil {
			return nil, fmt.Errorf("module %.16q: %w", info.Identities[i].ID, err)
		}
	}
	return &info, nil
}

// platform gives the first level that every SVN of the platform reaches. The TDX
// module's own two SVNs count only for modules of major version 0; later ones have
// levels of their own (module).
func (info *tcbInfo) platform(pck *PCK, teeSVN []byte) (*grade, *attest.Rejection) {
	first := 0
	if len(teeSVN) > 0 && teeSVN[1] > 0 {
		first = 2
	}
	for i := range info.Levels {
		l := &info.Levels[i]
		if pck.PCESVN < l.TCB.PCESVN || below(pck.Components[:], l.TCB.SGX, 0) || len(teeSVN) > 0 && below(teeSVN, l.TCB.TDX, first) {
			continue
		}
		return &l.grade, nil
	}
	return nil, attest.Reject(attest.CheckTCBUnknown, "no TCB level covers components %x, PCESVN %d, TEE TCB SVN %x", pck.Components, pck.PCESVN, teeSVN)
}

func below(svns []byte, level []component, first int) bool {
	for i := first; i < len(level); i++ {
		if svns[i] < level[i].SVN {
			return true
		}
	}
	return false
}

// module finds the identity of the TDX module that a TD report names, compares it,
// and gives its level; nil for major version 0, whose level is the platform's.
func (info *tcbInfo) module(body []byte) (*grade, *attest.Rejection) {
	svn, major := body[0], body[1]
	identity := info.Module
	if major > 0 {
		name := fmt.Sprintf("TDX_%02X", major)
		if identity = info.identity(name); identity == nil {
			return nil, attest.Reject(attest.CheckTCBUnknown, "TCB info knows no TDX module %s", name)
		}
	}
	if rej := identity.matches(body[64:112], body[112:120]); rej != nil {
		return nil, rej
	}
	if major == 0 {
		return nil, nil
	}
	g, ok := reached(identity.Levels, uint16(svn))
	if !ok {
		return nil, attest.Reject(attest.CheckTCBUnknown, "no TCB level of %s covers SVN %d", identity.ID, svn)
	}
	return g, nil
}

func (info *tcbInfo) identity(name string) *moduleIdentity {
	for i := range info.Identities {
		if strings.EqualFold(info.Identities[i].ID, name) {
			return &info.Identities[i]
		}
	}
	return nil
}

// matches compares MRSIGNERSEAM and SEAMATTRIBUTES of a TD report.
func (m *moduleIdentity) matches(signer, attributes []byte) *attest.Rejection {
	if len(m.Signer) != len(signer) || len(m.Attributes) != len(attributes) || len(m.AttributesMask) != len(attributes) {
		return attest.Reject(attest.CheckCollateralInvalid, "TCB info, TDX module: %w", errLength)
	}
	if !bytes.Equal(signer, m.Signer) || !maskedEqual(attributes, m.AttributesMask, m.Attributes) {
		r := attest.Reject(attest.CheckTCBUnknown, "the TDX module is not Intel's")
		r.Expected, r.Got = fmt.Sprintf("signer %x, attributes %x", m.Signer, m.Attributes), fmt.Sprintf("signer %x, attributes %x", signer, attributes)
		return r
	}
	return nil
}

// maskedEqual says whether got, where mask has ones, is want.
func maskedEqual(got, mask, want []byte) bool {
	for i := range got {
		if got[i]&mask[i] != want[i] {
			return false
		}
	}
	return true
}
