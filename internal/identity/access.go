package identity

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/openskr/openskr/release"
)

// Operations of records.
const (
	OpAssign   = "roles/assign"
	OpUnassign = "roles/remove"
)

// AccessConfig is what an Access stands on; every field is required.
type AccessConfig struct {
	Objects release.Objects
	// Record makes the base of a record from the call in ctx.
	Record func(ctx context.Context, op string) *release.Record
	// Right gives what the right of ctx's caller rests on.
	Right func(ctx context.Context) []release.ObjectState
	Now   func() time.Time
}

// Access changes who there is and what they may do. Every change is a record, and
// durable before it takes effect; whether its caller may make it is asked before.
type Access struct {
	c AccessConfig
	// One change at a time: two that each leave the other's administrator behind
	// would together leave none.
	mu sync.Mutex
}

// NewAccess checks that nothing is missing.
func NewAccess(c AccessConfig) (*Access, error) {
	if c.Objects == nil || c.Record == nil || c.Right == nil || c.Now == nil {
		return nil, errors.New("identity: a part of the access service is missing")
	}
	return &Access{c: c}, nil
}

// begin waits for its turn to change something, and refuses when the right of the
// caller changed before it came. end must be called without an error.
func (a *Access) begin(ctx context.Context) (end func(), err error) {
	a.mu.Lock()
	for _, was := range a.c.Right(ctx) {
		now := int64(0)
		o, err := a.c.Objects.Object(ctx, was.Kind, was.Name)
		switch {
		case err == nil:
			now = o.Generation
		case release.ReasonOf(err) != release.ReasonNotFound:
			a.mu.Unlock()
			return nil, err
		}
		if now != was.Generation {
			a.mu.Unlock()
			return nil, release.Refuse(release.ReasonStateChanged, "%s %s changed since it was read", was.Kind, was.Name)
		}
	}
	return a.mu.Unlock, nil
}

// Held is an assignment and whose it is.
type Held struct {
	Assignment
	Principal string // id
}

// errStop ends a walk.
var errStop = errors.New("stop")

// walk gives every object of a kind whose name sorts after `after`, in name order.
func (a *Access) walk(ctx context.Context, kind, after string, fn func(*release.Object) error) error {
	for {
		page, err := a.c.Objects.List(ctx, kind, after, 256)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, o := range page {
			if err := fn(o); err != nil {
				return err
			}
			after = o.Name
		}
	}
}

