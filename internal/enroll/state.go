package enroll

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// state is what the broker gives away between Begin and Finish, sealed to itself.
type state struct {
	AK            []byte   `json:"ak"`             // TPMT_PUBLIC, parsed
	EKCertificate []byte   `json:"ek_certificate"` // DER, verified
	Proof         [32]byte `json:"proof"`          // SHA-256 of the credential's secret
	Expires       int64    `json:"expires"`        // Unix seconds

	id [16]byte // of the sealed form, for single use
}

// maxState bounds a sealed state in bytes.
const maxState = 32 << 10

// sealer is AES-256-GCM with a random nonce; the additional data names purpose and
// deployment. At one enrolment a millisecond for a year a nonce repeats with a
// chance of 2^-27, and the key lives no longer than the deployment's.
type sealer struct {
	aead cipher.AEAD
	aad  []byte
}

func newSealer(key []byte, deployment string) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("enroll: state key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("enroll: state key: %w", err)
	}
	return &sealer{aead: aead, aad: []byte("openskr/enroll/state/v1\x00" + deployment)}, nil
}

func (s *sealer) seal(st *state) ([]byte, error) {
	b, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("enroll: state: %w", err)
	}
	return s.aead.Seal(nil, nil, b, s.aad), nil
}

// open gives back a state that seal made, whatever its age.
func (s *sealer) open(sealed []byte) (*state, error) {
	if len(sealed) < s.aead.Overhead() || len(sealed) > maxState {
		return nil, fmt.Errorf("state of %d bytes", len(sealed))
	}
	b, err := s.aead.Open(nil, nil, sealed, s.aad)
	if err != nil {
		return nil, errors.New("state was not made by this deployment, or was changed")
	}
	var st state
	if err := json.Unmarshal(b, &st, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	st.id = [16]byte(sealed[len(sealed)-16:]) // the GCM tag: another state has another
	return &st, nil
}

// burned remembers states presented, until they expire.
type burned struct {
	mu   sync.Mutex
	seen map[[16]byte]int64 // id to expiry, Unix seconds
}

var (
	errReplayed = errors.New("state was presented before")
	errFull     = errors.New("too many enrolments at once")
)

func (b *burned) add(st *state, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.seen[st.id]; ok {
		return errReplayed
	}
	if len(b.seen) >= maxBurned {
		for id, expires := range b.seen {
			if expires < now.Unix() {
				delete(b.seen, id)
			}
		}
		if len(b.seen) >= maxBurned {
			return errFull
		}
	}
	if b.seen == nil {
		b.seen = map[[16]byte]int64{}
	}
	b.seen[st.id] = st.Expires
	return nil
}
