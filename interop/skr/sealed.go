package skr

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// transportKey is the additional data of a sealed token's AES-GCM.
const transportKey = "Transport Key"

// sealedToken is the answer to AzureGuest (wire.md §5.5). Members of type []byte are
// standard base64.
type sealedToken struct {
	EncryptedInnerKey []byte
	EncryptionParams  struct {
		BlockMode     string
		Cipher        string
		KeySizeInBits int
		Iv            []byte
	}
	AuthenticationData []byte
	Jwt                []byte
}

// openSealed opens a sealed token; decrypt undoes RSAES-PKCS1-v1_5 of the inner key. The
// plaintext is a compact JWT and nothing more: the client strips no padding, whatever
// EncryptionParams.BlockPadding says.
func openSealed(sealed string, decrypt func([]byte) ([]byte, error)) (string, error) {
	raw, err := decodeSegment(sealed)
	if err != nil {
		return "", fmt.Errorf("sealed token: %w", err)
	}
	var t sealedToken
	if err := json.Unmarshal(raw, &t); err != nil {
		return "", fmt.Errorf("sealed token: %w", err)
	}
	p := t.EncryptionParams
	if p.BlockMode != "ChainingModeGCM" || p.Cipher != "AES" || p.KeySizeInBits == 0 {
		return "", fmt.Errorf("sealed token: cipher %q, mode %q, %d bits: not AES-GCM", p.Cipher, p.BlockMode, p.KeySizeInBits)
	}
	key, err := decrypt(t.EncryptedInnerKey)
	if err != nil {
		return "", fmt.Errorf("sealed token: inner key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", fmt.Errorf("sealed token: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return "", fmt.Errorf("sealed token: %w", err)
	}
	if len(p.Iv) != gcm.NonceSize() || len(t.AuthenticationData) != gcm.Overhead() {
		return "", fmt.Errorf("sealed token: IV of %d bytes and tag of %d, expected %d and %d",
			len(p.Iv), len(t.AuthenticationData), gcm.NonceSize(), gcm.Overhead())
	}
	jwt, err := gcm.Open(nil, p.Iv, append(t.Jwt, t.AuthenticationData...), []byte(transportKey))
	if err != nil {
		return "", fmt.Errorf("sealed token: %w", err)
	}
	if err := compact(string(jwt)); err != nil {
		return "", fmt.Errorf("sealed token: %w", err)
	}
	return string(jwt), nil
}

// compact says whether a text is three segments of base64url.
func compact(jwt string) error {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return errors.New("what it holds is not a compact JWT")
	}
	for _, p := range parts {
		if _, err := decodeSegment(p); err != nil {
			return fmt.Errorf("what it holds is not a compact JWT: %w", err)
		}
	}
	return nil
}
