package deployment

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/age"

	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// minRecipients is how many recovery recipients a deployment has at least: losing
// the only key is the likeliest catastrophe of a self-hosted broker.
const minRecipients = 2

// settingRecovery is the object that says that a drill succeeded.
const settingRecovery = "recovery"

// challengeLife is how long a recovery challenge is good.
const challengeLife = 10 * time.Minute

// maxWrap bounds "dk/age": a hybrid recipient's stanza has about 1.6 kB.
const maxWrap = 64 << 10

// recovery is the part of a Deployment that stands on its opened log.
type recovery struct {
	secrets secrets
	objects release.Objects
	log     keyvault.Store
	now     func() time.Time
	drilled atomic.Bool // a success is never taken back

	rotating sync.Mutex
}

// parseRecipients reads at least two different native age recipients.
func parseRecipients(list []string) ([]age.Recipient, error) {
	if len(list) < minRecipients {
		return nil, fmt.Errorf("%d recovery recipient, want at least %d: one lost key must not lose everything", len(list), minRecipients)
	}
	var out []age.Recipient
	for i, s := range list {
		if slices.Contains(list[:i], s) {
			return nil, fmt.Errorf("recovery recipient %s is given twice", s)
		}
		var r age.Recipient
		var err error
		if strings.HasPrefix(s, "age1pq1") {
			r, err = age.ParseHybridRecipient(s)
		} else {
			r, err = age.ParseX25519Recipient(s)
		}
		if err != nil {
			return nil, fmt.Errorf("recovery recipient %.80q: %w", s, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// encryptDK encrypts the deployment key to all recipients; any one opens it.
func encryptDK(dk []byte, recipients []age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipients...)
	if err != nil {
		return nil, fmt.Errorf("recovery recipients (post-quantum and other recipients cannot be mixed): %w", err)
	}
	if _, err := w.Write(dk); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// ErrWrongIdentity says that none of the identities opens the recovery wrap.
var ErrWrongIdentity = errors.New("none of the recovery identities opens this deployment's key")

// decryptDK opens the recovery wrap. The caller clears the key.
func decryptDK(wrap []byte, identities []age.Identity) ([]byte, error) {
	if len(identities) == 0 {
		return nil, errors.New("no recovery identity given")
	}
	if len(wrap) > maxWrap {
		return nil, fmt.Errorf("recovery wrap of %d bytes, limit %d", len(wrap), maxWrap)
	}
	r, err := age.Decrypt(bytes.NewReader(wrap), identities...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, ErrWrongIdentity
	}
	if err != nil {
		return nil, fmt.Errorf("recovery wrap: %w", err)
	}
	dk, err := io.ReadAll(io.LimitReader(r, dkSize+1))
	if err != nil || len(dk) != dkSize {
		clear(dk)
		return nil, fmt.Errorf("recovery wrap does not hold a deployment key: %w", errors.Join(err, errSealed))
	}
	return dk, nil
}

// WithIdentities opens with a recovery identity.
func WithIdentities(identities ...age.Identity) Opener {
	return func(ctx context.Context, st secrets, _ string) ([]byte, error) {
		wrap, err := st.Secret(ctx, secretAge)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", secretAge, err)
		}
		return decryptDK(wrap, identities)
	}
}

// proofKey is what the holder of the deployment key proves itself with; it opens
// nothing.
func proofKey(dk []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, dk, nil, "openskr/recovery-drill", 32)
}

// RecoveryStatus is the body of GET /v1/recovery, for an administrator.
type RecoveryStatus struct {
	Deployment string   `json:"deployment"`
	Recipients []string `json:"recipients"`
	Drilled    int64    `json:"drilled,omitempty"` // Unix seconds of the last success
	Wrap       []byte   `json:"wrap"`              // age file with the deployment key
	Challenge  []byte   `json:"challenge"`         // good for 10 minutes
}

// drillDone is the value of the recovery setting.
type drillDone struct {
	Drilled int64 `json:"drilled"`
}

// Status gives what an operator needs for a drill. The wrap is useless without a
// recovery identity.
func (d *Deployment) Status(ctx context.Context) (any, error) {
	wrap, err := d.secrets.Secret(ctx, secretAge)
	if err != nil {
		return nil, err
	}
	last, err := d.lastDrill(ctx)
	if err != nil {
		return nil, err
	}
	return RecoveryStatus{Deployment: d.ID, Recipients: d.Recipients, Drilled: last, Wrap: wrap, Challenge: d.challenge()}, nil
}

// challenge is expiry ‖ random ‖ MAC, kept nowhere.
func (d *Deployment) challenge() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(d.now().Add(challengeLife).Unix()))
	b = append(b, random(16)...)
	return append(b, mac(d.drillKey, b)...)
}

