package attest

import (
	"context"
	"time"
)

// Endorser gives what an authority publishes about its hardware (RFC 9334 §4.1):
// certificates, revocation lists, TCB levels. It is a verifier's only way out; it
// chooses addresses itself, never from Evidence. What it gives is untrusted until
// the verifier has checked its signature and time.
//
// An error means that the document cannot be had now, which is not a verdict on the
// Evidence: the verifier rejects with [CheckCollateralUnavailable]. It is safe for
// concurrent use.
type Endorser interface {
	Endorse(ctx context.Context, need Need) (*Document, error)
}

// Need names one document in the words of its authority. It is a map key.
type Need struct {
	Kind NeedKind
	ID   string
}

// NeedKind is the closed list of documents.
type NeedKind string

// The kinds and their IDs.
const (
	// A VCEK, DER. ID: the path that AMD's Key Distribution Service knows it by behind
	// /vcek/v1/, "Milan/<hwid hex>?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"; Turin has
	// fmcSPL in front.
	NeedAMDVCEK NeedKind = "amd-vcek"
	// The CRL of a product, DER. ID: "vcek/Milan" or "vlek/Milan".
	NeedAMDCRL NeedKind = "amd-crl"
	// TCB info, the JSON of Intel's Provisioning Certification Service v4, chain in
	// Document.Chain. ID: "tdx/<fmspc>" or "sgx/<fmspc>", FMSPC in lower-case hex.
	NeedIntelTCB NeedKind = "intel-tcb"
	// QE identity, as TCB info. ID: "tdx" or "sgx".
	NeedIntelQE NeedKind = "intel-qe-identity"
	// CRL of a PCK CA, DER, chain in Document.Chain. ID: "platform" or "processor".
	NeedIntelPCKCRL NeedKind = "intel-pck-crl"
	// CRL of the Intel SGX Root CA, DER. ID: "".
	NeedIntelRootCRL NeedKind = "intel-root-crl"
	// Keys of a token issuer, a JWK set. ID: the issuer as its tokens name it; only
	// configured issuers are ever asked.
	NeedJWKS NeedKind = "jwks"
)

// Document is one answer, byte for byte as its authority sent it.
type Document struct {
	Data    []byte
	Chain   []byte    // PEM, leaf first, where the authority sends one beside the data
	Fetched time.Time // when it was got from the authority, or imported
}

// Inspector checks a Document without Evidence, for a store that must refuse what is
// forged and go back to nothing older. A [*Rejection] is the only error.
type Inspector interface {
	Inspect(need Need, doc *Document, at time.Time) (Validity, error)
}

// Validity is what a checked Document says about itself.
type Validity struct {
	Issued     time.Time
	NextUpdate time.Time // after it, the document proves nothing
	// Number grows with every issue: CRL number, TCB evaluation data number with the
	// issue date behind it; 0 where there is none.
	Number int64
}
