package deployment

import (
	"context"
	"strconv"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// openGrants gives the grants to make a disk that a store says are open.
func (o *opened) openGrants(ctx context.Context) (names []string, err error) {
	const page = 256
	for after := ""; ; {
		list, err := o.objects.List(ctx, release.ObjectFormatGrant, after, page)
		if err != nil {
			return nil, err
		}
		for _, obj := range list {
			g, err := release.ReadFormatGrant(obj)
			if err != nil {
				return nil, err
			}
			if after = obj.Name; g.State == release.FormatOpen {
				names = append(names, obj.Name)
			}
		}
		if len(list) < page {
			return names, nil
		}
	}
}

// goOn appends rec, the record of an operator who goes on with an older store, and
// revokes with it the grants to make a disk that are open there: each is good once, and
// may have been spent since. Its [release.DetailGrantsRevoked] is how many they were.
func (o *opened) goOn(ctx context.Context, rec *release.Record, also func(tx keyvault.Tx) error) error {
	names, err := o.openGrants(ctx)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		rec.Detail[release.DetailGrantsRevoked] = strconv.Itoa(len(names))
	}
	_, err = o.log.Change(ctx, rec, func(tx keyvault.Tx, _ int64) error {
		for _, name := range names {
			if _, err := keyvault.RevokeOpen(tx, name); err != nil {
				return err
			}
		}
		return also(tx)
	})
	return err
}
