package main

import (
	"context"

	"github.com/openskr/openskr/internal/api"
	"github.com/openskr/openskr/internal/identity"
)

// openAccess makes the keeper of principals and roles, and gives those of a store
// made before there were assignments what they had.
func (b *broker) openAccess(ctx context.Context) (err error) {
	b.access, err = identity.NewAccess(identity.AccessConfig{Objects: b.log.Objects(), Record: b.records, Right: api.Right, Now: b.now})
	if err != nil {
		return err
	}
	return b.access.Adopt(ctx)
}
