package agent

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/release/wrap"
)

// Attester is the hardware of this machine. It is used by one goroutine at a time.
// Evidence and NewRecipient may fail with [guest.ErrPCRsChanged]: start again with a
// new recipient.
type Attester interface {
	Type() attest.Type
	// NewRecipient makes a key for one release; the caller closes it.
	NewRecipient(ctx context.Context, kind RecipientKind) (Recipient, error)
	// Evidence collects evidence that covers what is asked. r is the recipient that
	// ask.RuntimeData names, nil for evidence of state only.
	Evidence(ctx context.Context, ask Ask, r Recipient) (attest.Evidence, error)
	Close() error
}

// Ask is what evidence has to cover.
type Ask struct {
	RuntimeData []byte // its SHA-256 is what the hardware signs
	// Nonce of RuntimeData, for hardware that signs one beside (Nitro); nil without
	// a broker.
	Nonce []byte
}

// Recipient is a key that opens one released key, once.
type Recipient interface {
	JWK() []byte // public key as it stands in the runtime data
	// Open unwraps what was wrapped with the algorithm of the kind, by package wrap. A
	// second Open fails. The caller clears the result.
	Open(ctx context.Context, info, aad, ciphertext []byte) ([]byte, error)
	Close() error
}

// What a program needs to name of package guest.
type (
	RecipientKind = guest.Kind
	Selection     = guest.Selection
)

// Kinds of recipient keys, see package guest. Where there is no TPM, all of the key
// is in the memory that the TEE encrypts.
const (
	Hybrid = guest.Hybrid
	P256   = guest.P256
	RSA    = guest.RSA
)

// algorithm is the wrap that a recipient of this kind takes, "" for no kind.
func algorithm(kind RecipientKind) string {
	switch kind {
	case Hybrid:
		return wrap.EncHPKEMLKEM768P256
	case P256:
		return wrap.EncHPKEP256
	case RSA:
		return wrap.EncRSA256
	}
	return ""
}

// DefaultSelection is sha256, PCRs 0 to 15.
func DefaultSelection() Selection { return guest.DefaultSelection() }

// ParsePCRs reads "0,1,7" or "sha384:0,1,7"; "" is [DefaultSelection].
func ParsePCRs(s string) (Selection, error) {
	if s == "" {
		return DefaultSelection(), nil
	}
	sel := Selection{Bank: "sha256"}
	if bank, list, ok := strings.Cut(s, ":"); ok {
		sel.Bank, s = bank, list
	}
	for _, n := range strings.Split(s, ",") {
		i, err := strconv.Atoi(n)
		if err != nil {
			return sel, fmt.Errorf("%.32q is no PCR", n)
		}
		sel.PCRs = append(sel.PCRs, i)
	}
	slices.Sort(sel.PCRs)
	return sel, sel.Validate()
}
