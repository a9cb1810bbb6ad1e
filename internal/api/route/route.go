// Package route is the shape of an operation of the API: what the funnel (package
// api) does before a handler runs is declared here as data, so that one table says
// for every route who may call it, with what body, at what cost, and tests walk
// the same table. It knows no HTTP framework.
package route

import (
	"context"
	"net/url"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// Access says who may call a route.
type Access int

// The zero value lets nobody in: a route that forgets its Access fails closed.
const (
	Nobody Access = iota
	// Public routes answer without identity; package api has the only list of them.
	Public
	// Role routes need a principal one of whose roles allows Route.Action.
	Role
	// Anyone routes need a principal, whatever its roles: they do nothing.
	Anyone
	// Proven routes need a principal, whatever its roles: they tell nothing of the deployment.
	Proven
)

// Body says what a request carries.
type Body int

// Kinds of bodies.
const (
	NoBody Body = iota
	JSON        // application/json
	Form        // application/x-www-form-urlencoded, the token service alone
)

// Queue says that a handler is heavy on the CPU, and which line it waits in.
type Queue int

// The lines. Making keys has its own, so that an RSA key in the making holds up
// no release.
const (
	NoQueue Queue = iota
	Deciding
	Making
)

// Route is one operation.
type Route struct {
	Method string
	Path   string // pattern, parameters as :name
	Name   string // operation in records and metrics, e.g. "keys/create"
	Door   release.Door

	Access Access
	Action identity.Action // of Role
	// Collection of the object that Params["name"] names: the Action is asked for at its
	// scope. "" with InVault: at the vault's. Neither: at the deployment's.
	Collection string
	InVault    bool
	// Scoped says that the path is of the role API: the Action is asked for at Call.At.
	Scoped bool

	Body     Body
	Optional bool // an empty body is allowed
	Limit    int  // bytes of the body
	// Secret says that the body may hold a secret that can be guessed: its digest is
	// in no record, where everybody could try guesses on it.
	Secret bool

	Query []string // accepted parameters; the Key Vault door ignores others
	// Cost is what one request takes from its source's rate limit; Public only.
	Cost  int
	Queue Queue

	Do Handler
}

// Handler does the operation. The answer is encoded as JSON unless it is a
// *Raw; errors become bodies by their release.Reason.
type Handler func(ctx context.Context, c *Call) (any, error)

// Call is one request as the funnel understood it: handler and authorisation see
// the same parsed values.
type Call struct {
	Correlation string // made here, never by the caller
	Source      string // socket address prefix
	Door        release.Door
	Operation   string
	Caller      *identity.Caller // nil on public routes
	Host        string           // authority the client used, one of the configured
	Vault       string           // that Host names
	// Root is the scope that "/" names on Host: the deployment on a configured host, the
	// vault on its own. At is the scope that a path of the role API names, "" for others.
	Root, At string
	Params   map[string]string
	Query    url.Values // one value each
	Body     []byte
	Digest   [32]byte // SHA-256 of Body, zero without one or with Route.Secret
	// Spend takes more from the caller's rate than the one unit of every request. nil on
	// public routes.
	Spend func(units int)
}

// Raw is an answer that is not JSON of ours.
type Raw struct {
	Status int // 0: 200
	Type   string
	Body   []byte
}

// Holding is an answer with a secret in it, which Clear overwrites once it was sent.
type Holding interface{ Clear() }

// Scope is where the caller of r needs its right.
func (c *Call) Scope(r *Route) string {
	switch {
	case r.Scoped:
		return c.At
	case r.Collection != "":
		return identity.Scope(c.Vault, r.Collection, c.Params["name"])
	case r.InVault:
		return identity.Scope(c.Vault, "", "")
	}
	return identity.Everywhere
}

type callKey struct{}

// With puts c into the context; records are made from it.
func (c *Call) With(ctx context.Context) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// From gives the call of a context, nil outside of one.
func From(ctx context.Context) *Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	return c
}
