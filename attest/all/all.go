// Package all is the list of TEEs this build verifies: one line each.
package all

import (
	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
)

// Config is what the verifiers trust.
type Config struct {
	TPM tpm.Config
}

// Verifiers makes the Set of verifiers.
func Verifiers(c Config) (attest.Set, error) {
	tpmVerifier, err := tpm.New(c.TPM)
	if err != nil {
		return nil, err
	}
	return attest.Set{
		attest.TypeTPM: tpmVerifier,
	}, nil
}
