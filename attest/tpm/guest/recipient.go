package guest

import (
	"context"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/internal/strict"
)

// Kind of a recipient key.
type Kind string

// The kinds.
const (
	Hybrid Kind = "hybrid" // HPKE ML-KEM-768 + P-256, the P-256 half in the TPM; the default
	P256   Kind = "p256"   // HPKE P-256 in the TPM
	RSA    Kind = "rsa"    // RSA-2048 in the TPM
)

const (
	kemP256   = 0x0010 // HPKE KEM ids
	kemHybrid = 0x0050
	rsaBits   = 2048
)

// Recipient is a key made for one release. It opens once, only in this TPM, and
// only while the PCRs of its selection have the values they had when it was made.
// It belongs to one goroutine.
type Recipient struct {
	Kind Kind
	JWK  []byte // public key as it stands in the runtime data

	tpm   *TPM
	key   *object // nil when flushed
	state *snapshot
	point *ecdh.PublicKey // of P256 and Hybrid
	seed  *Secret         // ML-KEM-768, of Hybrid, until opened
	spent bool
}

// NewRecipient makes a recipient key for the present state of the PCRs. The
// caller closes it.
func (t *TPM) NewRecipient(ctx context.Context, kind Kind, sel Selection) (*Recipient, error) {
	if kind != Hybrid && kind != P256 && kind != RSA {
		return nil, fmt.Errorf("recipient kind %q: want hybrid, p256 or rsa", kind)
	}
	r := &Recipient{Kind: kind, tpm: t}
	err := t.exclusive(ctx, func() (err error) {
		if r.state, err = t.snapshot(sel); err != nil {
			return err
		}
		policy, err := r.state.policy()
		if err != nil {
			return err
		}
		if r.key, err = t.createPrimary(tpm2.TPMRHNull, recipientTemplate(kind, policy)); err != nil {
			return fmt.Errorf("create recipient key: %w", err)
		}
		return nil
	})
	if err == nil {
		Erasing(func() { err = r.describe() })
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// describe makes the JWK and, for a hybrid, the ML-KEM half.
func (r *Recipient) describe() error {
	if r.Kind == RSA {
		n, err := r.key.public.Unique.RSA()
		if err != nil {
			return err
		}
		r.JWK, err = strict.Marshal(rsaJWK{"RSA", kid(n.Buffer), []string{"encrypt"}, b64(n.Buffer), b64(r.exponent())})
		return err
	}
	var err error
	if r.point, err = point(&r.key.public); err != nil {
		return err
	}
	pub, kem := r.point.Bytes(), kemP256
	if r.Kind == Hybrid {
		if r.seed, err = TakeSecret(random(mlkem.SeedSize)); err != nil {
			return err
		}
		dk, err := mlkem.NewDecapsulationKey768(r.seed.Bytes())
		if err != nil {
			return err
		}
		pub, kem = append(dk.EncapsulationKey().Bytes(), pub...), kemHybrid
	}
	r.JWK, err = strict.Marshal(hpkeJWK{"HPKE", kem, kid(pub), b64(pub)})
	return err
}

type hpkeJWK struct {
	Kty string `json:"kty"`
	KEM int    `json:"kem"`
	KID string `json:"kid"`
	Pub string `json:"pub"`
}

type rsaJWK struct {
	Kty    string   `json:"kty"`
	KID    string   `json:"kid"`
	KeyOps []string `json:"key_ops"`
	N      string   `json:"n"`
	E      string   `json:"e"`
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// kid is 16 bytes of the public key's hash.
func kid(pub []byte) string {
	h := sha256.Sum256(pub)
	return b64(h[:16])
}

// exponent of an RSA recipient; the TPM writes 0 for 65537.
func (r *Recipient) exponent() []byte {
	e := uint32(0)
	if parms, err := r.key.public.Parameters.RSADetail(); err == nil {
		e = parms.Exponent
	}
	if e == 0 {
		e = 65537
	}
	return big.NewInt(int64(e)).Bytes()
}

// point reads a P-256 public area.
func point(pub *tpm2.TPMTPublic) (*ecdh.PublicKey, error) {
	parms, err := pub.Parameters.ECCDetail()
	if err != nil {
		return nil, err
	}
	ecc, err := pub.Unique.ECC()
	if err != nil {
		return nil, err
	}
	return tpm2.ECDHPub(parms, ecc)
}

// closeLimit is how long Close waits for others that use the TPM.
const closeLimit = 10 * time.Second

// Close erases the key in the TPM and here. Closing twice is no error.
func (r *Recipient) Close() error {
	err := r.seed.Close()
	if r.key == nil {
		return err
	}
	h := r.key.handle
	r.key, r.spent = nil, true
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	return errors.Join(err, r.tpm.exclusive(ctx, func() (err error) {
		r.tpm.flush(h, &err)
		return err
	}))
}
