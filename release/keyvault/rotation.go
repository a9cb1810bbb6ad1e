package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/openskr/openskr/release"
)

// What a rotation policy can do, in the words of Key Vault.
const (
	ActionRotate = "Rotate" // make a new version
	ActionNotify = "Notify" // write the record keys/nearexpiry
)

// Bounds of a policy, in days.
const (
	minExpiry  = 28 // Key Vault's
	minTrigger = 1
)

// RotationPolicy says what becomes of a key as its latest version grows old (wire
// format: §2.2).
type RotationPolicy struct {
	Actions          []LifetimeAction // at most one of each
	Expiry           Duration         // life of the versions that a rotation makes; none: they do not expire
	Created, Updated int64            // Unix seconds, 0 of the default
}

// LifetimeAction is one thing to do, at one of two moments.
type LifetimeAction struct {
	Action                    string // ActionRotate, ActionNotify
	AfterCreate, BeforeExpiry Duration
}

// defaultRotation is that of a key of which nothing was said.
func defaultRotation() *RotationPolicy {
	return &RotationPolicy{Actions: []LifetimeAction{{Action: ActionNotify, BeforeExpiry: Duration{text: "P30D", days: 30}}}}
}

// rotation is the value of a [release.ObjectRotation].
type rotation struct {
	Vault    string          `json:"vault"`
	Name     string          `json:"name"`
	Policy   *rotationPolicy `json:"policy,omitempty"` // nil: the default
	Notified string          `json:"notified,omitempty"`
}

type rotationPolicy struct {
	Actions []lifetimeAction `json:"actions"`
	Expiry  string           `json:"expiry,omitempty"`
	Created int64            `json:"created"`
	Updated int64            `json:"updated"`
}

type lifetimeAction struct {
	Action       string `json:"action"`
	AfterCreate  string `json:"after_create,omitempty"`
	BeforeExpiry string `json:"before_expiry,omitempty"`
}

// RotationPolicy gives that of a key, the default where none was set. ReasonNotFound
// for a key that there is not.
func (s *Service) RotationPolicy(ctx context.Context, vault, name string) (*RotationPolicy, error) {
	row, err := s.rotated(ctx, vault, name)
	if err != nil {
		return nil, err
	}
	o, err := s.Objects.Object(ctx, release.ObjectRotation, row.ObjectID)
	if err != nil && release.ReasonOf(err) == release.ReasonNotFound {
		return defaultRotation(), nil
	}
	if err != nil {
		return nil, err
	}
	_, p, err := decodeRotation(o)
	return p, err
}

