package guest

import (
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/mlkem"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// session authorises one use of the key: its policy, the PCRs, in a session whose
// first answer parameter is encrypted. The salt is encrypted to the key itself,
// which the AK certified, so that neither a listener on the TPM's bus nor someone
// who changes what goes over it learns the shared secret (security AG-13).
func (r *Recipient) session() tpm2.Session {
	policy := func(t transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
		if _, err := r.state.command(session).Execute(t); err != nil {
			err = fmt.Errorf("%w: %w", ErrPCRsChanged, err)
			r.tpm.flush(session, &err) // the library leaves a session whose policy failed
			return err
		}
		return nil
	}
	return tpm2.Policy(tpm2.TPMAlgSHA256, 16, policy,
		tpm2.Salted(r.key.handle, r.key.public), tpm2.AESEncryption(128, tpm2.EncryptOut))
}

// take allows one use.
func (r *Recipient) take(kinds ...Kind) error {
	if r.spent || r.key == nil {
		return ErrRecipientSpent
	}
	if !slices.Contains(kinds, r.Kind) {
		return fmt.Errorf("a recipient of kind %s does not open this", r.Kind)
	}
	r.spent = true
	return nil
}

// Private gives the private key of a hybrid or P-256 recipient, once. Its P-256
// half stays in the TPM; the ML-KEM seed is erased from memory by this call. What it
// expands to is on the heap: call it, and use the key, within [Erasing].
func (r *Recipient) Private(ctx context.Context) (hpke.PrivateKey, error) {
	if err := r.take(Hybrid, P256); err != nil {
		return nil, err
	}
	if r.Kind == P256 {
		return hpke.NewDHKEMPrivateKey(exchanger{ctx, r})
	}
	dk, err := mlkem.NewDecapsulationKey768(r.seed.Bytes())
	if err := errors.Join(err, r.seed.Close()); err != nil {
		return nil, err
	}
	return hpke.NewHybridPrivateKey(dk, exchanger{ctx, r})
}

// exchanger is an [ecdh.KeyExchanger] whose private half stays in the TPM. The
// interface has no context, so this one keeps that of the call it serves.
type exchanger struct {
	ctx context.Context
	r   *Recipient
}

func (e exchanger) PublicKey() *ecdh.PublicKey { return e.r.point }

func (e exchanger) Curve() ecdh.Curve { return ecdh.P256() }

// ECDH is TPM2_ECDH_ZGen.
func (e exchanger) ECDH(peer *ecdh.PublicKey) (shared []byte, err error) {
	b := peer.Bytes() // 0x04 ‖ X ‖ Y
	if peer.Curve() != ecdh.P256() || len(b) != 65 {
		return nil, errors.New("peer key is not on P-256")
	}
	if e.r.key == nil {
		return nil, ErrRecipientSpent
	}
	err = e.r.tpm.exclusive(e.ctx, func() error {
		rsp, err := tpm2.ECDHZGen{
			KeyHandle: e.r.key.auth(e.r.session()),
			InPoint: tpm2.New2B(tpm2.TPMSECCPoint{
				X: tpm2.TPM2BECCParameter{Buffer: b[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: b[33:]},
			}),
		}.Execute(e.r.tpm)
		if err != nil {
			return fmt.Errorf("TPM2_ECDH_ZGen: %w", err)
		}
		p, err := rsp.OutPoint.Contents()
		if err != nil {
			return err
		}
		if len(p.X.Buffer) > 32 {
			return errors.New("TPM2_ECDH_ZGen: coordinate too long")
		}
		shared = make([]byte, 32) // a TPM may leave leading zeros out
		copy(shared[32-len(p.X.Buffer):], p.X.Buffer)
		clear(p.X.Buffer)
		clear(p.Y.Buffer)
		return nil
	})
	return unless(err, shared)
}

// ModulusBytes is the length of an RSA recipient's ciphertext, 0 for others.
func (r *Recipient) ModulusBytes() int {
	if r.Kind == RSA {
		return rsaBits / 8
	}
	return 0
}

// DecryptOAEP opens what was encrypted with RSAES-OAEP (SHA-256, no label) to an
// RSA recipient, once.
func (r *Recipient) DecryptOAEP(ctx context.Context, ciphertext []byte) (plain []byte, err error) {
	if err := r.take(RSA); err != nil {
		return nil, err
	}
	err = r.tpm.exclusive(ctx, func() error {
		rsp, err := tpm2.RSADecrypt{
			KeyHandle:  r.key.auth(r.session()),
			CipherText: tpm2.TPM2BPublicKeyRSA{Buffer: ciphertext},
			InScheme:   tpm2.TPMTRSADecrypt{Scheme: tpm2.TPMAlgNull},
		}.Execute(r.tpm)
		if err != nil {
			return fmt.Errorf("TPM2_RSA_Decrypt: %w", err)
		}
		plain = rsp.Message.Buffer
		return nil
	})
	return unless(err, plain)
}
