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

// maxBody bounds a body: a release policy of 64 KiB in base64 and a key.
const maxBody = 160 << 10

type door struct{ Config }

// Routes is the table of the Key Vault door.
func Routes(c Config) []*route.Route {
	d := &door{c}
	change := func(method, path, op string, action identity.Action, queue route.Queue, do route.Handler) *route.Route {
		return &route.Route{Method: method, Path: path, Name: op, Access: route.Role, Action: action, Body: route.JSON, Limit: maxBody, Queue: queue, Do: do}
	}
	read := func(path, op string, do route.Handler) *route.Route {
		return &route.Route{Method: http.MethodGet, Path: path, Name: op, Access: route.Role, Action: identity.KeysRead, Do: do}
	}
	out := []*route.Route{
		change(http.MethodPost, "/keys/:name/create", "keys/create", identity.KeysCreate, route.Making, folded(shapeCreate(), d.create)),
		change(http.MethodPatch, "/keys/:name", "keys/update", identity.KeysUpdate, route.NoQueue, folded(shapeUpdate(), d.update)),
		change(http.MethodPatch, "/keys/:name/:version", "keys/update", identity.KeysUpdate, route.NoQueue, folded(shapeUpdate(), d.update)),
		read("/keys", "keys/list", names(d, "/keys", d.live(keyvault.Keys), d.item(false))),
		read("/keys/:name", "keys/get", d.get),
		read("/keys/:name/versions", "keys/versions", versions(d, keyvault.Keys, d.item(true))),
		read("/keys/:name/:version", "keys/get", d.get),
	}
	bring := change(http.MethodPut, "/keys/:name", "keys/import", identity.KeysImport, route.Making, folded(shapeImport(), d.importKey))
	bring.Secret = true // a symmetric key may be made of a passphrase
	out = append(out, bring)
	for _, o := range []struct {
		op     string
		action identity.Action
	}{
		{keyvault.OpEncrypt, identity.KeysEncrypt},
		{keyvault.OpDecrypt, identity.KeysDecrypt},
		{keyvault.OpWrap, identity.KeysWrap},
		{keyvault.OpUnwrap, identity.KeysUnwrap},
		{keyvault.OpSign, identity.KeysSign},
		{keyvault.OpVerify, identity.KeysVerify},
	} {
		word, do := strings.ToLower(o.op), folded(shapeOperation(), d.operate(o.op))
		for _, path := range []string{"/keys/:name/", "/keys/:name/:version/"} {
			r := change(http.MethodPost, path+word, "keys/"+word, o.action, route.Deciding, do)
			r.Secret = o.op == keyvault.OpEncrypt || o.op == keyvault.OpWrap
			out = append(out, r)
		}
	}
	out = append(out, change(http.MethodPost, "/rng", "rng", identity.Random, route.NoQueue, folded(shapeRandom(), d.random)))
	for _, path := range []string{"/keys/:name/release", "/keys/:name/:version/release"} {
		out = append(out, change(http.MethodPost, path, "keys/release", identity.KeysRelease, route.Deciding, folded(shapeRelease(), d.release)))
	}
	out = append(out, d.rotationRoutes()...)
	out = append(out, d.attestationRoutes()...)
	out = append(out, d.secretRoutes()...)
	out = append(out, d.lastingRoutes()...)
	out = append(out, d.roleRoutes()...)
	for _, r := range out {
		r.Door, r.InVault = release.DoorKeyVault, true
		r.Collection = string(collectionOf(r.Path))
		if r.Collection != "" {
			r.Do = d.settled(r.Do)
		}
	}
	return out
}

// collectionOf is the collection that a path is in, "" for none.
func collectionOf(path string) keyvault.Collection {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch c := keyvault.Collection(strings.TrimPrefix(first, "deleted")); c {
	case keyvault.Keys, keyvault.Secrets:
		return c
	}
	return ""
}

// folded makes a Handler of a function on a body read by its shape.
func folded[Req any](s *shape, fn func(context.Context, *route.Call, *Req) (any, error)) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		var req Req
		if err := decode(c.Body, s, &req); err != nil {
			return nil, err
		}
		return fn(ctx, c, &req)
	}
}

// decode reads a body by its shape into req. Most clients write names as they are
// documented: folding a flat body would then change nothing.
func decode[Req any](body []byte, s *shape, req *Req) error {
	if s.flat {
		var asIs Req
		if route.Decode(body, len(body), &asIs) == nil {
			*req = asIs
			return nil
		}
	}
	exact, err := fold(body, s)
	if err != nil {
		return err
	}
	defer clear(exact) // an import carries a private key, a secret its value
	return route.Decode(exact, len(exact), req)
}
