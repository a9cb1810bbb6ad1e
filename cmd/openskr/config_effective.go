package main

import (
	"cmp"
	"slices"

	"github.com/openskr/openskr/attest/token"
	"github.com/openskr/openskr/internal/api"
	"github.com/openskr/openskr/internal/endorser"
	"github.com/openskr/openskr/internal/identity"
)

// effective is c with the values that stand for what it leaves open. What depends on
// another setting is not filled in by complete: a file that init wrote would keep the
// value when the other one is changed.
func (c *Config) effective() *Config {
	e := *c
	e.ConnectionsPerSource = cmp.Or(c.ConnectionsPerSource, api.Share(c.Connections))
	e.SNPVMPLs = either(c.SNPVMPLs, 0)
	if !c.CollateralOffline {
		e.AMDKDS, e.IntelPCS = either(c.AMDKDS, endorser.AMD), either(c.IntelPCS, endorser.Intel)
	}
	e.TokenIssuers = slices.Clone(c.TokenIssuers)
	for i := range e.TokenIssuers {
		is := &e.TokenIssuers[i]
		is.MaxAge = cmp.Or(is.MaxAge, token.DefaultMaxAge)
	}
	e.OIDCIssuers = slices.Clone(c.OIDCIssuers)
	for i := range e.OIDCIssuers {
		is := &e.OIDCIssuers[i]
		is.Algorithms = either(is.Algorithms, identity.DefaultAlgorithm)
		is.MaxLife = cmp.Or(is.MaxLife, identity.DefaultMaxLife)
	}
	return &e
}

func either[T any](given []T, otherwise T) []T {
	if len(given) > 0 {
		return given
	}
	return []T{otherwise}
}
