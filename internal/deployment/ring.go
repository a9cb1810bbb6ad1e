package deployment

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/openskr/openskr/internal/strict"
)

// Kind names one of the deployment's private keys. They are separate, so that
// each rotates alone.
type Kind string

// Kinds of keys.
const (
	KindLog      Kind = "log"      // Ed25519, signs checkpoints
	KindResponse Kind = "response" // P-256, signs release responses
	KindToken    Kind = "token"    // P-256, signs access tokens
	KindAKCA     Kind = "ak-ca"    // P-256, certifies attestation keys
	KindTLSCA    Kind = "tls-ca"   // P-256, certifies the broker's TLS leaf
	// KindAttestation is RSA of 2048 bits, since Azure's clients verify nothing else: it
	// signs tokens of the attestation service.
	KindAttestation Kind = "attestation"
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{KindLog, KindResponse, KindToken, KindAKCA, KindTLSCA, KindAttestation}
}

// ring is the deployment's private keys as they are sealed in "deployment/keys".
// The first of a list signs; every one is accepted and listed in agent.json.
type ring struct {
	V        int         `json:"v"` // 1
	Log      []string    `json:"log"`
	Response [][]byte    `json:"response"` // PKCS#8
	Token    [][]byte    `json:"token"`    // PKCS#8
	AKCA     []authority `json:"ak_ca"`
	TLSCA    []authority `json:"tls_ca"`
	// Attestation is absent from the stores of versions before the attestation service,
	// until [Deployment.Complete].
	Attestation []authority `json:"attestation,omitempty"`
}

// authority is a CA at rest: certificate DER and PKCS#8 key.
type authority struct {
	Cert []byte `json:"cert"`
	Key  []byte `json:"key"`
}

// maxRing bounds the sealed JSON.
const maxRing = 256 << 10

func newRing(id, origin string, now time.Time) (*ring, error) {
	r := &ring{V: 1}
	for _, k := range Kinds() {
		if err := r.add(k, id, origin, now); err != nil {
			return nil, fmt.Errorf("making the %s key: %w", k, err)
		}
	}
	return r, nil
}

// add appends a new key of a kind; where the list was not empty it is announced
// and does not sign yet.
func (r *ring) add(k Kind, id, origin string, now time.Time) (err error) {
	switch k {
	case KindLog:
		var skey string
		skey, _, err = note.GenerateKey(rand.Reader, origin)
		r.Log = append(r.Log, skey)
	case KindResponse:
		r.Response, err = appendKey(r.Response)
	case KindToken:
		r.Token, err = appendKey(r.Token)
	case KindAKCA:
		var a authority
		a, err = newCA("OpenSKR AK CA "+id, now, forAK)
		r.AKCA = append(r.AKCA, a)
	case KindTLSCA:
		var a authority
		a, err = newCA("OpenSKR TLS CA "+id, now, forTLS)
		r.TLSCA = append(r.TLSCA, a)
	case KindAttestation:
		var a authority
		a, err = newCertified("OpenSKR attestation "+id, now)
		r.Attestation = append(r.Attestation, a)
	default:
		err = fmt.Errorf("no key of kind %q", k)
	}
	return err
}

func appendKey(list [][]byte) ([][]byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return append(list, der), err
}

func (r *ring) encode() ([]byte, error) { return strict.Marshal(r) }

func decodeRing(b []byte) (*ring, error) {
	var r ring
	if err := strict.Unmarshal(b, maxRing, &r); err != nil {
		return nil, errors.New("deployment keys: not in the form this program writes") // not err: it may quote a key
	}
	if r.V != 1 || len(r.Log) == 0 || len(r.Response) == 0 || len(r.Token) == 0 || len(r.AKCA) == 0 || len(r.TLSCA) == 0 {
		return nil, fmt.Errorf("deployment keys: version %d or a key is missing", r.V)
	}
	return &r, nil
}

// keys opens a list of PKCS#8 P-256 keys.
func keys(list [][]byte) ([]*ecdsa.PrivateKey, error) {
	var out []*ecdsa.PrivateKey
	for _, der := range list {
		k, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return nil, err
		}
		ec, ok := k.(*ecdsa.PrivateKey)
		if !ok || ec.Curve != elliptic.P256() {
			return nil, errors.New("deployment keys: a key is not P-256")
		}
		out = append(out, ec)
	}
	return out, nil
}

// vkeys gives the verifier keys of the log's signing keys, in their order.
func vkeys(skeys []string) (signers []note.Signer, out []string, err error) {
	for _, skey := range skeys {
		s, err := note.NewSigner(skey)
		if err != nil {
			return nil, nil, errors.New("deployment keys: malformed log key")
		}
		signers = append(signers, s)
		v, err := vkeyOf(skey)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, v)
	}
	return signers, out, nil
}
