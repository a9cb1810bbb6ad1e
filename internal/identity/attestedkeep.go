package identity

import (
	"context"

	"github.com/openskr/openskr/release"
)

// What may be kept. Each request for a token evaluates the policies that are in force,
// and names that were removed stay.
const (
	maxAttestedRoles = 32
	maxAttestedNames = 256
)

// KeptRole is an attested role with where its object stands.
type KeptRole struct {
	AttestedRole
	Generation int64
	Index      int64 // of the record of the last change
}

// List gives the attested roles in force, sorted by name.
func (a *Attested) List(ctx context.Context) ([]KeptRole, error) {
	objects, err := a.c.Objects.List(ctx, release.ObjectAttestedRole, "", maxAttestedNames)
	if err != nil {
		return nil, err
	}
	var out []KeptRole
	for _, o := range objects {
		r, err := kept(o)
		if err != nil {
			return nil, err
		}
		if !r.Removed {
			out = append(out, *r)
		}
	}
	return out, nil
}

// Get gives one. ReasonNotFound for one that was removed, too.
func (a *Attested) Get(ctx context.Context, name string) (*KeptRole, error) {
	if !attestedName.MatchString(name) {
		return nil, release.Refuse(release.ReasonNotFound, "no attested role %.64q", name)
	}
	o, err := a.c.Objects.Object(ctx, release.ObjectAttestedRole, name)
	if err != nil {
		return nil, err
	}
	r, err := kept(o)
	if err == nil && r.Removed {
		return nil, release.Refuse(release.ReasonNotFound, "attested role %s was removed", name)
	}
	return r, err
}

func kept(o *release.Object) (*KeptRole, error) {
	r, err := DecodeAttestedRole(o.Name, o.Value)
	if err != nil {
		return nil, release.Refuse(release.ReasonIntegrity, "%w", err)
	}
	return &KeptRole{*r, o.Generation, o.Index}, nil
}

// Put makes r, or takes it for the one of its name, with that record. Policy, role and
// scope are judged first: ReasonPolicyInvalid, ReasonBadRequest, and ReasonConflict when
// there are too many.
func (a *Attested) Put(ctx context.Context, rec *release.Record, r AttestedRole) (*KeptRole, error) {
	if err := r.validate(); err != nil {
		return nil, release.Refuse(release.ReasonBadRequest, "%w", err)
	}
	if err := a.c.Check(ctx, r.policy()); err != nil {
		return nil, err
	}
	if err := a.room(ctx, r.Name); err != nil {
		return nil, err
	}
	rec.Policy = r.policy().Digest
	return a.change(ctx, rec, r.Name, func(old *KeptRole, now int64) (AttestedRole, error) {
		r.Created, r.Updated, r.Removed = now, now, false
		if old != nil && !old.Removed {
			r.Created = old.Created
		}
		return r, nil
	})
}

// Remove ends an attested role: tokens that rest on it are refused at their next use.
func (a *Attested) Remove(ctx context.Context, rec *release.Record, name string) (*KeptRole, error) {
	return a.change(ctx, rec, name, func(old *KeptRole, now int64) (AttestedRole, error) {
		if old == nil || old.Removed {
			return AttestedRole{}, release.Refuse(release.ReasonNotFound, "no attested role %.64q", name)
		}
		r := old.AttestedRole
		r.Updated, r.Removed = now, true
		return r, nil
	})
}

func (a *Attested) change(ctx context.Context, rec *release.Record, name string, fn func(old *KeptRole, now int64) (AttestedRole, error)) (*KeptRole, error) {
	rec.Object = name
	out := &KeptRole{}
	done, err := a.c.Objects.ChangeObject(ctx, rec, release.ObjectAttestedRole, name, func(o *release.Object) ([]byte, error) {
		var old *KeptRole
		if o != nil {
			var err error
			if old, err = kept(o); err != nil {
				return nil, err
			}
			out.Generation = o.Generation
		}
		next, err := fn(old, a.c.Now().Unix())
		if err != nil {
			return nil, err
		}
		out.AttestedRole = next
		out.Generation++
		rec.Detail = map[string]string{"role": next.Role, "scope": next.Scope}
		return encodeAttested(&next)
	})
	if err != nil {
		return nil, err
	}
	out.Index = done.Receipt.Index
	return out, nil
}

// encodeAttested also writes down the end of one whose role may no longer be given.
func encodeAttested(r *AttestedRole) ([]byte, error) {
	if r.Removed {
		return r.encode()
	}
	return r.Encode()
}

// room refuses one more than are evaluated, or kept.
func (a *Attested) room(ctx context.Context, name string) error {
	objects, err := a.c.Objects.List(ctx, release.ObjectAttestedRole, "", maxAttestedNames)
	if err != nil {
		return err
	}
	live, known := 0, false
	for _, o := range objects {
		r, err := kept(o)
		if err != nil {
			return err
		}
		known = known || r.Name == name
		if !r.Removed && r.Name != name {
			live++
		}
	}
	switch {
	case live >= maxAttestedRoles:
		return release.Refuse(release.ReasonConflict, "%d attested roles are in force, which is the most: remove one first", live)
	case !known && len(objects) >= maxAttestedNames:
		return release.Refuse(release.ReasonConflict, "%d names of attested roles were used, which is the most: take one that was removed", len(objects))
	}
	return nil
}
