package guest

import (
	"context"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/format"
)

// EnrollRequest says which TPM this is (EK and its certificate) and which AK it
// will sign with. Errors may wrap [ErrNoEK].
func (t *TPM) EnrollRequest(ctx context.Context) (req *format.EnrollRequest, err error) {
	err = t.withKeys(ctx, func(ek *endorsement, ak *object) error {
		req = &format.EnrollRequest{EKPublic: ek.bytes(), EKCertificate: ek.cert, AK: ak.bytes()}
		for _, c := range ek.chain {
			req.Intermediates = append(req.Intermediates, attest.Bytes(c))
		}
		t.ek = &ek.profile
		return nil
	})
	if err != nil {
		return nil, err
	}
	return req, nil
}

// withKeys calls fn with EK and AK loaded, and unloads them.
func (t *TPM) withKeys(ctx context.Context, fn func(ek *endorsement, ak *object) error) error {
	return t.exclusive(ctx, func() (err error) {
		ek, err := t.loadEK()
		if err != nil {
			return err
		}
		if ek.loaded {
			defer t.flush(ek.handle, &err)
		}
		ak, err := t.loadAK()
		if err != nil {
			return err
		}
		defer t.unload(ak, &err)
		return fn(ek, ak)
	})
}

// Activate opens the credential of an enrolment: proof that EK and AK live in the
// same TPM. The caller clears the secret.
func (t *TPM) Activate(ctx context.Context, c *format.EnrollChallenge) (secret []byte, err error) {
	err = t.withKeys(ctx, func(ek *endorsement, ak *object) error {
		r, err := tpm2.ActivateCredential{
			ActivateHandle: ak.auth(empty()), KeyHandle: ek.auth(t.ekSession(ek)),
			CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.Credential}, Secret: tpm2.TPM2BEncryptedSecret{Buffer: c.Secret},
		}.Execute(t)
		if err != nil {
			return fmt.Errorf("the TPM does not open the credential: %w", err)
		}
		secret = r.CertInfo.Buffer
		return nil
	})
	return unless(err, secret)
}

// ekSession authorises a use of the EK and encrypts the answer with a salt for the
// EK, whose public half the certificate vouches for.
func (t *TPM) ekSession(e *endorsement) tpm2.Session {
	opts := []tpm2.AuthOption{tpm2.Salted(e.handle, e.public), tpm2.AESEncryption(128, tpm2.EncryptOut)}
	if e.public.ObjectAttributes.UserWithAuth {
		return tpm2.HMAC(tpm2.TPMAlgSHA256, 16, opts...)
	}
	policy := func(_ transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicySecret{
			AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: empty()},
			PolicySession: session, NonceTPM: nonce,
		}.Execute(t)
		if err != nil {
			t.flush(session, &err) // the library leaves a session whose policy failed
		}
		return err
	}
	return tpm2.Policy(tpm2.TPMAlgSHA256, 16, policy, opts...)
}
