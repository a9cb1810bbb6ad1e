package token

import (
	"encoding/hex"
	"slices"

	"github.com/openskr/openskr/attest"
)

// service is what differs between the kinds of tokens.
type service interface {
	// bound says whether what the service vouches for covers the runtime data.
	bound(claims object, runtimeData []byte) bool
	// nonces is what offline verification compares with SignedData, as text.
	nonces(claims object) []string
	// appraise reads the claims, and refuses a token whose verdict is against its machine.
	appraise(claims object) (*statement, *attest.Rejection)
}

// statement is what a token says about its machine.
type statement struct {
	subject           string // what names the machine, "" where nothing does
	debugOn, debugOff bool   // neither: not said
	migratable        bool
	belowVMPL0        bool // an SNP report that another privilege level than 0 asked for, or nobody says which
	tcb               string
	claims            attest.Claims
	detail            map[string]any // native detail, under the name of the kind
}

func newStatement() *statement {
	return &statement{claims: attest.Claims{}, detail: map[string]any{}}
}

// debug notes one thing that is said about debugging: a single yes counts.
func (s *statement) debug(on, said bool) {
	s.debugOn = s.debugOn || said && on
	s.debugOff = s.debugOff || said && !on
}

// debugStatus notes an EAT dbgstat (RFC 9711 §4.2.9). What is not one of its words for
// disabled counts as enabled.
func (s *statement) debugStatus(r reader) {
	if word, ok := r.text("dbgstat"); ok {
		s.debug(!slices.Contains([]string{"disabled", "disabled-since-boot", "disabled-permanently", "disabled-fully-and-permanently"}, word), true)
	}
}

// Bits of TD attributes (Intel TDX module ABI), which tokens carry in memory order.
const (
	tdDebugByte, tdDebugBit           = 0, 0
	tdMigratableByte, tdMigratableBit = 3, 5 // bit 29
)

// trustDomain notes what a TDX token says by flag, by word and by the attributes
// themselves: the worst counts.
func (s *statement) trustDomain(r reader) {
	s.debug(r.boolean("tdx_is_debuggable"))
	s.debug(r.boolean("tdx_td_attributes_debug"))
	s.debugStatus(r)
	if text, ok := r.hex("tdx_td_attributes", 8); ok {
		s.attributes(text)
	} else { // nothing says that it stays where it is
		s.migratable = true
	}
	s.level(r, "attester_tcb_status")
}

// attributes notes TD attributes, 8 bytes in hex.
func (s *statement) attributes(text string) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 8 {
		return
	}
	s.debug(b[tdDebugByte]>>tdDebugBit&1 == 1, true)
	s.migratable = s.migratable || b[tdMigratableByte]>>tdMigratableBit&1 == 1
}

// level notes Intel's word for the TCB level of a platform of Intel's. Without one it
// is unknown, which the floor refuses.
func (s *statement) level(r reader, name string) {
	s.tcb = attest.TCBUnknown
	if word, ok := r.text(name); ok && slices.Contains(tcbWords(), word) {
		s.tcb = word
	}
}

// tcbWords is Intel's (Provisioning Certification Service, TCB info v3).
func tcbWords() []string {
	return []string{
		attest.TCBUpToDate, "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded",
		"OutOfDate", "OutOfDateConfigurationNeeded", attest.TCBRevoked,
	}
}

// describe is the claims of a statement with those of the token itself.
func (t *signed) describe(s *statement) attest.Claims {
	about := map[string]any{"issuer": t.issuer.name(), "kind": t.issuer.Kind, "iat": t.times.issued}
	if t.times.expires != 0 {
		about["exp"] = t.times.expires
	}
	if id, ok := read(t.claims).text("jti"); ok {
		about["jti"] = id
	}
	s.claims["token"] = about
	if len(s.detail) > 0 {
		s.claims[t.issuer.Kind] = s.detail
	}
	return s.claims
}
