package tpm

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// An AK certificate has its own purpose, so that it is never taken for a TLS
// certificate, and three extensions that no other certificate carries. Their
// numbers are below the arc for private use without registration: only brokers
// of the deployment that issued them read these certificates.
var (
	oidKeyPurposeAIK = asn1.ObjectIdentifier{2, 23, 133, 8, 3} // tcg-kp-AIKCertificate
	oidAKName        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 2, 1}
	oidEKHash        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 2, 2}
	oidEKCert        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 2, 3}
)

// AuthorityAKCA is the Result.Authority of an AK that this deployment enrolled.
const AuthorityAKCA = "ak-ca"

// AKCertificate is what enrolment says about an AK. Name and hashes are covered
// by the certificate; MachineID is its common name.
type AKCertificate struct {
	MachineID           string
	AKName              []byte   // must be the AK's
	EKHash              [32]byte // SHA-256 of the EK's SubjectPublicKeyInfo
	EKCert              [32]byte // SHA-256 of the EK's certificate (DER)
	NotBefore, NotAfter time.Time
	Serial              *big.Int
}

// IssueAKCertificate certifies ak, whose possession and residence the caller has
// proven by credential activation. The DER is an Endorsement of type
// attest.EndorsementAKCertificate.
func IssueAKCertificate(caCert *x509.Certificate, caKey crypto.Signer, ak *AK, c AKCertificate) ([]byte, error) {
	if ak == nil || !bytes.Equal(c.AKName, ak.Name) {
		return nil, errors.New("AK certificate: the name to certify is not the AK's")
	}
	if c.MachineID == "" || len(c.MachineID) > 64 || c.Serial == nil || c.Serial.Sign() <= 0 || !c.NotAfter.After(c.NotBefore) {
		return nil, errors.New("AK certificate: machine id of 1 to 64 bytes, positive serial and a period are required")
	}
	if err := checkCA(caCert); err != nil {
		return nil, err
	}
	name, err := asn1.Marshal(ak.Name)
	if err != nil {
		return nil, err
	}
	hash, err := asn1.Marshal(c.EKHash[:])
	if err != nil {
		return nil, err
	}
	ekCert, err := asn1.Marshal(c.EKCert[:])
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          c.Serial,
		Subject:               pkix.Name{CommonName: c.MachineID},
		NotBefore:             c.NotBefore,
		NotAfter:              c.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage:    []asn1.ObjectIdentifier{oidKeyPurposeAIK},
		BasicConstraintsValid: true,
		ExtraExtensions:       []pkix.Extension{{Id: oidAKName, Value: name}, {Id: oidEKHash, Value: hash}, {Id: oidEKCert, Value: ekCert}},
	}, caCert, ak.Public, caKey)
}

// checkCA says whether a certificate can be an AK CA.
func checkCA(c *x509.Certificate) error {
	if c == nil || !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("AK CA certificate: not a CA certificate that may sign certificates")
	}
	return nil
}

// akIdentity is what a verified AK certificate says; its zero value is an AK
// that nobody certifies.
type akIdentity struct {
	leaf      *x509.Certificate
	authority string
	machine   string // "" for external authorities
	akName    []byte // nil for external authorities, which certify the key alone
	ekHash    []byte
	ekCert    []byte    // nil in certificates issued before it was added
	from, to  time.Time // the whole chain is valid then
}

func (c *akIdentity) identity(ak *AK) attest.Identity {
	if c.machine != "" {
		return attest.Identity{Kind: "tpm", ID: c.machine}
	}
	return attest.Identity{Kind: "tpm", ID: hex.EncodeToString(ak.Name)}
}

// covers says whether the certificate is for this AK: its key, and for our own
// certificates its name, which covers the attributes too.
func (c *akIdentity) covers(ak *AK) bool {
	key, ok := ak.Public.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !key.Equal(c.leaf.PublicKey) {
		return false
	}
	return c.machine == "" || bytes.Equal(c.akName, ak.Name)
}

// akTrust verifies AK certificates against the configured authorities.
type akTrust struct {
	own, external, intermediates *x509.CertPool
	ownNames                     [][]byte // raw subjects of own
	cache                        *verified.Cache[akIdentity]
}

func newAKTrust(cfg Config) (*akTrust, error) {
	t := &akTrust{
		own: x509.NewCertPool(), external: x509.NewCertPool(), intermediates: x509.NewCertPool(),
		cache: verified.NewCache[akIdentity](cacheSize),
	}
	for _, c := range cfg.AKRoots {
		if err := checkCA(c); err != nil {
			return nil, err
		}
		t.own.AddCert(c)
		t.ownNames = append(t.ownNames, c.RawSubject)
	}
	for _, c := range cfg.ExternalRoots {
		t.external.AddCert(c)
	}
	for _, c := range cfg.ExternalIntermediates {
		t.intermediates.AddCert(c)
	}
	return t, nil
}

