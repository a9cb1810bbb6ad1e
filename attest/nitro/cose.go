package nitro

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"errors"
	"math/big"

	"github.com/openskr/openskr/attest/nitro/format"
)

const (
	tagSign1  = 18 // may be left out (RFC 9052 §2)
	coordSize = 48 // P-384
)

// es384 is the one protected header: {1: -35}, alg: ES384 (RFC 9053 §2.1).
const es384 = "\xa1\x01\x38\x22"

// sign1 is a COSE_Sign1 message. Its slices point into the parsed bytes.
type sign1 struct {
	payload, signature []byte
}

// parseSign1 reads exactly one message. Nobody signs what is around the payload, so
// there is one spelling of it: an array of four with a length, the protected header
// es384, and nothing in the unprotected one.
func parseSign1(b []byte) (*sign1, error) {
	var m sign1
	r := format.NewReader(b)
	r.Tag(tagSign1)
	if !r.Literal(format.AppendArray(nil, 4)) {
		return nil, errors.New("not a COSE_Sign1")
	}
	if h := r.Bytes(len(es384)); string(h) != es384 {
		return nil, errors.New("protected header is not ES384 and nothing else")
	}
	if !r.Literal(format.AppendMap(nil, 0)) {
		return nil, errors.New("unprotected header is not empty")
	}
	m.payload, m.signature = r.Bytes(MaxDocument), r.Bytes(2*coordSize)
	if err := r.Done(); err != nil {
		return nil, err
	}
	return &m, nil
}

// signedBy verifies over the Sig_structure (RFC 9052 §4.4). Verify refuses r and s
// outside [1, n-1]. Of a signature (r, s), (r, n-s) is good too: nothing may be known
// by its bytes.
func (m *sign1) signedBy(key *ecdsa.PublicKey) bool {
	if len(m.signature) != 2*coordSize {
		return false
	}
	tbs := format.AppendText(format.AppendArray(nil, 4), "Signature1")
	tbs = format.AppendBytes(tbs, []byte(es384))
	tbs = format.AppendBytes(tbs, []byte{})
	tbs = format.AppendBytes(tbs, m.payload)
	d := sha512.Sum384(tbs)
	r, s := new(big.Int).SetBytes(m.signature[:coordSize]), new(big.Int).SetBytes(m.signature[coordSize:])
	return ecdsa.Verify(key, d[:], r, s)
}
