package guest

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"
)

// Secret is memory for key material outside the Go heap: the collector makes no
// copy of it, core dumps leave it out, and it is locked against swapping where
// the limit of locked memory (RLIMIT_MEMLOCK) allows. It prints as a placeholder.
type Secret struct {
	mu     sync.Mutex
	mem    []byte // nil after Close
	locked bool   // memory cannot be swapped out
}

// NewSecret makes an empty Secret of n bytes.
func NewSecret(n int) (*Secret, error) {
	if n <= 0 {
		return nil, errors.New("secret of no bytes")
	}
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("memory for a secret: %w", err)
	}
	s := &Secret{mem: mem, locked: unix.Mlock(mem) == nil}
	if err := unix.Madvise(mem, unix.MADV_DONTDUMP); err != nil {
		return nil, errors.Join(fmt.Errorf("memory for a secret: %w", err), s.Close())
	}
	return s, nil
}

// TakeSecret moves b into a Secret and clears b.
func TakeSecret(b []byte) (*Secret, error) {
	defer clear(b)
	s, err := NewSecret(len(b))
	if err != nil {
		return nil, err
	}
	copy(s.mem, b)
	return s, nil
}

// Bytes gives the memory itself, nil after Close. It must not be used after Close.
func (s *Secret) Bytes() []byte {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mem
}

// Close clears and returns the memory. Closing twice is no error.
func (s *Secret) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mem == nil {
		return nil
	}
	clear(s.mem)
	mem := s.mem
	s.mem = nil
	return unix.Munmap(mem)
}

// Format implements [fmt.Formatter]: no verb prints the content.
func (s *Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// LogValue implements [slog.LogValuer].
func (s *Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText refuses: a secret is never part of a document.
func (s *Secret) MarshalText() ([]byte, error) { return nil, errors.New("a secret has no text") }
