// Package agent is the Attester (RFC 9334): inside a machine with a TPM or a TEE it
// asks a broker for a challenge, collects evidence, asks for a key, and believes
// the answer only when everything about it checks out against agent.json, the one
// thing it trusts.
//
//	challenge → recipient key in the hardware → evidence → release
//	         → signature, receipt, record → open in the hardware → Secret
//
// It carries no verifier and needs no credential: evidence is the credential.
package agent

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/release/receipt"
)

// Secret is key material in locked memory.
type Secret = guest.Secret

// NewSecret makes an empty Secret of n bytes.
func NewSecret(n int) (*Secret, error) { return guest.NewSecret(n) }

// DefaultTimeout bounds an operation with all its retries.
const DefaultTimeout = 60 * time.Second

// Config of an Agent. Only Trust is required.
type Config struct {
	Trust     *receipt.Trust // from ParseTrust
	Hardware                 // zero: what [Detect] finds
	State     string         // folder that keeps a TPM's AK certificate, "": memory
	Recipient RecipientKind  // "": hybrid
	Timeout   time.Duration  // 0: DefaultTimeout
	Built     time.Time      // build date: no clock is believed that is before it
	Now       func() time.Time
	// Notice is told, in a sentence, what a person should know. nil: nobody.
	Notice func(string)
}

// Agent gets keys for this machine. It is safe for concurrent use.
type Agent struct {
	cfg    Config
	device Attester
	client *http.Client
	keys   []*ecdsa.PublicKey // that sign responses
	// wait sleeps between attempts; tests watch it.
	wait func(context.Context, time.Duration) error

	// turn is held by the one exchange under way: a TPM has room for three keys, and
	// hosts limit how often a TEE is asked.
	turn chan struct{}

	mu     sync.Mutex
	cert   []byte                // AK certificate, DER
	tokens map[string]*heldToken // by URL of the vault
}

// Errors that callers tell apart, besides *[Refused] and *[Invalid];
// [ExitCode] says how a program ends with each.
var (
	// ErrNoHardware says that nothing here can prove what was booted, or that there is
	// no right to use it.
	ErrNoHardware = errors.New("no attestation hardware")
	// ErrNotNeeded says that this platform needs no enrolment.
	ErrNotNeeded = errors.New("no enrolment needed")
	// ErrUnreachable says that no broker answered in time.
	ErrUnreachable = errors.New("no broker reached")
	// ErrPending says that this machine waits for an operator's approval.
	ErrPending = errors.New("this machine waits for approval")
	// ErrNotGranted says that nobody allows a disk to be made with that key just now.
	ErrNotGranted = errors.New("no disk may be made with this key")
	// ErrDisk says that a disk is not the one that was sealed, package boot.
	ErrDisk = errors.New("the disk is not what was sealed")
)

// New checks the configuration and opens the hardware. The caller closes the Agent.
func New(ctx context.Context, c Config) (*Agent, error) {
	if c.Trust == nil {
		return nil, fmt.Errorf("%w: no trust configuration", ErrConfig)
	}
	if c.Recipient == "" {
		c.Recipient = Hybrid
	}
	if algorithm(c.Recipient) == "" {
		return nil, fmt.Errorf("%w: recipient kind %q: want hybrid, p256 or rsa", ErrConfig, c.Recipient)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Notice == nil {
		c.Notice = func(string) {}
	}
	a := &Agent{cfg: c, wait: sleep, turn: make(chan struct{}, 1)}
	var err error
	if a.keys, err = responseKeys(c.Trust); err != nil {
		return nil, err
	}
	if a.client, err = a.httpClient(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if a.device, err = c.Hardware.open(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Platform is the type of evidence that this machine gives.
func (a *Agent) Platform() attest.Type { return a.device.Type() }

// Close releases the hardware and the tokens that are held.
func (a *Agent) Close() error {
	a.client.CloseIdleConnections()
	return errors.Join(a.dropTokens(), a.device.Close())
}

// now is the time that certificates are held against. A clock from before this
// program was built is wrong; the build date is nearer to the truth (design: D19).
func (a *Agent) now() time.Time {
	if t := a.cfg.Now(); !t.Before(a.cfg.Built) {
		return t
	}
	return a.cfg.Built
}

func (a *Agent) checkClock() {
	if t := a.cfg.Now(); t.Before(a.cfg.Built) {
		a.cfg.Notice(fmt.Sprintf("the clock says %s, which is before this program was built: certificates are checked at %s instead",
			t.UTC().Format(time.RFC3339), a.cfg.Built.UTC().Format(time.RFC3339)))
	}
}

// Exit codes of openskr-agent.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2 // also an unreadable configuration
	ExitRefused     = 3
	ExitNoHardware  = 4
	ExitUnreachable = 5
	ExitInvalid     = 6 // receipt or response does not check out
	ExitPending     = 7
	ExitDisk        = 8 // the disk is not what was sealed
)

// ExitCode says how a program ends with err.
func ExitCode(err error) int {
	var refused *Refused
	var invalid *Invalid
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrConfig), errors.Is(err, ErrNotNeeded):
		return ExitUsage
	case errors.Is(err, ErrPending):
		return ExitPending
	case errors.As(err, &refused):
		return ExitRefused
	case errors.As(err, &invalid):
		return ExitInvalid
	case errors.Is(err, ErrNoHardware), errors.Is(err, guest.ErrNoTPM):
		return ExitNoHardware
	case errors.Is(err, ErrDisk):
		return ExitDisk
	case errors.Is(err, ErrUnreachable):
		return ExitUnreachable
	}
	return ExitFailed
}