// SetRotationPolicy replaces that of a key, with a record.
func (s *Service) SetRotationPolicy(ctx context.Context, vault, name string, in RotationPolicy) (*RotationPolicy, error) {
	if err := in.sound(); err != nil {
		return nil, err
	}
	row, err := s.rotated(ctx, vault, name)
	if err != nil {
		return nil, err
	}
	out := in
	rec := s.Record(ctx, "keys/setrotationpolicy")
	rec.Vault, rec.Object, rec.ObjectID, rec.Detail = row.Vault, row.Name, row.ObjectID, in.detail()
	_, err = s.Objects.ChangeObject(ctx, rec, release.ObjectRotation, row.ObjectID, func(old *release.Object) ([]byte, error) {
		kept := rotation{Vault: row.Vault, Name: row.Name}
		out.Created, out.Updated = s.Now().Unix(), s.Now().Unix()
		if old != nil {
			was, p, err := decodeRotation(old)
			if err != nil {
				return nil, err
			}
			kept.Notified = was.Notified
			if was.Policy != nil {
				out.Created = p.Created
			}
		}
		kept.Policy = out.encode()
		return json.Marshal(kept)
	})
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// rotated gives the latest version of a key that may be rotated here.
func (s *Service) rotated(ctx context.Context, vault, name string) (*Row, error) {
	if err := named(vault, name); err != nil {
		return nil, err
	}
	if s.Objects == nil {
		return nil, release.Refuse(release.ReasonNotOffered, "this broker keeps no rotation policies")
	}
	return s.Get(ctx, vault, name, "")
}

// sound judges a policy as it is set.
func (p *RotationPolicy) sound() error {
	refuse := func(format string, args ...any) error {
		return release.Refuse(release.ReasonBadRequest, "rotation policy: "+format, args...)
	}
	if !p.Expiry.IsZero() && p.Expiry.atLeast() < minExpiry {
		return refuse("expiryTime %s, want %d days or more", p.Expiry, minExpiry)
	}
	for i, a := range p.Actions {
		switch {
		case a.Action != ActionRotate && a.Action != ActionNotify:
			return refuse("action %.16q, want %s or %s", a.Action, ActionRotate, ActionNotify)
		case slices.ContainsFunc(p.Actions[:i], func(b LifetimeAction) bool { return b.Action == a.Action }):
			return refuse("two actions %s, want one of each at most", a.Action)
		case a.AfterCreate.IsZero() == a.BeforeExpiry.IsZero():
			return refuse("the trigger of %s has exactly one of timeAfterCreate and timeBeforeExpiry", a.Action)
		case max(a.AfterCreate.atLeast(), a.BeforeExpiry.atLeast()) < minTrigger:
			return refuse("the trigger of %s is shorter than a day", a.Action)
		case a.Action == ActionRotate && !p.Expiry.IsZero() && a.BeforeExpiry.atMost() >= p.Expiry.atLeast():
			return refuse("timeBeforeExpiry %s is not shorter than expiryTime %s: every new version would be rotated at once", a.BeforeExpiry, p.Expiry)
		}
	}
	return nil
}

// detail says in a record what was set.
func (p *RotationPolicy) detail() map[string]string {
	out := map[string]string{"expiry": p.Expiry.String()}
	for _, a := range p.Actions {
		word := map[string]string{ActionRotate: "rotate", ActionNotify: "notify"}[a.Action]
		if a.AfterCreate.IsZero() {
			out[word+"_before_expiry"] = a.BeforeExpiry.String()
		} else {
			out[word+"_after_create"] = a.AfterCreate.String()
		}
	}
	return out
}

func (p *RotationPolicy) encode() *rotationPolicy {
	out := &rotationPolicy{Actions: []lifetimeAction{}, Expiry: p.Expiry.String(), Created: p.Created, Updated: p.Updated}
	for _, a := range p.Actions {
		out.Actions = append(out.Actions, lifetimeAction{Action: a.Action, AfterCreate: a.AfterCreate.String(), BeforeExpiry: a.BeforeExpiry.String()})
	}
	return out
}

// decodeRotation reads a stored one.
func decodeRotation(o *release.Object) (*rotation, *RotationPolicy, error) {
	var r rotation
	err := json.Unmarshal(o.Value, &r)
	if err != nil || r.Policy == nil {
		return &r, defaultRotation(), kept(o, err)
	}
	p := &RotationPolicy{Created: r.Policy.Created, Updated: r.Policy.Updated}
	p.Expiry, err = optional(r.Policy.Expiry)
	for _, a := range r.Policy.Actions {
		after, err1 := optional(a.AfterCreate)
		before, err2 := optional(a.BeforeExpiry)
		err = errors.Join(err, err1, err2)
		p.Actions = append(p.Actions, LifetimeAction{Action: a.Action, AfterCreate: after, BeforeExpiry: before})
	}
	return &r, p, kept(o, errors.Join(err, p.sound()))
}

func optional(text string) (Duration, error) {
	if text == "" {
		return Duration{}, nil
	}
	return ParseDuration(text)
}

func kept(o *release.Object, err error) error {
	if err == nil {
		return nil
	}
	return release.Refuse(release.ReasonIntegrity, "rotation policy of key %.64q: %s; set it again", o.Name, err.Error())
}
