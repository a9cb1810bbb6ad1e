package keyvault

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strconv"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// pageSize is Key Vault's largest page and its default.
const pageSize = 25

// Page is a list in Key Vault's form: nextLink is null on the last page.
type Page[T any] struct {
	Value    []T     `json:"value"`
	NextLink *string `json:"nextLink"`
}

// rows reads up to limit rows of a list after a cursor, "" for its beginning.
type rows func(ctx context.Context, c *route.Call, after string, limit int) ([]*keyvault.Row, error)

// names makes the handler of a list of objects, by their names. path is the list's.
func names[T any](d *door, path string, read rows, item func(*route.Call, *keyvault.Row) T) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		return page(ctx, d, c, path, read, item, func(r *keyvault.Row) string { return r.Name })
	}
}

// live reads the latest version of each object of a collection.
func (d *door) live(collection keyvault.Collection) rows {
	return func(ctx context.Context, c *route.Call, after string, limit int) ([]*keyvault.Row, error) {
		return d.Service.List(ctx, c.Vault, collection, after, limit)
	}
}

// versions makes the handler of the list of an object's versions.
func versions[T any](d *door, collection keyvault.Collection, item func(*route.Call, *keyvault.Row) T) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		name, _, err := target(c)
		if err != nil {
			return nil, err
		}
		read := func(ctx context.Context, c *route.Call, cursor string, limit int) ([]*keyvault.Row, error) {
			after := int64(0)
			if cursor != "" {
				if after, err = strconv.ParseInt(cursor, 10, 64); err != nil {
					return nil, errToken()
				}
			}
			return d.Service.Versions(ctx, c.Vault, collection, name, after, limit)
		}
		path := "/" + string(collection) + "/" + name + "/versions"
		return page(ctx, d, c, path, read, item, func(r *keyvault.Row) string { return strconv.FormatInt(r.Seq, 10) })
	}
}

// page asks for one row more than it shows: that one only says that there are more.
func page[T any](ctx context.Context, d *door, c *route.Call, path string, read rows, item func(*route.Call, *keyvault.Row) T, cursor func(*keyvault.Row) string) (any, error) {
	limit, after, err := d.position(c)
	if err != nil {
		return nil, err
	}
	found, err := read(ctx, c, after, limit+1)
	if err != nil {
		return nil, err
	}
	p := Page[T]{Value: []T{}}
	for i, r := range found {
		if i == limit {
			next := d.nextLink(c, path, limit, cursor(found[i-1]))
			p.NextLink = &next
			break
		}
		p.Value = append(p.Value, item(c, r))
	}
	return p, nil
}

// nextLink names the host that the client used, since it sends its token there;
// the funnel accepts configured hosts only.
func (d *door) nextLink(c *route.Call, path string, limit int, cursor string) string {
	q := url.Values{
		"api-version": {c.Query.Get("api-version")}, "maxresults": {strconv.Itoa(limit)},
		"$skiptoken": {base64.RawURLEncoding.EncodeToString(append(d.mac(c, cursor), cursor...))},
	}
	return "https://" + c.Host + path + "?" + q.Encode()
}

// position reads maxresults and the page token.
func (d *door) position(c *route.Call) (limit int, cursor string, err error) {
	limit = pageSize
	if s := c.Query.Get("maxresults"); s != "" {
		limit, err = strconv.Atoi(s)
		if err != nil || limit < 1 || limit > pageSize {
			return 0, "", release.Refuse(release.ReasonBadRequest, "maxresults %.16q, want 1 to %d", s, pageSize)
		}
	}
	if _, given := c.Query["$skiptoken"]; !given {
		return limit, "", nil
	}
	cursor, err = d.parseToken(c, c.Query.Get("$skiptoken"))
	return limit, cursor, err
}

// parseToken opens a page token: MAC, then the cursor that it is over.
func (d *door) parseToken(c *route.Call, token string) (cursor string, err error) {
	var b attest.Bytes // canonical: a token has one spelling
	if err := b.UnmarshalText([]byte(token)); err != nil || len(b) <= sha256.Size || len(b) > sha256.Size+256 {
		return "", errToken()
	}
	cursor = string(b[sha256.Size:])
	if !hmac.Equal(b[:sha256.Size], d.mac(c, cursor)) {
		return "", errToken()
	}
	return cursor, nil
}

func errToken() error {
	return release.Refuse(release.ReasonBadRequest, "$skiptoken is not one of this list and caller; start the list again")
}

// mac is over vault, operation, key name and caller: a token continues the list
// that it was given for, and no other.
func (d *door) mac(c *route.Call, cursor string) []byte {
	h := hmac.New(sha256.New, d.PageKey[:])
	h.Write([]byte("openskr/page/v1"))
	for _, s := range []string{c.Vault, c.Operation, c.Params["name"], c.Caller.ID, cursor} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	return h.Sum(nil)
}
