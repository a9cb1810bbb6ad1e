package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// certified is an attestation key that a QE certified, whose report a PCK signed,
// which chains to an anchor. It is the part of a quote that stays the same until the
// host's QE is updated or restarted, so it is kept.
type certified struct {
	key  *ecdsa.PublicKey // the attestation key
	root *x509.Certificate
	ca   *x509.Certificate
	leaf *x509.Certificate
	pck  *PCK
	qe   []byte // the QE's report, proven
}

// certify proves the quote's attestation key.
func (e *Evaluator) certify(q *Quote, at time.Time) (*certified, *attest.Rejection) {
	name := verified.Key(q.key, q.qe.raw)
	if c, ok := e.keys.Get(name, at); ok {
		return c, nil
	}
	certs, err := parsePEM(q.qe.chain, 3)
	if err != nil {
		return nil, attest.Reject(attest.CheckChainUntrusted, "PCK chain: %w", err)
	}
	root, from, end, rej := e.roots.verify(certs, at)
	if rej != nil {
		return nil, rej
	}
	c := &certified{leaf: certs[0], ca: certs[1], root: root, qe: bytes.Clone(q.qe.report)}
	if c.pck, rej = readPCK(c.leaf, c.ca); rej != nil {
		return nil, rej
	}
	pckKey, err := p256(c.leaf)
	if err != nil {
		return nil, attest.Reject(attest.CheckChainUntrusted, "%w", err)
	}
	if !verifyRaw(pckKey, q.qe.report, q.qe.signature) {
		return nil, attest.Reject(attest.CheckSignature, "the PCK did not sign the QE report")
	}
	h := sha256.New()
	h.Write(q.key)
	h.Write(q.qe.auth)
	if data := q.qe.report[320:]; !bytes.Equal(data[:32], h.Sum(nil)) || !zero(data[32:]) {
		return nil, attest.Reject(attest.CheckSignature, "the QE report does not name the attestation key")
	}
	if q.qe.report[48]&enclaveDebug != 0 {
		return nil, attest.Reject(attest.CheckQEIdentity, "the quoting enclave is in debug mode: anyone can read its key")
	}
	if c.key, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, q.key...)); err != nil {
		return nil, attest.Reject(attest.CheckSignature, "attestation key: %w", err)
	}
	e.keys.Put(name, c, from, end)
	return c, nil
}

// enclaveDebug is the bit of the first byte of an enclave's attributes (SDM, SECS).
const enclaveDebug = 0x02

func readPCK(leaf, ca *x509.Certificate) (*PCK, *attest.Rejection) {
	if leaf.IsCA || leaf.Subject.CommonName != "Intel SGX PCK Certificate" {
		return nil, attest.Reject(attest.CheckChainUntrusted, "%q is no PCK certificate", leaf.Subject.CommonName)
	}
	var der []byte
	for _, ext := range leaf.Extensions { // x509 refuses an extension that comes twice
		if ext.Id.Equal(sgxOID()) {
			der = ext.Value
		}
	}
	pck, err := parseExtension(der)
	if err == nil {
		pck.CA, err = caOf(ca.Subject.CommonName)
	}
	if err != nil {
		return nil, attest.Reject(attest.CheckChainUntrusted, "PCK certificate: %w", err)
	}
	pck.Serial = leaf.SerialNumber.Bytes()
	return pck, nil
}
