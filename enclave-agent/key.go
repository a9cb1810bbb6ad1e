package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/wrap"
)

// Released is a key that was released to this machine, or a token, with its proof.
type Released struct {
	Material *Secret           // raw bytes of an oct key, PKCS#8 DER of another, or a token; close it
	KID      string            // URL with version, of a token that of its vault
	Kty      string            // of a key, in Key Vault's word: "oct", "RSA", "EC"
	Tags     map[string]string // of a key, signed by the broker
	Record   *receipt.Record
	Receipt  *receipt.Receipt
}

const pcrTries = 3

// Key asks for the key at keyURL, without a version for its latest. A TPM is enrolled
// when it has no AK certificate, and once more when the broker does not accept the
// one it has. Errors: *[Refused], *[Invalid], [ErrUnreachable], [ErrPending],
// [ErrConfig] and those of the hardware. On an error there is no key.
func (a *Agent) Key(ctx context.Context, keyURL string) (*Released, error) {
	ref, err := parseKeyURL(keyURL)
	if err != nil {
		return nil, err
	}
	return a.ask(ctx, &errand{purpose: binding.PurposeRelease, path: "/v1/release", key: ref})
}

// What [Agent.DiskKey] asks for a key for.
const (
	ToUnlock = binding.PurposeUnlock // a disk that was made with it
	ToFormat = binding.PurposeFormat // a disk; an operator allows that once, [ErrNotGranted]
)

// DiskKey is Key for a disk, and has the hardware sign whether the disk is opened or made:
// ToUnlock, ToFormat. The broker holds it against the key, and the record says it.
func (a *Agent) DiskKey(ctx context.Context, keyURL, purpose string) (*Released, error) {
	ref, err := parseKeyURL(keyURL)
	if err != nil {
		return nil, err
	}
	return a.ask(ctx, &errand{purpose: purpose, path: "/v1/release", key: ref})
}

// Token asks for an attested access token for the vault at vaultURL, https://HOST[:PORT]:
// a bearer token that reads there for a quarter of an hour, as far as the broker's
// attested roles allow this machine. Its bytes are Material; KID is the vault. Errors
// are those of [Agent.Key].
func (a *Agent) Token(ctx context.Context, vaultURL string) (*Released, error) {
	if err := checkVaultURL(vaultURL); err != nil {
		return nil, err
	}
	return a.ask(ctx, &errand{purpose: binding.PurposeToken, path: "/v1/token", vault: vaultURL})
}

// errand is what this machine proves itself for: a key, or a token for a vault.
type errand struct {
	purpose, path string
	key           *keyRef // nil of a token
	vault         string  // URL, of a token
}

func (e *errand) keyURL() string {
	if e.key == nil {
		return ""
	}
	return e.key.url
}

func (a *Agent) ask(ctx context.Context, on *errand) (*Released, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	defer func() { go guest.Collect() }() // what the recipient key left on the heap; nobody waits for it
	a.checkClock()
	if tpm, ok := a.enrols(); ok {
		return a.certified(ctx, on, tpm)
	}
	return a.release(ctx, on, nil)
}

// certified asks with the TPM's AK certificate.
func (a *Agent) certified(ctx context.Context, on *errand, tpm *guest.TPM) (*Released, error) {
	cert, fresh, err := a.certificate(ctx, tpm)
	if err != nil {
		return nil, err
	}
	out, err := a.release(ctx, on, akCertificate(cert))
	if fresh || !certificateRefused(err) {
		return out, err
	}
	a.cfg.Notice("the broker does not accept the stored AK certificate; enrolling again")
	if cert, err = a.renew(ctx, tpm); err != nil {
		return nil, err
	}
	return a.release(ctx, on, akCertificate(cert))
}

func akCertificate(der []byte) []attest.Endorsement {
	return []attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: der}}
}

func certificateRefused(err error) bool {
	var r *Refused
	return errors.As(err, &r) && (r.Reason == string(attest.CheckAKNotTrusted) || r.Reason == string(attest.CheckChainExpired) ||
		r.Reason == string(attest.CheckChainUntrusted) || r.Reason == string(attest.CheckCertRevoked))
}

