// Package wrap seals key material to an attested recipient: HPKE (RFC 9180, with
// the ML-KEM hybrids of draft-ietf-hpke-pq) and, for Key Vault clients, RSA-OAEP
// of an AES key followed by AES key wrap with padding (RFC 5649).
//
// It holds no secret beyond a call, keeps no state and imports nothing of this
// project, so that the agent opens with the code that sealed.
//
// Strength, strongest first. A release policy sees the name as input.request.enc
// and can demand a minimum:
//
//	hpke-mlkem1024-p384     hybrid, category 5
//	hpke-mlkem768-p256      hybrid, category 3; the default, its P-256 half fits a TPM
//	hpke-mlkem768-x25519    hybrid, category 3 (X-Wing)
//	hpke-p256, hpke-x25519  classical: a recording can be opened by a later quantum computer
//	RSA_AES_KEY_WRAP_384    classical; neither context nor record is bound by the ciphertext
//	RSA_AES_KEY_WRAP_256    as above
//	CKM_RSA_AES_KEY_WRAP    as above, OAEP with SHA-1: only through the Key Vault door
package wrap

import (
	"fmt"
)

// The wrap algorithms, as "enc" of the runtime data and of a record names them.
const (
	EncHPKEP256           = "hpke-p256"
	EncHPKEX25519         = "hpke-x25519"
	EncHPKEMLKEM768P256   = "hpke-mlkem768-p256"
	EncHPKEMLKEM768X25519 = "hpke-mlkem768-x25519"
	EncHPKEMLKEM1024P384  = "hpke-mlkem1024-p384"
	EncRSA256             = "RSA_AES_KEY_WRAP_256"
	EncRSA384             = "RSA_AES_KEY_WRAP_384"
	EncRSASHA1            = "CKM_RSA_AES_KEY_WRAP"
)

// MaxMaterial bounds what is wrapped, in bytes; an RSA-4096 key is 2.4 kB.
const MaxMaterial = 64 << 10

// Codes of an [Error]; both are reasons of package release.
const (
	CodeRecipient = "recipient_key_invalid"
	CodeAlgorithm = "wrap_alg_not_allowed"
)

// Error is a recipient key or algorithm that is not wrapped to. Its text is for
// the operator and never quotes a private member.
type Error struct {
	Code string // CodeRecipient or CodeAlgorithm
	Err  error
}

func (e *Error) Error() string { return e.Code + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// ReleaseReason is the code, for package release.
func (e *Error) ReleaseReason() string { return e.Code }

func badKey(format string, args ...any) error {
	return &Error{Code: CodeRecipient, Err: fmt.Errorf(format, args...)}
}

func badAlg(format string, args ...any) error {
	return &Error{Code: CodeAlgorithm, Err: fmt.Errorf(format, args...)}
}

// Wrapper implements release.Wrapper.
type Wrapper struct {
	// AllowSHA1 admits CKM_RSA_AES_KEY_WRAP, whose OAEP uses SHA-1. Only the Key
	// Vault door sets it, because Azure's default is that name.
	AllowSHA1 bool
	// Recent, when set, spares a recipient that comes again to be parsed again.
	Recent *Recent
}

// Check parses a recipient JWK, refuses an algorithm that is unknown, not
// allowed or not this key's, and gives the key's thumbprint. It costs microseconds,
// since anyone may ask; [Wrapper.Vet] judges an RSA modulus. Errors are *[Error].
func (w Wrapper) Check(recipient []byte, enc string) (thumbprint [32]byte, err error) {
	r, err := w.Recent.parse(recipient)
	if err != nil {
		return thumbprint, err
	}
	if err := w.allows(r, enc); err != nil {
		return thumbprint, err
	}
	return r.Thumbprint(), nil
}

// Vet refuses a recipient whose RSA modulus can be factored. Errors are *[Error].
func (w Wrapper) Vet(recipient []byte) error {
	r, err := w.Recent.parse(recipient)
	if err != nil {
		return err
	}
	return r.Vet()
}

// Wrap seals material to a recipient that Check and Vet have accepted, fresh
// randomness each time. It repeats every check of Check, not those of Vet. HPKE binds
// info and aad; the RSA forms cannot, there the response signature covers record and
// ciphertext.
func (w Wrapper) Wrap(recipient []byte, enc string, material, info, aad []byte) ([]byte, error) {
	r, err := w.Recent.parse(recipient)
	if err != nil {
		return nil, err
	}
	if err := w.allows(r, enc); err != nil {
		return nil, err
	}
	if len(material) == 0 || len(material) > MaxMaterial {
		return nil, fmt.Errorf("wrap: material of %d bytes, want 1 to %d", len(material), MaxMaterial)
	}
	if r.hpke != nil {
		return sealHPKE(r.hpke, info, aad, material)
	}
	return sealRSA(r.rsa, enc, material)
}

func (w Wrapper) allows(r *Recipient, enc string) error {
	switch {
	case r.hpke != nil && enc == r.suite.enc:
		return nil
	case r.rsa != nil && (enc == EncRSA256 || enc == EncRSA384):
		return nil
	case r.rsa != nil && enc == EncRSASHA1 && w.AllowSHA1:
		return nil
	}
	return badAlg("%.64q is not allowed for this recipient, whose algorithm is %s", enc, r.Alg())
}
