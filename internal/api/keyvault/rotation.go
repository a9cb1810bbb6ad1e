package keyvault

import (
	"context"
	"net/http"
	"strings"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// RotationPolicy is a key's, in an answer.
type RotationPolicy struct {
	ID         string             `json:"id"`
	Actions    []LifetimeAction   `json:"lifetimeActions"`
	Attributes RotationAttributes `json:"attributes"`
}

// LifetimeAction is one thing to do, at the moment of its trigger.
type LifetimeAction struct {
	Trigger LifetimeTrigger    `json:"trigger"`
	Action  LifetimeActionType `json:"action"`
}

// LifetimeTrigger is one of two durations (ISO 8601).
type LifetimeTrigger struct {
	AfterCreate  string `json:"timeAfterCreate,omitempty"`
	BeforeExpiry string `json:"timeBeforeExpiry,omitempty"`
}

// LifetimeActionType is "Rotate" or "Notify".
type LifetimeActionType struct {
	Type string `json:"type"`
}

// RotationAttributes in an answer; times in Unix seconds, none of the default policy.
type RotationAttributes struct {
	Expiry  string `json:"expiryTime,omitempty"`
	Created int64  `json:"created,omitzero"`
	Updated int64  `json:"updated,omitzero"`
}

// setRotation is the body of PUT /keys/{name}/rotationpolicy. What the broker sets is
// left out: clients send back what they were answered.
type setRotation struct {
	Actions    []lifetimeAction `json:"lifetimeActions"`
	Attributes *struct {
		Expiry *string `json:"expiryTime"`
	} `json:"attributes"`
}

type lifetimeAction struct {
	Trigger *struct {
		AfterCreate  *string `json:"timeAfterCreate"`
		BeforeExpiry *string `json:"timeBeforeExpiry"`
	} `json:"trigger"`
	Action *struct {
		Type string `json:"type"`
	} `json:"action"`
}

func shapeRotation() *shape {
	within := func(names ...string) *shape { return &shape{members: leaves(names...), guarded: names} }
	action := within("trigger", "action")
	action.members["trigger"], action.members["action"] = within("timeAfterCreate", "timeBeforeExpiry"), within("type")
	s := within("lifetimeActions", "attributes")
	s.members["lifetimeActions"], s.members["attributes"] = &shape{items: action}, within("expiryTime")
	return s
}

func (d *door) rotationRoutes() []*route.Route {
	const path = "/keys/:name/rotationpolicy"
	return []*route.Route{
		{
			Method: http.MethodPost, Path: "/keys/:name/rotate", Name: "keys/rotate", Access: route.Role, Action: identity.KeysRotate,
			Queue: route.Making, Do: d.rotate,
		},
		{Method: http.MethodGet, Path: path, Name: "keys/rotationpolicy", Access: route.Role, Action: identity.RotationRead, Do: d.rotationPolicy},
		{
			Method: http.MethodPut, Path: path, Name: "keys/setrotationpolicy", Access: route.Role, Action: identity.RotationWrite,
			Body: route.JSON, Limit: 4 << 10, Do: folded(shapeRotation(), d.setRotationPolicy),
		},
	}
}

func (d *door) rotate(ctx context.Context, c *route.Call) (any, error) {
	name, _, err := target(c)
	if err != nil {
		return nil, err
	}
	row, err := d.Service.Rotate(ctx, c.Vault, name)
	return d.answer(c, row, err)
}

func (d *door) rotationPolicy(ctx context.Context, c *route.Call) (any, error) {
	name, _, err := target(c)
	if err != nil {
		return nil, err
	}
	p, err := d.Service.RotationPolicy(ctx, c.Vault, name)
	if err != nil {
		return nil, err
	}
	return rotationAnswer(c, name, p), nil
}

func (d *door) setRotationPolicy(ctx context.Context, c *route.Call, req *setRotation) (any, error) {
	name, _, err := target(c)
	if err != nil {
		return nil, err
	}
	in, err := req.policy()
	if err != nil {
		return nil, err
	}
	p, err := d.Service.SetRotationPolicy(ctx, c.Vault, name, in)
	if err != nil {
		return nil, err
	}
	return rotationAnswer(c, name, p), nil
}

func rotationAnswer(c *route.Call, name string, p *keyvault.RotationPolicy) *RotationPolicy {
	out := &RotationPolicy{
		ID: "https://" + c.Host + "/keys/" + name + "/rotationpolicy", Actions: []LifetimeAction{},
		Attributes: RotationAttributes{Expiry: p.Expiry.String(), Created: p.Created, Updated: p.Updated},
	}
	for _, a := range p.Actions {
		out.Actions = append(out.Actions, LifetimeAction{
			Trigger: LifetimeTrigger{AfterCreate: a.AfterCreate.String(), BeforeExpiry: a.BeforeExpiry.String()}, Action: LifetimeActionType{Type: a.Action},
		})
	}
	return out
}

func (r *setRotation) policy() (p keyvault.RotationPolicy, err error) {
	if r.Attributes != nil {
		if p.Expiry, err = duration(r.Attributes.Expiry); err != nil {
			return p, err
		}
	}
	for _, a := range r.Actions {
		if a.Action == nil || a.Trigger == nil {
			return p, release.Refuse(release.ReasonBadRequest, "a lifetime action has a trigger and an action")
		}
		var to keyvault.LifetimeAction
		if to.Action = a.Action.Type; strings.EqualFold(to.Action, keyvault.ActionRotate) {
			to.Action = keyvault.ActionRotate
		} else if strings.EqualFold(to.Action, keyvault.ActionNotify) {
			to.Action = keyvault.ActionNotify
		}
		if to.AfterCreate, err = duration(a.Trigger.AfterCreate); err != nil {
			return p, err
		}
		if to.BeforeExpiry, err = duration(a.Trigger.BeforeExpiry); err != nil {
			return p, err
		}
		p.Actions = append(p.Actions, to)
	}
	return p, nil
}

// duration reads one; null and absent are none.
func duration(text *string) (keyvault.Duration, error) {
	if text == nil {
		return keyvault.Duration{}, nil
	}
	return keyvault.ParseDuration(*text)
}
