package vtpm

import (
	"crypto/sha256"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/openskr/openskr/interop/skr"
)

// key is the ephemeral key of the guest client: usable while the quoted PCRs are
// what they were.
type key struct {
	tpm    *TPM
	pcrs   []int
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public []byte
}

// NewKey implements [skr.TPM].
func (t *TPM) NewKey(pcrs []int) (skr.EphemeralKey, error) {
	policy, err := t.policyPCR(pcrs)
	if err != nil {
		return nil, err
	}
	r, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHNull,
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256, AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
			ObjectAttributes: tpm2.TPMAObject{Decrypt: true, FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, NoDA: true},
			Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048}),
		}),
	}.Execute(t)
	if err != nil {
		return nil, fmt.Errorf("ephemeral key: %w", err)
	}
	return &key{t, pcrs, r.ObjectHandle, r.Name, tpm2.Marshal(r.OutPublic)}, nil
}

// policyPCR is the digest of PolicyPCR over PCRs as they are (TPM 2.0 part 3 §23.7).
func (t *TPM) policyPCR(pcrs []int) ([]byte, error) {
	values := sha256.New()
	for _, i := range pcrs {
		r, err := tpm2.PCRRead{PCRSelectionIn: selection(i)}.Execute(t)
		if err != nil {
			return nil, err
		}
		values.Write(r.PCRValues.Digests[0].Buffer)
	}
	policy, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return nil, err
	}
	if err := (tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: values.Sum(nil)}, Pcrs: selection(pcrs...)}).Update(policy); err != nil {
		return nil, err
	}
	return policy.Hash().Digest, nil
}

// Public implements [skr.EphemeralKey].
func (k *key) Public() []byte { return k.public }

// Certify implements [skr.EphemeralKey].
func (k *key) Certify() (info, signature []byte, err error) {
	aik, err := k.tpm.aik()
	if err != nil {
		return nil, nil, err
	}
	r, err := tpm2.Certify{
		ObjectHandle: tpm2.NamedHandle{Handle: k.handle, Name: k.name}, SignHandle: aik, InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
	}.Execute(k.tpm)
	if err != nil {
		return nil, nil, fmt.Errorf("certify: %w", err)
	}
	signature, err = rsassa(r.Signature)
	return r.CertifyInfo.Bytes(), signature, err
}

// DecryptPKCS1 implements [skr.EphemeralKey].
func (k *key) DecryptPKCS1(ciphertext []byte) ([]byte, error) {
	return k.decrypt(ciphertext, tpm2.TPMTRSADecrypt{Scheme: tpm2.TPMAlgRSAES, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSAES, &tpm2.TPMSEncSchemeRSAES{})})
}

// DecryptOAEP implements [skr.EphemeralKey].
func (k *key) DecryptOAEP(ciphertext []byte) ([]byte, error) {
	return k.decrypt(ciphertext, tpm2.TPMTRSADecrypt{
		Scheme: tpm2.TPMAlgOAEP, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgOAEP, &tpm2.TPMSEncSchemeOAEP{HashAlg: tpm2.TPMAlgSHA256}),
	})
}

func (k *key) decrypt(ciphertext []byte, scheme tpm2.TPMTRSADecrypt) ([]byte, error) {
	session := tpm2.Policy(tpm2.TPMAlgSHA256, 16, tpm2.PolicyCallback(func(t transport.TPM, handle tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicyPCR{PolicySession: handle, Pcrs: selection(k.pcrs...)}.Execute(t)
		return err
	}))
	r, err := tpm2.RSADecrypt{
		KeyHandle:  tpm2.AuthHandle{Handle: k.handle, Name: k.name, Auth: session},
		CipherText: tpm2.TPM2BPublicKeyRSA{Buffer: ciphertext}, InScheme: scheme,
	}.Execute(k.tpm)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return r.Message.Buffer, nil
}

// Close implements [skr.EphemeralKey].
func (k *key) Close() error {
	_, err := tpm2.FlushContext{FlushHandle: k.handle}.Execute(k.tpm)
	return err
}
