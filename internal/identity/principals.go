package identity

import (
	"context"
	"strings"

	"github.com/openskr/openskr/release"
)

// Operations of records.
const (
	OpCreatePrincipal  = "principals/create"
	OpEnablePrincipal  = "principals/enable"
	OpDisablePrincipal = "principals/disable"
	OpProofs           = "principals/credentials"
	OpResetSecret      = "principals/reset-secret"
	OpDeletePrincipal  = "principals/delete"
)

// Proofs are what a principal can be proven by, besides a secret; nil leaves what
// there is.
type Proofs struct {
	Certificates *[]Certificate
	Federated    *[]Federated
}

func (by Proofs) over(p *Principal) {
	if by.Certificates != nil {
		p.Certificates = *by.Certificates
	}
	if by.Federated != nil {
		p.Federated = *by.Federated
	}
}

// CreatePrincipal makes one without rights, and its secret, which is nowhere kept;
// "" when none is wanted. ReasonConflict when another has the name: people give rights by
// names.
func (a *Access) CreatePrincipal(ctx context.Context, name string, secret bool, by Proofs) (*Principal, string, error) {
	p, plain, err := NewPrincipal(name, a.c.Now())
	if err != nil {
		return nil, "", release.Refuse(release.ReasonBadRequest, "%w", err)
	}
	if !secret {
		p.Salt, p.Hash, plain = nil, nil, ""
	}
	by.over(p)
	end, err := a.begin(ctx)
	if err != nil {
		return nil, "", err
	}
	defer end()
	if err := a.unnamed(ctx, p.Name); err != nil {
		return nil, "", err
	}
	rec := a.c.Record(ctx, OpCreatePrincipal)
	rec.Object = p.ID
	_, err = a.c.Objects.ChangeObject(ctx, rec, release.ObjectPrincipal, p.ID, func(*release.Object) ([]byte, error) { return encode(p) })
	if err != nil {
		return nil, "", err
	}
	return p, plain, nil
}

// unnamed refuses a name that a principal has, in whatever case, and one that looks like
// an id. Stores of versions before have names twice: those who have one keep it. a.mu is held.
func (a *Access) unnamed(ctx context.Context, name string) error {
	if ValidID(strings.ToLower(name)) {
		return release.Refuse(release.ReasonBadRequest, "the name %s would be taken for an id", name)
	}
	return a.walk(ctx, release.ObjectPrincipal, "", func(o *release.Object) error {
		p, err := readPrincipal(o)
		if err == nil && p.Deleted == 0 && strings.EqualFold(strings.TrimSpace(p.Name), strings.TrimSpace(name)) {
			err = release.Refuse(release.ReasonConflict, "principal %s is called %q already: choose another name, or delete it first", p.ID, p.Name)
		}
		return err
	})
}

// Principal gives one that is not deleted. ReasonNotFound.
func (a *Access) Principal(ctx context.Context, id string) (*Principal, error) {
	if !idForm.MatchString(id) {
		return nil, errNoPrincipal(id)
	}
	o, err := a.c.Objects.Object(ctx, release.ObjectPrincipal, id)
	if err != nil {
		return nil, err
	}
	return present(o)
}

// Principals gives up to limit whose id sorts after `after`; next is the `after` of
// the following page, "" on the last.
func (a *Access) Principals(ctx context.Context, after string, limit int) (out []*Principal, next string, err error) {
	page, err := a.c.Objects.List(ctx, release.ObjectPrincipal, after, limit+1)
	if err != nil {
		return nil, "", err
	}
	for i, o := range page {
		if i == limit {
			return out, page[i-1].Name, nil
		}
		p, err := readPrincipal(o)
		if err != nil {
			return nil, "", err
		}
		if p.Deleted == 0 {
			out = append(out, p)
		}
	}
	return out, "", nil
}

// Enable lets a principal in again, or no longer: from its next request on.
// ReasonLastAdministrator when nobody could give rights after it.
func (a *Access) Enable(ctx context.Context, id string, enabled bool) (*Principal, error) {
	end, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if enabled {
		return a.changed(ctx, OpEnablePrincipal, id, func(p *Principal) { p.Enabled = true })
	}
	if err := a.governed(ctx, id, nil); err != nil {
		return nil, err
	}
	return a.changed(ctx, OpDisablePrincipal, id, func(p *Principal) { p.Enabled = false })
}

// SetProofs replaces what a principal can be proven by, besides its secret.
// ReasonLastAdministrator when nobody who could give rights could be proven after it.
func (a *Access) SetProofs(ctx context.Context, id string, by Proofs) (*Principal, error) {
	end, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	after, err := a.Principal(ctx, id)
	if err != nil {
		return nil, err
	}
	if by.over(after); !after.provable() {
		if err := a.governed(ctx, id, nil); err != nil {
			return nil, err
		}
	}
	return a.changed(ctx, OpProofs, id, by.over)
}

// ResetSecret gives a principal a new secret; the one before proves nothing any more.
func (a *Access) ResetSecret(ctx context.Context, id string) (secret string, err error) {
	end, err := a.begin(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	_, err = a.changed(ctx, OpResetSecret, id, func(p *Principal) { secret = p.newSecret() })
	return secret, err
}

// DeletePrincipal takes a principal's rights away and then ends it for ever. If it
// fails between the two, delete it again. ReasonLastAdministrator when nobody could
// give rights after it.
func (a *Access) DeletePrincipal(ctx context.Context, id string) error {
	if _, err := a.Principal(ctx, id); err != nil {
		return err
	}
	end, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := a.governed(ctx, id, nil); err != nil {
		return err
	}
	list, _, err := readAssignments(ctx, a.c.Objects, id)
	if err != nil {
		return err
	}
	for _, one := range list {
		err := a.change(ctx, OpUnassign, &Held{one, id}, func(list []Assignment) []Assignment { return without(list, one.ID) })
		if err != nil {
			return err
		}
	}
	now := a.c.Now().Unix()
	_, err = a.changed(ctx, OpDeletePrincipal, id, func(p *Principal) {
		p.Enabled, p.Deleted, p.Salt, p.Hash, p.Certificates, p.Federated, p.Roles = false, now, nil, nil, nil, nil, nil
	})
	return err
}

// changed changes a principal's object and records it. a.mu is held. ReasonNotFound.
func (a *Access) changed(ctx context.Context, op, id string, fn func(*Principal)) (*Principal, error) {
	if !idForm.MatchString(id) {
		return nil, errNoPrincipal(id)
	}
	rec := a.c.Record(ctx, op)
	rec.Object = id
	var after *Principal
	_, err := a.c.Objects.ChangeObject(ctx, rec, release.ObjectPrincipal, id, func(old *release.Object) ([]byte, error) {
		if old == nil {
			return nil, errNoPrincipal(id)
		}
		p, err := present(old)
		if err != nil {
			return nil, err
		}
		fn(p)
		after = p
		return encode(p)
	})
	if err != nil {
		return nil, err
	}
	return after, nil
}

func encode(p *Principal) ([]byte, error) {
	value, err := p.Encode()
	if err != nil {
		return nil, release.Refuse(release.ReasonBadRequest, "%w", err)
	}
	return value, nil
}

// present reads a principal that is not deleted.
func present(o *release.Object) (*Principal, error) {
	p, err := readPrincipal(o)
	if err == nil && p.Deleted != 0 {
		return nil, errNoPrincipal(o.Name)
	}
	return p, err
}

func errNoPrincipal(id string) error {
	return release.Refuse(release.ReasonNotFound, "no principal %.64q", id)
}
