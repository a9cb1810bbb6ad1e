package wrap

import (
	"crypto/sha256"
	"sync"
)

// maxRecent bounds how many recipients are kept.
const maxRecent = 256

// Recent keeps recipients that were parsed, by the bytes that they were parsed from: one
// release parses its recipient when it is admitted, when it is judged and when it is
// sealed to, and to expand a key of ML-KEM costs as much as to seal to it. What was refused
// is not kept; when it is full it begins again. The zero value is ready, and safe for
// concurrent use.
type Recent struct {
	mu   sync.Mutex
	seen map[[32]byte]*Recipient
}

// parse is [ParseRecipient]. nil keeps nothing.
func (k *Recent) parse(b []byte) (*Recipient, error) {
	if k == nil {
		return ParseRecipient(b)
	}
	if len(b) > MaxJWK { // nor hash it
		return nil, badKey("JWK of %d bytes, limit %d", len(b), MaxJWK)
	}
	name := sha256.Sum256(b)
	k.mu.Lock()
	r := k.seen[name]
	k.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := ParseRecipient(b)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen == nil || len(k.seen) >= maxRecent {
		k.seen = map[[32]byte]*Recipient{}
	}
	k.seen[name] = r
	return r, nil
}
