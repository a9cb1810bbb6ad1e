// Package attest is the Verifier of RFC 9334: Evidence goes in, an Attestation
// Result comes out. It has no network, no files and no state; collateral
// arrives as Endorsements and the clock as [Expect.At].
//
// Verifying is not deciding. A [Result] says that the hardware signed this and
// what it says; whether that is good enough for a key is decided by the floor
// and the release policy (packages release and policies).
//
// To add a TEE: its [Type], one folder attest/<tee> with a Verifier and the Schema of
// its claims, its collecting half in attest/<tee>/guest, a line each in New and Schema
// of attest/all, and a test that calls attesttest.Run.
package attest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// Evidence is what an Attester sent, byte for byte.
type Evidence struct {
	Type         Type
	Body         []byte        // JSON object in the shape of the type's format package
	RuntimeData  []byte        // preimage of the signed report data (package binding)
	Endorsements []Endorsement // supplied by the Attester, untrusted until verified
}

// Endorsement is a certificate or collateral that came with the Evidence.
type Endorsement struct {
	Type string `json:"type"`
	Data Bytes  `json:"data"`
}

// Types of Endorsements.
const (
	// EndorsementAKCertificate is the DER certificate of a TPM's AK, which enrolment issued,
	// or of a vTPM's, which its cloud did.
	EndorsementAKCertificate = "ak-certificate"
	// EndorsementCertificate is certificates of the hardware's chain, DER or PEM, any
	// number in any order: the verifier finds the leaf by its key. Roots among them
	// are ignored; the verifier has its own.
	EndorsementCertificate = "certificate"
	// EndorsementCertificateTable is the table of a SEV-SNP host (GHCB 4.1.8.1), as
	// extended guest requests and configfs auxblob give it.
	EndorsementCertificateTable = "certificate-table"
)

// Expect is what Evidence is held against.
type Expect struct {
	// At is the time of appraisal; certificates must be valid then. Never zero.
	At time.Time
	// SignedData, when not nil, is compared with the raw value the hardware
	// signed (TPM extraData, Nitro nonce; SNP, TDX and SGX report data, where what is
	// shorter than 64 bytes is filled up with zeros) instead of the hash of the runtime
	// data. Only offline verification sets it: a release always binds runtime data.
	SignedData []byte
	// Unbound says that neither runtime data nor SignedData is given, so that
	// the Result reports its freshness as not checked. Only offline verification
	// sets it, and the floor refuses such a Result.
	Unbound bool
}

// Verifier verifies one type of Evidence. Every error is a [*Rejection].
// Implementations are safe for concurrent use and do not change the Evidence.
type Verifier interface {
	Verify(ctx context.Context, ev Evidence, want Expect) (*Result, error)
}

// Set dispatches on the type of the Evidence and is itself a Verifier.
type Set map[Type]Verifier

// Verify hands ev to the verifier of its type. A panic below it becomes a Rejection:
// Evidence is attacker-controlled and parsed by libraries.
func (s Set) Verify(ctx context.Context, ev Evidence, want Expect) (res *Result, err error) {
	v, ok := s[ev.Type]
	if !ok {
		return nil, Reject(CheckTypeUnsupported, "evidence type %.32q has no verifier here", ev.Type)
	}
	if want.At.IsZero() {
		return nil, Reject(CheckInternal, "no appraisal time given")
	}
	defer Contain(&err)
	return v.Verify(ctx, ev, want)
}

// Contain is deferred by what hands a stranger's bytes to a verifier: it makes err a
// Rejection of a panic below.
func Contain(err *error) {
	if p := recover(); p != nil {
		*err = Reject(CheckInternal, "the verifier panicked: %v", p)
	}
}

// Bytes is binary data that JSON carries as base64url without padding, in its
// one canonical spelling: padding, the other alphabet, white space and non-zero
// spare bits are refused, so that equal bytes have equal text.
type Bytes []byte

// MarshalText implements [encoding.TextMarshaler].
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b64.EncodeToString(b)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bytes) UnmarshalText(text []byte) error {
	// The decoder skips line breaks; canonical text has none.
	if bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, '\n') >= 0 {
		return errors.New("not canonical base64url: line break")
	}
	out := make([]byte, b64.DecodedLen(len(text)))
	n, err := b64.Decode(out, text)
	if err != nil {
		return fmt.Errorf("not canonical base64url: %w", err)
	}
	*b = out[:n]
	return nil
}
