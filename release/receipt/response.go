package receipt

import "crypto/sha256"

// ResponseType is the typ header of a signed release response.
const ResponseType = "application/openskr-release+jws"

// Response is the payload of the JWS (ES256, key pinned in agent.json) that
// answers an allowed release, or a token that was given.
type Response struct {
	Request    Digest   `json:"request"` // SHA-256 of the request body
	KID        string   `json:"kid"`     // key URL with version; of a token the URL of its vault
	Policy     Digest   `json:"policy"`  // of a token zero
	Time       int64    `json:"time"`    // decision, Unix milliseconds
	Enc        string   `json:"enc"`
	Ciphertext []byte   `json:"ciphertext"`
	Receipt    *Receipt `json:"receipt"`

	// Of a key: its type in Key Vault's word, and its tags as they were when the decision
	// was recorded. A disk's key carries the digest of the disk's header there.
	Kty  string            `json:"kty,omitempty"`
	Tags map[string]string `json:"tags,omitempty"`
}

// WrapInfo is the HPKE info of a wrapped key: it ties the ciphertext to the
// runtime data; the leaf hash as aad ties it to the record.
func WrapInfo(runtimeData []byte) []byte {
	h := sha256.Sum256(runtimeData)
	return append([]byte("openskr/wrap/v1"), h[:]...)
}
