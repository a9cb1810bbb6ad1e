package skr

import (
	"crypto"
	_ "crypto/sha1" // CKM_RSA_AES_KEY_WRAP names SHA-1
	"crypto/x509"
	"encoding/json"
	"fmt"
)

// targetSize is the length in bytes of an RSA-2048 ciphertext. Both clients hard-code
// it where C1 ends and C2 begins (wire.md §3.3).
const targetSize = 256

// Released is a key as it came out of a release answer.
type Released struct {
	KID        string            // response key.kid, with version
	Kty        string            // as sent: RSA-HSM, EC-HSM, oct-HSM, or without -HSM
	Enc        string            // request.enc as echoed
	TargetKID  string            // key_hsm header.kid
	PrivateKey crypto.PrivateKey // RSA and EC
	Secret     []byte            // oct
	Payload    json.RawMessage   // of the answer
	Answer     string            // the compact JWS
	Token      string            // the attestation token sent as target
	Nonce      string            // of the attestation (Sidecar) or the release (AttestSKR)
}

// payload is what the clients read of an answer (wire.md §3.2).
type payload struct {
	Request struct {
		Enc string `json:"enc"`
	} `json:"request"`
	Response struct {
		Key struct {
			Key struct {
				KID    string `json:"kid"`
				Kty    string `json:"kty"`
				KeyHSM string `json:"key_hsm"`
			} `json:"key"`
		} `json:"key"`
	} `json:"response"`
}

// envelope is a decoded key_hsm.
type envelope struct {
	SchemaVersion string `json:"schema_version"`
	Header        struct {
		KID string `json:"kid"`
		Alg string `json:"alg"`
		Enc string `json:"enc"`
	} `json:"header"`
	Ciphertext string `json:"ciphertext"`
}

// openPayload reads a payload and gives C1 and C2 of its ciphertext.
func openPayload(raw []byte) (out *Released, c1, c2 []byte, err error) {
	var p payload
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, nil, nil, fmt.Errorf("payload: %w", err)
	}
	key := p.Response.Key.Key
	b, err := decodeSegment(key.KeyHSM)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("key_hsm: %w", err)
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, nil, nil, fmt.Errorf("key_hsm: %w", err)
	}
	ciphertext, err := decodeSegment(e.Ciphertext)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("ciphertext: %w", err)
	}
	if len(ciphertext) <= targetSize {
		return nil, nil, nil, fmt.Errorf("ciphertext has %d bytes, and C1 alone has %d", len(ciphertext), targetSize)
	}
	out = &Released{KID: key.KID, Kty: key.Kty, Enc: p.Request.Enc, TargetKID: e.Header.KID, Payload: raw}
	return out, ciphertext[:targetSize], ciphertext[targetSize:], nil
}

// oaepHash is the hash of RSAES-OAEP and its MGF1 for an enc (wire.md §3.3).
func oaepHash(enc string) (crypto.Hash, error) {
	switch enc {
	case "CKM_RSA_AES_KEY_WRAP":
		return crypto.SHA1, nil
	case "RSA_AES_KEY_WRAP_256":
		return crypto.SHA256, nil
	case "RSA_AES_KEY_WRAP_384":
		return crypto.SHA384, nil
	}
	return 0, fmt.Errorf("enc %q is none of the three", enc)
}

// setKey reads an unwrapped key by its kty: PKCS #8 for RSA and EC, raw for oct.
func (r *Released) setKey(plain []byte) error {
	switch r.Kty {
	case "RSA", "RSA-HSM", "EC", "EC-HSM":
		key, err := x509.ParsePKCS8PrivateKey(plain)
		if err != nil {
			return fmt.Errorf("released %s key: %w", r.Kty, err)
		}
		r.PrivateKey = key
	case "oct", "oct-HSM":
		r.Secret = plain
	default:
		return fmt.Errorf("released key has kty %q", r.Kty)
	}
	return nil
}