// Assignment gives the one of that id at scope or below it. Reached by the scope of the
// request only, so that an assignment elsewhere is as one that does not exist.
// ReasonNotFound.
func (a *Access) Assignment(ctx context.Context, scope, id string) (*Held, error) {
	var found *Held
	err := a.each(ctx, "", func(h Held) error {
		if h.ID != id || !Covers(scope, h.Scope) {
			return nil
		}
		found = &h
		return errStop
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	if found == nil {
		return nil, release.Refuse(release.ReasonNotFound, "no role assignment %.64q at %s or below", id, scope)
	}
	return found, nil
}

// each walks all assignments of the principals after `after`.
func (a *Access) each(ctx context.Context, after string, fn func(Held) error) error {
	return a.walk(ctx, release.ObjectRoles, after, func(o *release.Object) error {
		list, err := DecodeAssignments(o.Value)
		if err != nil {
			return release.Refuse(release.ReasonIntegrity, "%w", err)
		}
		for _, one := range list {
			if err := fn(Held{Assignment: one, Principal: o.Name}); err != nil {
				return err
			}
		}
		return nil
	})
}

// maxPrincipals bounds the principals whose assignments are one page of a list.
const maxPrincipals = 100

// Assignments gives those of up to 100 principals whose id sorts after `after`, as
// far as keep wants them; next is the `after` of the following page, "" on the last.
func (a *Access) Assignments(ctx context.Context, after string, keep func(Held) bool) (out []Held, next string, err error) {
	seen := 0
	err = a.walk(ctx, release.ObjectRoles, after, func(o *release.Object) error {
		if seen == maxPrincipals {
			next = after
			return errStop
		}
		seen, after = seen+1, o.Name
		list, err := DecodeAssignments(o.Value)
		if err != nil {
			return release.Refuse(release.ReasonIntegrity, "%w", err)
		}
		for _, one := range list {
			if h := (Held{one, o.Name}); keep(h) {
				out = append(out, h)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, "", err
	}
	return out, next, nil
}

// Assign gives h.Principal the role h.Role at h.Scope, under the name h.ID. The
// principal need not be one of this deployment: it may be known to an issuer only.
// ReasonConflict when the name is taken or the principal has that role there.
func (a *Access) Assign(ctx context.Context, by string, h Held) (*Held, error) {
	if !idForm.MatchString(h.Principal) {
		return nil, release.Refuse(release.ReasonBadRequest, "principal id %.64q is not a UUID in lower case", h.Principal)
	}
	h.Created, h.By = a.c.Now().Unix(), by
	if err := h.validate(); err != nil {
		return nil, release.Refuse(release.ReasonBadRequest, "%w", err)
	}
	end, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	err = a.each(ctx, "", func(other Held) error {
		switch {
		case other.ID == h.ID:
			return release.Refuse(release.ReasonConflict, "there is a role assignment %s", h.ID)
		case other.Principal == h.Principal && other.Role == h.Role && other.Scope == h.Scope:
			return release.Refuse(release.ReasonConflict, "principal %s has the role %s there, by role assignment %s", h.Principal, h.Role, other.ID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &h, a.change(ctx, OpAssign, &h, func(list []Assignment) []Assignment { return append(list, h.Assignment) })
}

// Unassign takes the assignment of that id at scope or below it away, and gives what
// it was. ReasonLastAdministrator when nobody could give rights after it.
func (a *Access) Unassign(ctx context.Context, scope, id string) (*Held, error) {
	end, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	h, err := a.Assignment(ctx, scope, id)
	if err != nil {
		return nil, err
	}
	less := func(list []Assignment) []Assignment { return without(list, id) }
	if err := a.governed(ctx, h.Principal, less); err != nil {
		return nil, err
	}
	return h, a.change(ctx, OpUnassign, h, less)
}

func without(list []Assignment, id string) []Assignment {
	return slices.DeleteFunc(slices.Clone(list), func(one Assignment) bool { return one.ID == id })
}

// change replaces the assignments of h.Principal and records it.
func (a *Access) change(ctx context.Context, op string, h *Held, fn func([]Assignment) []Assignment) error {
	rec := a.c.Record(ctx, op)
	rec.Object = h.Principal
	rec.Detail = map[string]string{"assignment": h.ID, "role": h.Role, "scope": h.Scope}
	_, err := a.c.Objects.ChangeObject(ctx, rec, release.ObjectRoles, h.Principal, func(old *release.Object) ([]byte, error) {
		var list []Assignment
		if old != nil {
			var err error
			if list, err = DecodeAssignments(old.Value); err != nil {
				return nil, release.Refuse(release.ReasonIntegrity, "%w", err)
			}
		}
		value, err := EncodeAssignments(fn(list))
		if err != nil {
			return nil, release.Refuse(release.ReasonConflict, "%w", err)
		}
		return value, nil
	})
	return err
}

// governs says whether one of the assignments lets its principal give every right.
func governs(list []Assignment) bool {
	return slices.ContainsFunc(list, func(a Assignment) bool { return a.Scope == Everywhere && a.allows(RolesWrite) })
}

// governed refuses a change of a principal's assignments, nil for one that can do
// nothing after it, that leaves nobody who can give rights at /. Only principals of
// this deployment count: of others nothing here says that they exist.
func (a *Access) governed(ctx context.Context, principal string, change func([]Assignment) []Assignment) error {
	held, _, err := readAssignments(ctx, a.c.Objects, principal)
	if err != nil {
		return err
	}
	if !governs(held) || change != nil && governs(change(held)) {
		return nil
	}
	err = a.walk(ctx, release.ObjectPrincipal, "", func(o *release.Object) error {
		p, err := readPrincipal(o)
		if err != nil || !p.Enabled || !p.provable() || p.ID == principal {
			return err
		}
		list, _, err := readAssignments(ctx, a.c.Objects, p.ID)
		if err == nil && governs(list) {
			err = errStop
		}
		return err
	})
	switch {
	case errors.Is(err, errStop):
		return nil
	case err != nil:
		return err
	}
	return release.Refuse(release.ReasonLastAdministrator,
		"nobody else of this deployment could give rights at /: first assign a role like %q there to another enabled principal that has a secret, a certificate or a federated identity", RoleIdentityAdmin)
}
