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
type Page struct {
	Value    []Item  `json:"value"`
	NextLink *string `json:"nextLink"`
}

func (d *door) list(ctx context.Context, c *route.Call) (any, error) {
	limit, after, err := d.position(c)
	if err != nil {
		return nil, err
	}
	rows, err := d.Service.List(ctx, c.Vault, keyvault.Keys, after, limit+1)
	if err != nil {
		return nil, err
	}
	return d.page(c, rows, limit, false, func(r *keyvault.Row) string { return r.Name }), nil
}

func (d *door) versions(ctx context.Context, c *route.Call) (any, error) {
	name, _, err := target(c)
	if err != nil {
		return nil, err
	}
	limit, cursor, err := d.position(c)
	if err != nil {
		return nil, err
	}
	after := int64(0)
	if cursor != "" {
		if after, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return nil, errToken()
		}
	}
	rows, err := d.Service.Versions(ctx, c.Vault, keyvault.Keys, name, after, limit+1)
	if err != nil {
		return nil, err
	}
	return d.page(c, rows, limit, true, func(r *keyvault.Row) string { return strconv.FormatInt(r.Seq, 10) }), nil
}

// page cuts the row that only says that there are more.
func (d *door) page(c *route.Call, rows []*keyvault.Row, limit int, versioned bool, cursor func(*keyvault.Row) string) Page {
	p := Page{Value: []Item{}}
	for i, r := range rows {
		if i == limit {
			next := d.nextLink(c, limit, cursor(rows[i-1]))
			p.NextLink = &next
			break
		}
		p.Value = append(p.Value, d.item(c, r, versioned))
	}
	return p
}

// nextLink names the host that the client used, since it sends its token there;
// the funnel accepts configured hosts only.
func (d *door) nextLink(c *route.Call, limit int, cursor string) string {
	path := "/keys"
	if name := c.Params["name"]; name != "" {
		path += "/" + name + "/versions"
	}
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
