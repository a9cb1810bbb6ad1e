package attestation

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"

	"github.com/openskr/openskr/internal/strict"
)

// sealed is the answer to the guest client (wire format: §5.5). Its words are the
// client's; nothing is padded, whatever BlockPadding says.
type sealed struct {
	Key        []byte `json:"EncryptedInnerKey"` // RSAES-PKCS1-v1_5: the client's TPM does no other
	Parameters struct {
		Mode    string `json:"BlockMode"`
		Padding string `json:"BlockPadding"`
		Cipher  string `json:"Cipher"`
		Bits    int    `json:"KeySizeInBits"`
		IV      []byte `json:"Iv"`
	} `json:"EncryptionParams"`
	Tag []byte `json:"AuthenticationData"`
	JWT []byte `json:"Jwt"`
}

// sealedTo is the associated data of the cipher.
const sealedTo = "Transport Key"

// seal encrypts a token so that only key's TPM reads it. The token is no secret that
// anything rests on: what it is sealed to, it names.
func seal(key *rsa.PublicKey, token string) (string, error) {
	inner := make([]byte, 32)
	rand.Read(inner)
	defer clear(inner)
	var s sealed
	var err error
	//lint:ignore SA1019 the client's protocol knows no other padding
	if s.Key, err = rsa.EncryptPKCS1v15(rand.Reader, key, inner); err != nil {
		return "", err
	}
	block, err := aes.NewCipher(inner)
	if err != nil {
		return "", err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return "", err
	}
	iv := make([]byte, gcm.NonceSize())
	rand.Read(iv)
	out := gcm.Seal(nil, iv, []byte(token), []byte(sealedTo))
	s.JWT, s.Tag = out[:len(token)], out[len(token):]
	p := &s.Parameters
	p.Mode, p.Padding, p.Cipher, p.Bits, p.IV = "ChainingModeGCM", "PKCS7", "AES", 8*len(inner), iv
	b, err := strict.Marshal(s)
	return base64.RawURLEncoding.EncodeToString(b), err
}
