package skr

// TPM is what AzureAttestSKR uses of a virtual machine's TPM.
type TPM interface {
	// AIK gives the certificate of NV index 0x01C101D0 as stored, which may be empty, and
	// the TPM2B_PUBLIC of handle 0x81000003.
	AIK() (cert, public []byte, err error)
	// Quote quotes PCRs of the SHA-256 bank with the AIK and no qualifying data: the call
	// has a single round trip. quote is TPMS_ATTEST without its size, signature raw RSASSA.
	Quote(pcrs []int) (values []PCR, quote, signature []byte, err error)
	// EventLog gives the TCG event log; it may be empty.
	EventLog() ([]byte, error)
	// NewKey makes an RSA-2048 primary key in the null hierarchy: scheme NULL; attributes
	// decrypt, fixedTPM, fixedParent, sensitiveDataOrigin and noDA; authPolicy
	// PolicyPCR over the PCRs given.
	NewKey(pcrs []int) (EphemeralKey, error)
}

// EphemeralKey is the key that a sealed token and a released key are encrypted to.
type EphemeralKey interface {
	// Public is the TPM2B_PUBLIC.
	Public() []byte
	// Certify is TPM2_Certify by the AIK with empty qualifying data: TPMS_ATTEST without
	// its size and a raw RSASSA signature.
	Certify() (info, signature []byte, err error)
	// DecryptPKCS1 undoes RSAES-PKCS1-v1_5.
	DecryptPKCS1(ciphertext []byte) ([]byte, error)
	// DecryptOAEP undoes RSAES-OAEP with SHA-256, MGF1 with SHA-256 and a null label.
	DecryptOAEP(ciphertext []byte) ([]byte, error)
	Close() error
}
