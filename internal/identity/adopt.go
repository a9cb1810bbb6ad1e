package identity

import (
	"context"
	"slices"

	"github.com/openskr/openskr/release"
)

// OpAdopt is the operation of its records.
const OpAdopt = "roles/adopt"

// Adopt gives principals of a store made before there were assignments those that
// they had as roles of their own, at /, and takes the old ones off the principal: a
// store that lost the assignments would give them again. It is called before anybody
// is let in, and does nothing the second time.
func (a *Access) Adopt(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.walk(ctx, release.ObjectPrincipal, "", func(o *release.Object) error {
		p, err := readPrincipal(o)
		if err != nil || len(p.Roles) == 0 {
			return err
		}
		_, state, err := readAssignments(ctx, a.c.Objects, p.ID)
		if err != nil {
			return err
		}
		if state.Generation == 0 {
			if err := a.adopt(ctx, p); err != nil {
				return err
			}
		}
		_, err = a.changed(ctx, OpAdopt, p.ID, func(p *Principal) { p.Roles = nil })
		return err
	})
}

func (a *Access) adopt(ctx context.Context, p *Principal) error {
	names := slices.Clone(p.Roles)
	if slices.Contains(names, RoleAdministrator) { // which held every right there was
		names = append(names, RoleIdentityAdmin)
	}
	var list []Assignment
	for _, name := range names {
		list = append(list, Assignment{ID: newUUID(), Role: name, Scope: Everywhere, Created: a.c.Now().Unix(), By: "init"})
	}
	value, err := EncodeAssignments(list)
	if err != nil {
		return release.Refuse(release.ReasonIntegrity, "principal %s: %w", p.ID, err)
	}
	rec := a.c.Record(ctx, OpAdopt)
	rec.Object = p.ID
	_, err = a.c.Objects.ChangeObject(ctx, rec, release.ObjectRoles, p.ID, func(*release.Object) ([]byte, error) { return value, nil })
	return err
}