// certify finds and verifies the one AK certificate among the endorsements.
// Without one it gives the zero identity.
func (t *akTrust) certify(ends []attest.Endorsement, at time.Time) (akIdentity, *attest.Rejection) {
	var der []byte
	if len(ends) > maxChain {
		return akIdentity{}, attest.Reject(attest.CheckMalformed, "%d endorsements, limit %d", len(ends), maxChain)
	}
	for _, e := range ends {
		if e.Type != attest.EndorsementAKCertificate || der != nil || len(e.Data) == 0 || len(e.Data) > maxCert {
			return akIdentity{}, attest.Reject(attest.CheckMalformed, "endorsements must be one %s of at most %d bytes", attest.EndorsementAKCertificate, maxCert)
		}
		der = e.Data
	}
	if der == nil {
		return akIdentity{}, nil
	}
	key := verified.Key(der)
	id, ok := t.cache.Get(key, at)
	if !ok {
		var rej *attest.Rejection
		if id, rej = t.verify(der, at); rej != nil {
			return akIdentity{}, rej
		}
		t.cache.Put(key, id, time.Time{}, time.Time{})
	}
	if at.Before(id.from) || at.After(id.to) {
		return akIdentity{}, expired(id.leaf, id.from, id.to, at)
	}
	return id, nil
}

func expired(c *x509.Certificate, from, to, at time.Time) *attest.Rejection {
	r := attest.Reject(attest.CheckChainExpired, "AK certificate serial %x is not valid now: enrol again", c.SerialNumber)
	r.Expected = from.UTC().Format(time.RFC3339) + " to " + to.UTC().Format(time.RFC3339)
	r.Got = at.UTC().Format(time.RFC3339)
	return r
}

func (t *akTrust) verify(der []byte, at time.Time) (akIdentity, *attest.Rejection) {
	leaf, err := x509.ParseCertificate(der)
	if err == nil {
		err = checkCertKey(leaf)
	}
	if err != nil {
		return akIdentity{}, attest.Reject(attest.CheckChainUntrusted, "AK certificate: %w", err)
	}
	id := akIdentity{leaf: leaf}
	own := slices.ContainsFunc(t.ownNames, func(n []byte) bool { return bytes.Equal(n, leaf.RawIssuer) })
	opts := x509.VerifyOptions{CurrentTime: at, Roots: t.external, Intermediates: t.intermediates}
	if own {
		opts.Roots, opts.Intermediates = t.own, nil
		err = id.readProfile(leaf)
	} else {
		err = clearSAN(leaf)
	}
	if err != nil {
		return akIdentity{}, attest.Reject(attest.CheckAKNotTrusted, "AK certificate: %w", err)
	}
	chain, rej := verifyAKChain(leaf, opts)
	if rej != nil {
		return akIdentity{}, rej
	}
	id.from, id.to = verified.Period(chain...)
	id.authority = AuthorityAKCA
	if !own {
		id.authority = chain[len(chain)-1].Subject.String()
	}
	return id, nil
}

// readProfile checks that a certificate is one IssueAKCertificate makes.
func (id *akIdentity) readProfile(c *x509.Certificate) error {
	if c.IsCA || c.KeyUsage != x509.KeyUsageDigitalSignature || len(c.ExtKeyUsage) > 0 ||
		len(c.UnknownExtKeyUsage) != 1 || !c.UnknownExtKeyUsage[0].Equal(oidKeyPurposeAIK) {
		return errors.New("wrong purpose: want a leaf for tcg-kp-AIKCertificate only")
	}
	for _, e := range c.Extensions {
		var err error
		switch {
		case e.Id.Equal(oidAKName):
			id.akName, err = octets(e.Value)
		case e.Id.Equal(oidEKHash):
			id.ekHash, err = octets(e.Value)
		case e.Id.Equal(oidEKCert):
			if id.ekCert, err = octets(e.Value); err == nil && len(id.ekCert) != 32 {
				err = errors.New("EK certificate's hash has not 32 bytes")
			}
		}
		if err != nil {
			return err
		}
	}
	if len(id.akName) == 0 || len(id.ekHash) != 32 || c.Subject.CommonName == "" {
		return errors.New("machine id, AK name or EK hash is missing")
	}
	id.machine = c.Subject.CommonName
	return nil
}

func octets(der []byte) ([]byte, error) {
	var b []byte
	rest, err := asn1.Unmarshal(der, &b)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("extension is not one octet string")
	}
	return b, nil
}

// CertifiedEK gives the hashes of the EK's SubjectPublicKeyInfo and certificate that
// an AK certificate of ours carries, for a deny list. cert is zero in a certificate
// of a broker that did not add it yet; they live a day. false: not a certificate that
// enrolment issued.
func CertifiedEK(c *x509.Certificate) (spki, cert [32]byte, ok bool) {
	var id akIdentity
	if err := id.readProfile(c); err != nil {
		return spki, cert, false
	}
	copy(cert[:], id.ekCert)
	return [32]byte(id.ekHash), cert, true
}
