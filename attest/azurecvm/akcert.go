package azurecvm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/tpm"
)

const cacheSize = 4096 // AK certificates

// certified verifies the AK's certificate, where the evidence carries one; without, it
// gives nil. The hardware's report vouches for the AK in any case: the certificate
// adds that Azure runs the machine, and one that does not hold refuses the evidence.
func (v *Verifier) certified(ak *tpm.AK, ends []attest.Endorsement, at time.Time) (*tpm.ExternalAK, *attest.Rejection) {
	if !slices.ContainsFunc(ends, isAKCertificate) {
		return nil, nil
	}
	sent, rej := tpm.ReadAKEndorsements(ends)
	if rej != nil {
		return nil, rej
	}
	key := sent.Key()
	c, ok := v.certs.Get(key, at)
	if !ok {
		if c, rej = sent.Verify(v.cfg.AKRoots, v.cfg.AKIntermediates, at); rej != nil {
			if rej.Check == attest.CheckChainUntrusted {
				rej.Err = fmt.Errorf("%w: the certificates above it come with the evidence (--ak-chain of the agent), or are known here (microsoft_roots)", rej.Err)
			}
			return nil, rej
		}
		if err := format.CheckAKCertificate(c.Certificate); err != nil {
			return nil, attest.Reject(attest.CheckAKNotTrusted, "%w", err)
		}
		v.certs.Put(key, c, c.From, c.To)
	}
	if !c.Covers(ak) {
		return nil, attest.Reject(attest.CheckNotLinked, "the AK certificate is not for the AK that the hardware's report names")
	}
	return c, nil
}

func isAKCertificate(e attest.Endorsement) bool {
	return e.Type == attest.EndorsementAKCertificate
}

// theirs leaves out the AK's certificate, which the hardware's verifiers do not know.
func theirs(ends []attest.Endorsement) []attest.Endorsement {
	return slices.DeleteFunc(slices.Clone(ends), isAKCertificate)
}

// certificateClaims say whose word the AK's certificate is.
func certificateClaims(c *tpm.ExternalAK) map[string]any {
	root := sha256.Sum256(c.Root.Raw)
	return map[string]any{
		"root":      hex.EncodeToString(root[:]),
		"authority": c.Authority,
		"issuer":    c.Certificate.Issuer.String(),
		"subject":   c.Certificate.Subject.String(),
	}
}