const challengeSize = 8 + 16 + sha256.Size

// DrillProof is the operator's side of a drill: it opens the wrap with an
// identity and answers the challenge. The result tells nothing about the key.
func DrillProof(wrap, challenge []byte, identities ...age.Identity) ([]byte, error) {
	if len(challenge) != challengeSize {
		return nil, fmt.Errorf("recovery challenge of %d bytes, want %d", len(challenge), challengeSize)
	}
	dk, err := decryptDK(wrap, identities)
	if err != nil {
		return nil, err
	}
	defer clear(dk)
	key, err := proofKey(dk)
	if err != nil {
		return nil, err
	}
	return append(bytes.Clone(challenge), mac(key, challenge)...), nil
}

// Drill takes the answer of DrillProof and records the success, after which keys
// can be made. rec is the base record of the door.
func (d *Deployment) Drill(ctx context.Context, rec *release.Record, proof []byte) error {
	if len(proof) != challengeSize+sha256.Size {
		return release.Refuse(release.ReasonBadRequest, "recovery proof of %d bytes, want %d", len(proof), challengeSize+sha256.Size)
	}
	challenge, answer := proof[:challengeSize], proof[challengeSize:]
	body, tag := challenge[:8+16], challenge[8+16:]
	if !hmac.Equal(mac(d.drillKey, body), tag) {
		return release.Refuse(release.ReasonBadRequest, "recovery challenge was not made here")
	}
	if expires := int64(binary.BigEndian.Uint64(body)); d.now().Unix() > expires {
		return release.Refuse(release.ReasonBadRequest, "recovery challenge expired, ask for a new one")
	}
	if !hmac.Equal(mac(d.drillProof, challenge), answer) {
		return release.Refuse(release.ReasonForbidden, "recovery proof is wrong: the identity opened another deployment's key")
	}
	return d.recordDrill(ctx, rec)
}

func (d *Deployment) recordDrill(ctx context.Context, rec *release.Record) error {
	rec.Operation, rec.Object = "recovery/drill", settingRecovery
	_, err := d.objects.ChangeObject(ctx, rec, release.ObjectSetting, settingRecovery, func(*release.Object) ([]byte, error) {
		return json.Marshal(drillDone{Drilled: d.now().Unix()})
	})
	return err
}

// lastDrill gives the time of the last success, 0 when there was none.
func (d *Deployment) lastDrill(ctx context.Context) (int64, error) {
	o, err := d.objects.Object(ctx, release.ObjectSetting, settingRecovery)
	if release.ReasonOf(err) == release.ReasonNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var v drillDone
	if err := strict.Unmarshal(o.Value, 1<<10, &v); err != nil {
		return 0, release.Refuse(release.ReasonIntegrity, "recovery setting: %w", err)
	}
	return v.Drilled, nil
}

// Ready refuses the first key until a drill succeeded; it is keyvault.Config.Ready.
func (d *Deployment) Ready(ctx context.Context) error {
	if d.drilled.Load() {
		return nil
	}
	last, err := d.lastDrill(ctx)
	if err != nil {
		return err
	}
	if last == 0 {
		return release.Refuse(release.ReasonRecoveryNotReady, "nobody has proven yet that this deployment can be recovered: run `openskr recovery drill --identity FILE`")
	}
	d.drilled.Store(true)
	return nil
}
