package token

import (
	"bytes"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
)

// maa is Microsoft Azure Attestation (wire.md §5.7).
type maa struct{}

// Values of x-ms-attestation-type.
const (
	maaSNP = "sevsnpvm"
	maaTDX = "tdxvm"
	maaSGX = "sgx"
	maaVM  = "azurevm"
)

// bound: the service parses the runtime data whose hash it finds in the hardware's
// report into x-ms-runtime, and shows it as x-ms-sgx-ehd where an enclave called it
// binary. The x-ms-runtime of an Azure guest is another thing: its client-payload is
// whatever the client sent beside the evidence, and its quote carries no nonce, so that
// such a token binds nothing.
func (maa) bound(claims object, runtimeData []byte) bool {
	r := read(claims)
	switch typ, _ := r.text("x-ms-attestation-type"); typ {
	case maaSGX:
		if held, ok := r.text("x-ms-sgx-ehd"); ok {
			var b attest.Bytes
			return b.UnmarshalText([]byte(held)) == nil && len(b) > 0 && bytes.Equal(b, runtimeData)
		}
	case maaSNP, maaTDX:
	default:
		return false
	}
	return equal(claims["x-ms-runtime"], runtimeData, binding.MaxSize)
}

// nonces: the request's nonce, which clients send as text or as a number of up to 64
// bits; it is compared as the digits stand.
func (maa) nonces(claims object) []string {
	r := read(claims)
	if n, ok := r.text("nonce"); ok {
		return []string{n}
	}
	if claims["nonce"].Kind() == '0' {
		return []string{string(claims["nonce"])}
	}
	return nil
}

func (maa) appraise(claims object) (*statement, *attest.Rejection) {
	s, r := newStatement(), read(claims)
	copyClaims(s.claims, r, maaNames())
	typ, _ := r.text("x-ms-attestation-type")
	if typ == maaVM {
		s.azureVM(r)
	} else if !s.hardware(s.claims, r, typ) {
		return nil, attest.Reject(attest.CheckTypeNotAllowed, "token of x-ms-attestation-type %.32q", typ)
	}
	if err := r.failed(); err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "token: %w", err)
	}
	return s, nil
}

// hardware reads the claims of one kind of hardware, by Azure's names. It knows the
// kind or does nothing.
func (s *statement) hardware(to map[string]any, r reader, typ string) bool {
	switch typ {
	case maaSNP:
		copyClaims(to, r, snpNames())
		s.debug(r.boolean(snpPrefix + "is-debuggable"))
		moves, said := r.boolean(snpPrefix + "migration-allowed")
		s.migratable = s.migratable || moves || !said
		level, said := r.integer(snpPrefix + "vmpl")
		s.belowVMPL0 = !said || level != 0
	case maaTDX:
		copyClaims(to, r, tdxNames())
		s.trustDomain(r)
	case maaSGX:
		copyClaims(to, r, sgxNames())
		s.debug(r.boolean(sgxPrefix + "is-debuggable"))
		s.debugStatus(r)
		s.level(r, "attester_tcb_status")
	default:
		return false
	}
	return true
}

// azureVM reads the token of an Azure guest: a TPM's quote with its log, and for a
// confidential VM the hardware's report below x-ms-isolation-tee.
func (s *statement) azureVM(r reader) {
	copyClaims(s.claims, r, vmNames())
	for _, name := range []string{"bootdebug-enabled", "kerneldebug-enabled", "hypervisordebug-enabled"} {
		s.debug(r.boolean(vmPrefix + name))
	}
	s.subject, _ = r.text(vmPrefix + "vmid")

	unverified := map[string]any{}
	copyClaims(unverified, r, clientNames())
	if payload := r.object("x-ms-runtime").object("client-payload"); len(payload.members) > 0 {
		values := map[string]any{}
		for name := range payload.members {
			if v, ok := payload.text(name); ok {
				values[name] = v
			}
		}
		unverified["client-payload"] = values
	}
	if len(unverified) > 0 {
		s.claims["unverified"] = unverified
	}
	if !r.has("x-ms-isolation-tee") { // an ordinary machine with a vTPM, which its cloud moves
		s.migratable = true
		return
	}
	inner, tee := map[string]any{}, r.object("x-ms-isolation-tee")
	copyClaims(inner, tee, maaNames())
	typ, _ := tee.text("x-ms-attestation-type")
	s.debugOff = false // the hardware must say so itself
	if typ == maaSGX || !s.hardware(inner, tee, typ) {
		tee.fail("x-ms-attestation-type", "sevsnpvm or tdxvm")
		return
	}
	configuration := map[string]any{}
	copyClaims(configuration, tee.object("x-ms-runtime").object("vm-configuration"), vmConfiguration())
	if len(configuration) > 0 {
		inner["x-ms-runtime"] = map[string]any{"vm-configuration": configuration}
	}
	s.claims["x-ms-isolation-tee"] = inner
}