// release asks the brokers; more are endorsements besides those of the hardware.
func (a *Agent) release(ctx context.Context, on *errand, more []attest.Endorsement) (out *Released, err error) {
	err = a.anyBroker(ctx, func(ctx context.Context, broker string) (err error) {
		out, err = a.exchange(ctx, broker, on, more)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// exchange is one attempt at one broker: every attempt takes a new challenge and
// a new recipient key.
func (a *Agent) exchange(ctx context.Context, broker string, on *errand, more []attest.Endorsement) (out *Released, err error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another request of this program: %w", ctx.Err())
	}
	req, err := strict.Marshal(binding.ChallengeRequest{Purpose: on.purpose, Key: on.keyURL(), Vault: on.vault})
	if err != nil {
		return nil, err
	}
	var c binding.Challenge
	if err := a.post(ctx, broker, "/v1/challenge", req, &c); err != nil {
		return nil, err
	}
	if c.Audience != a.cfg.Trust.Deployment {
		return nil, invalid("audience", "the challenge is for deployment %.64q, agent.json names %q", c.Audience, a.cfg.Trust.Deployment)
	}
	r, ev, err := a.attest(ctx, on, c.Nonce)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := r.Close(); cerr != nil && err == nil {
			out, err = nil, errors.Join(cerr, out.Material.Close())
		}
	}()
	recipient, err := wrap.ParseRecipient(r.JWK())
	if err != nil {
		return nil, err
	}
	body, err := strict.Marshal(binding.ReleaseRequest{
		RuntimeData: ev.RuntimeData, Evidence: jsontext.Value(ev.Body), Endorsements: append(ev.Endorsements, more...),
	})
	if err != nil {
		return nil, err
	}
	var rsp binding.ReleaseResponse
	if err := a.post(ctx, broker, on.path, body, &rsp); err != nil {
		return nil, err
	}
	q := &asked{errand: on, body: body, nonce: c.Nonce, recipient: recipient.Thumbprint(), enc: algorithm(a.cfg.Recipient)}
	answer, rec, err := a.verifyResponse(rsp.Response, q)
	if err != nil {
		return nil, err
	}
	m, err := open(ctx, r, answer, ev.RuntimeData)
	if err != nil {
		return nil, err
	}
	return &Released{Material: m, KID: answer.KID, Kty: answer.Kty, Tags: answer.Tags, Record: rec, Receipt: answer.Receipt}, nil
}

// attest makes recipient, runtime data and evidence, again when a PCR changed
// meanwhile. The nonce has not been sent back yet, so it is still good.
func (a *Agent) attest(ctx context.Context, on *errand, nonce []byte) (r Recipient, ev attest.Evidence, err error) {
	for range pcrTries {
		if r, err = a.device.NewRecipient(ctx, a.cfg.Recipient); err != nil {
			return nil, ev, err
		}
		data := binding.RuntimeData{
			Keys: []jsontext.Value{r.JWK()}, Nonce: nonce, Audience: a.cfg.Trust.Deployment,
			Purpose: on.purpose, Key: on.keyURL(), Vault: on.vault, Enc: algorithm(a.cfg.Recipient),
		}
		var doc []byte
		if doc, err = data.Encode(); err == nil {
			if ev, err = a.device.Evidence(ctx, Ask{RuntimeData: doc, Nonce: nonce}, r); err == nil {
				return r, ev, nil
			}
		}
		err = errors.Join(err, r.Close())
		if !errors.Is(err, guest.ErrPCRsChanged) {
			break
		}
	}
	return nil, ev, err
}

// open unwraps the key. The context of the wrap is the runtime data and, as aad,
// the leaf of the record: a ciphertext of another request or record does not open.
func open(ctx context.Context, r Recipient, answer *receipt.Response, runtimeData []byte) (s *Secret, err error) {
	guest.Erasing(func() { s, err = unwrap(ctx, r, answer, runtimeData) })
	return s, err
}

func unwrap(ctx context.Context, r Recipient, answer *receipt.Response, runtimeData []byte) (*Secret, error) {
	leaf := receipt.LeafHash(answer.Receipt.Leaf)
	plain, err := r.Open(ctx, receipt.WrapInfo(runtimeData), leaf[:], answer.Ciphertext)
	switch {
	case errors.Is(err, guest.ErrPCRsChanged):
		return nil, fmt.Errorf("the key was released but cannot be opened: %w", err)
	case errors.Is(err, guest.ErrRecipientSpent):
		return nil, err
	case err != nil:
		return nil, invalid("ciphertext", "%w", err)
	}
	return guest.TakeSecret(plain)
}
