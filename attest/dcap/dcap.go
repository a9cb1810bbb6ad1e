// Package dcap evaluates the quotes of Intel SGX and Intel TDX: parsing, the chain of
// the platform's PCK to Intel's root, the quoting enclave, revocation, and the TCB
// status by Intel's rules. What the quoted workload is, is judged by packages sgx and
// tdx.
//
// References: Intel SGX DCAP Quote Library API (quote layout), Intel TDX DCAP Quoting
// Library API, Intel SGX PCK Certificate and CRL Profile, Provisioning Certification
// Service v4 (collateral), and for the order of appraisal Intel's Quote Verification
// Library.
package dcap

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// cacheSize is entries of each cache; an entry is some kB.
const cacheSize = 1024

// Config is what an Evaluator trusts.
type Config struct {
	Roots []*x509.Certificate // nil: Intel's
	// Endorser gives TCB info, QE identities and CRLs. Nil: signatures and chain are
	// verified, the TCB is unknown and revocation not checked.
	Endorser attest.Endorser
	// Denied is the deployment's deny list, asked in lower-case hex for PPID and its
	// SHA-256, which claims show, platform instance id, FMSPC and the PCK certificate's
	// serial number. Nil: none.
	Denied func(id string) bool
}

// Evaluator evaluates quotes. It is safe for concurrent use.
type Evaluator struct {
	cfg   Config
	roots anchors

	keys *verified.Cache[*certified]
	tcbs *verified.Cache[*tcbInfo]
	qes  *verified.Cache[*qeIdentity]
	crls *verified.Cache[*crl]
}

// New makes an Evaluator.
func New(cfg Config) (*Evaluator, error) {
	roots := cfg.Roots
	if roots == nil {
		intel, err := IntelRoot()
		if err != nil {
			return nil, err
		}
		roots = []*x509.Certificate{intel}
	}
	return &Evaluator{
		cfg: cfg, roots: roots,
		keys: verified.NewCache[*certified](cacheSize), tcbs: verified.NewCache[*tcbInfo](cacheSize),
		qes: verified.NewCache[*qeIdentity](cacheSize), crls: verified.NewCache[*crl](cacheSize),
	}, nil
}

// Anchors gives the DER of the roots trusted.
func (e *Evaluator) Anchors() [][]byte {
	out := make([][]byte, len(e.roots))
	for i, root := range e.roots {
		out[i] = root.Raw
	}
	return out
}

// Appraisal is what an evaluation proved about the platform under a quote.
type Appraisal struct {
	Authority     string // subject of the root
	PCK           *PCK
	TCB           TCB
	Revocation    attest.Status
	CollateralAge time.Duration
}

// TCB is the appraisal of the platform's trusted computing base. Without collateral
// only Status is set, to attest.TCBUnknown.
type TCB struct {
	Status   string // the worst of the three below, by Intel's rules
	Platform string // processor, microcode, SEAM loader
	Module   string // TDX module; "" where the platform's level covers it
	QE       string // quoting enclave
	// Number is the lower tcbEvaluationDataNumber of TCB info and QE identity: which
	// of Intel's TCB recoveries the status takes into account.
	Number     int64
	Date       time.Time // the oldest of the levels' dates
	Advisories []string  // INTEL-SA ids of the levels, sorted
	Issued     time.Time // of the oldest of TCB info, QE identity and PCK CRL
	NextUpdate time.Time // of the first to need an update
}

// Proof is a quote whose chain and signatures hold: its attestation key signed it,
// Intel's quoting enclave holds that key, and the platform that the PCK names runs
// that enclave. It says nothing yet about the platform's state.
type Proof struct {
	Quote *Quote
	PCK   *PCK
	c     *certified
}

// Prove proves chain and signatures of a quote. It asks for no collateral.
func (e *Evaluator) Prove(q *Quote, at time.Time) (*Proof, *attest.Rejection) {
	c, rej := e.certify(q, at)
	if rej != nil {
		return nil, rej
	}
	if !verifyRaw(c.key, q.signed, q.signature) {
		return nil, attest.Reject(attest.CheckSignature, "the attestation key did not sign the quote")
	}
	return &Proof{q, c.pck, c}, nil
}

// Identity is the hardware that a proof is of.
func (p *Proof) Identity(typ attest.Type) attest.Identity { return attest.Identify(typ, p.PCK.Name()) }

// Appraise judges the platform: the deny list, revocation, the quoting enclave and
// the TCB. A TCB status is reported, not judged, except that a revoked or unknown one
// is refused.
func (e *Evaluator) Appraise(ctx context.Context, p *Proof, at time.Time) (*Appraisal, *attest.Rejection) {
	if rej := e.denied(p.PCK); rej != nil {
		return nil, rej
	}
	a := &Appraisal{
		Authority: p.c.root.Subject.String(), PCK: p.PCK,
		TCB: TCB{Status: attest.TCBUnknown}, Revocation: attest.NotChecked,
	}
	if e.cfg.Endorser == nil {
		return a, nil
	}
	if rej := e.judge(ctx, a, p, at); rej != nil {
		return nil, rej
	}
	return a, nil
}

func (e *Evaluator) denied(p *PCK) *attest.Rejection {
	if e.cfg.Denied == nil {
		return nil
	}
	ppid := sha256.Sum256(p.PPID[:]) // all that claims show of it
	for _, id := range [][]byte{ppid[:], p.PPID[:], p.InstanceID[:], p.FMSPC[:], p.Serial} {
		if !zero(id) && e.cfg.Denied(hex.EncodeToString(id)) {
			return attest.Reject(attest.CheckPlatformDenied, "platform %x is on the deny list", id)
		}
	}
	return nil
}
