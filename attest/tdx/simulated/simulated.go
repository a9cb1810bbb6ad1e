// Package simulated is Intel TDX hardware that anyone can make: quotes, certificates,
// collateral and event logs of the shape of Intel's, under a root that comes from a
// seed. A verifier configured with [Platform.Roots] and the platform as its Endorser
// reads its evidence with the code that reads Intel's. The same platform makes SGX
// quotes.
package simulated

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tdx/format"
	"github.com/openskr/openskr/internal/strict"
)

// Platform is Intel and one machine. Two platforms of one seed are the same, byte for
// byte. Its fields are knobs, which must not be changed while it is used.
type Platform struct {
	Type       attest.Type      // of the evidence; New sets the simulated one
	TD         TD               // that [Platform.Evidence] and [Platform.Quote] are of
	Enclave    Enclave          // that [Platform.SGXQuote] is of
	Collateral Collateral       // that [Platform.Endorse] gives
	Now        func() time.Time // when collateral is issued; nil: time.Now

	seed             [32]byte
	root, ca, pck    identity
	signer           identity // of TCB information
	ak               *ecdsa.PrivateKey
	ppid, instance   []byte
	qeSigner, mrSeam []byte
	mrTD, mrEnclave  []byte
	enclaveSigner    []byte
}

// identity is a key and its certificate.
type identity struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// From and To bound every certificate. The period is fixed so that equal seeds make
// equal certificates.
var (
	From = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	To   = time.Date(2064, 1, 1, 0, 0, 0, 0, time.UTC)
)

// New makes the platform of a seed: a production TD of version 4 under collateral
// that says UpToDate.
func New(seed [32]byte) (*Platform, error) {
	p := &Platform{Type: attest.TypeTDX.Simulated(), seed: seed, TD: DefaultTD()}
	var err error
	for label, d := range map[string]struct {
		to *[]byte
		n  int
	}{
		"ppid": {&p.ppid, 16}, "instance": {&p.instance, 16},
		"qe": {&p.qeSigner, 32}, "enclave": {&p.mrEnclave, 32}, "enclave signer": {&p.enclaveSigner, 32},
		"mrseam": {&p.mrSeam, 48}, "mrtd": {&p.mrTD, 48},
	} {
		if *d.to, err = p.derive(label, d.n); err != nil {
			return nil, err
		}
	}
	if p.ak, err = p.key("attestation key"); err != nil {
		return nil, err
	}
	if p.root, err = p.issue("Intel SGX Root CA", nil, true, 1, nil); err != nil {
		return nil, err
	}
	if p.ca, err = p.issue("Intel SGX PCK Platform CA", &p.root, true, 2, nil); err != nil {
		return nil, err
	}
	if p.signer, err = p.issue("Intel SGX TCB Signing", &p.root, false, 4, nil); err != nil {
		return nil, err
	}
	ext, err := p.extension()
	if err != nil {
		return nil, err
	}
	p.pck, err = p.issue("Intel SGX PCK Certificate", &p.ca, false, 3, []pkix.Extension{{Id: sgxOID(), Value: ext}})
	return p, err
}

// Roots are for a verifier's configuration.
func (p *Platform) Roots() []*x509.Certificate { return []*x509.Certificate{p.root.cert} }

// Evidence attests runtime data in the shape that a guest sends, with the event log.
func (p *Platform) Evidence(runtimeData []byte) (attest.Evidence, error) {
	var reportData [64]byte
	digest := binding.Digest(runtimeData)
	copy(reportData[:], digest[:])
	quote, err := p.Quote(reportData)
	if err != nil {
		return attest.Evidence{}, err
	}
	body, err := strict.Marshal(format.Evidence{Type: p.Type, Quote: quote, EventLog: p.TD.EventLog()})
	if err != nil {
		return attest.Evidence{}, err
	}
	return attest.Evidence{Type: p.Type, Body: body, RuntimeData: runtimeData}, nil
}

// derive gives bytes that only seed and label determine.
func (p *Platform) derive(label string, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, p.seed[:], nil, "openskr/simulated-tdx/v1/"+label, n)
}

func (p *Platform) key(label string) (*ecdsa.PrivateKey, error) {
	// 32 bytes are no key once in 2^32 seeds, which are then refused.
	raw, err := p.derive("key/"+label, 32)
	if err != nil {
		return nil, err
	}
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
}

// crlAddress is where Intel publishes the list of an issuer. Nobody asks there: it is
// part of the certificates' shape.
func crlAddress(by *identity) string {
	if by != nil && by.cert.Subject.CommonName == "Intel SGX PCK Platform CA" {
		return "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
	}
	return "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
}

// issue makes a certificate, its own issuer when by is nil. Without a source of
// randomness ECDSA is deterministic (RFC 6979), which keeps equal seeds equal.
func (p *Platform) issue(name string, by *identity, isCA bool, serial int64, ext []pkix.Extension) (identity, error) {
	key, err := p.key(name)
	if err != nil {
		return identity{}, err
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		return identity{}, err
	}
	keyID := sha256.Sum256(public)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name, Organization: []string{"OpenSKR simulation, not Intel"}},
		SubjectKeyId: keyID[:20], CRLDistributionPoints: []string{crlAddress(by)},
		NotBefore: From, NotAfter: To, BasicConstraintsValid: true, IsCA: isCA,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: ext, SignatureAlgorithm: x509.ECDSAWithSHA256,
	}
	if isCA {
		tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	parent, parentKey := tmpl, key
	if by != nil {
		parent, parentKey = by.cert, by.key
	}
	der, err := x509.CreateCertificate(nil, tmpl, parent, &key.PublicKey, parentKey)
	if err != nil {
		return identity{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return identity{key, cert}, err
}
