package wrap

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // OAEP of CKM_RSA_AES_KEY_WRAP, behind AllowSHA1
	_ "crypto/sha256"
	_ "crypto/sha512"
	"fmt"
)

const kekSize = 32 // AES-256, the only size that Microsoft's clients accept

// sealRSA gives RSAES-OAEP(kek) ‖ AES-KWP(kek, material); label empty, MGF1 with
// the same hash.
func sealRSA(pub *rsa.PublicKey, enc string, material []byte) ([]byte, error) {
	kek := make([]byte, kekSize)
	defer clear(kek)
	if _, err := rand.Read(kek); err != nil {
		return nil, fmt.Errorf("wrap: %w", err)
	}
	h := OAEPHash(enc)
	if h == 0 {
		return nil, badAlg("%.64q is no RSA wrap", enc)
	}
	c1, err := rsa.EncryptOAEP(h.New(), rand.Reader, pub, kek, nil)
	if err != nil {
		return nil, fmt.Errorf("wrap: RSA-OAEP: %w", err)
	}
	c2, err := WrapKWP(kek, material)
	if err != nil {
		return nil, err
	}
	return append(c1, c2...), nil
}

// OpenRSA undoes an RSA wrap. decryptOAEP is the private key's RSAES-OAEP with the
// hash of the algorithm (see [OAEPHash]) and an empty label, in software or in a
// TPM; modulusBytes is the length of its input. The caller clears the result.
func OpenRSA(decryptOAEP func(ct []byte) ([]byte, error), modulusBytes int, sealed []byte) ([]byte, error) {
	if modulusBytes <= 0 || len(sealed) <= modulusBytes {
		return nil, fmt.Errorf("wrap: RSA ciphertext of %d bytes for a modulus of %d", len(sealed), modulusBytes)
	}
	kek, err := decryptOAEP(sealed[:modulusBytes:modulusBytes])
	defer clear(kek)
	if err != nil {
		return nil, fmt.Errorf("wrap: RSA-OAEP: %w", err)
	}
	if len(kek) != kekSize {
		return nil, fmt.Errorf("wrap: wrapped AES key has %d bytes, want %d", len(kek), kekSize)
	}
	return UnwrapKWP(kek, sealed[modulusBytes:])
}

// OAEPHash is the hash of an RSA wrap algorithm, 0 for any other name.
func OAEPHash(enc string) crypto.Hash {
	switch enc {
	case EncRSA256:
		return crypto.SHA256
	case EncRSA384:
		return crypto.SHA384
	case EncRSASHA1:
		return crypto.SHA1
	}
	return 0
}
