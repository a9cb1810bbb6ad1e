package keyvault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/openskr/openskr/internal/jose"
)

// Signatures of releases.
const (
	RS256 = "RS256" // what Microsoft's SKR clients verify
	ES256 = "ES256" // a thirtieth of the cost, for clients that can
)

const (
	answerBits  = 2048
	answerHosts = 1 << 10        // authorities that have a certificate at once
	answerLife  = 24 * time.Hour // of a certificate here; it is good for longer
)

// Chain makes a certificate for a key and an authority, and gives it with what is above
// it, root last. Implemented by internal/deployment.
type Chain func(pub crypto.PublicKey, host string, now time.Time) ([]*x509.Certificate, error)

// Signer implements [Answers]. Its key lives in this process only. It is safe for
// concurrent use.
type Signer struct {
	chain Chain
	now   func() time.Time
	key   func() (crypto.Signer, error)

	mu sync.Mutex
	by map[string]answerer
}

type answerer struct {
	signer *jose.ChainSigner
	until  time.Time // when the next certificate is due
}

// NewSigner makes the key at the first use, or when Warm is called: RSA takes a while.
func NewSigner(alg string, chain Chain, now func() time.Time) (*Signer, error) {
	s := &Signer{chain: chain, now: now, by: map[string]answerer{}}
	switch alg {
	case RS256:
		s.key = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, answerBits) })
	case ES256:
		s.key = sync.OnceValues(func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
	default:
		return nil, fmt.Errorf("no answers are signed with %q", alg)
	}
	return s, nil
}

// Warm makes the key if there is none yet.
func (s *Signer) Warm() { _, _ = s.key() } // a failure comes again with SignFor

// SignFor implements [Answers].
func (s *Signer) SignFor(host string, payload []byte) (string, error) {
	j, err := s.signer(host)
	if err != nil {
		return "", err
	}
	return j.Sign(payload)
}

func (s *Signer) signer(host string) (*jose.ChainSigner, error) {
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if have, ok := s.by[host]; ok && now.Before(have.until) {
		return have.signer, nil
	}
	chain, err := s.chain(key.Public(), host, now)
	if err != nil {
		return nil, err
	}
	j, err := jose.NewChainSigner(key, chain)
	if err != nil {
		return nil, err
	}
	if len(s.by) >= answerHosts {
		clear(s.by)
	}
	s.by[host] = answerer{signer: j, until: now.Add(answerLife)}
	return j, nil
}
