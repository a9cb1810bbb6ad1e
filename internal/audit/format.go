package audit

import (
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
)

// granted refuses to make a disk with a key that nobody lets this machine make one with,
// as the transaction sees it: entries before this one, of this batch too, have spent theirs.
func (b *batch) granted(g *release.Guard) error {
	if !g.Format {
		return nil
	}
	_, err := b.formatGrant(g)
	return err
}

func (b *batch) formatGrant(g *release.Guard) (*release.FormatGrant, error) {
	o, err := b.tx.Object(release.ObjectFormatGrant, release.FormatGrantName(g.Key.Ref.Vault, g.Key.ObjectID, g.Key.Ref.Version))
	var grant *release.FormatGrant
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		if err := b.l.genuine(o); err != nil {
			return nil, err
		}
		if grant, err = release.ReadFormatGrant(&o.Object); err != nil {
			return nil, err
		}
	}
	return grant, grant.Permits(g.Key, g.Machine.ID, time.UnixMilli(b.time()))
}

// burn spends the grant in the transaction that writes the ALLOW, and has the record say
// which it was. It comes last: what is refused spends none.
func (b *batch) burn(rec *release.Record, g *release.Guard) error {
	grant, err := b.formatGrant(g)
	if err != nil {
		return err
	}
	detail := map[string]string{release.DetailGrant: strconv.FormatInt(grant.Index, 10)}
	maps.Copy(detail, rec.Detail)
	rec.Detail = detail
	grant.State, grant.SpentBy = release.FormatSpent, b.tree.Size()
	name := release.FormatGrantName(g.Key.Ref.Vault, g.Key.ObjectID, g.Key.Ref.Version)
	return b.l.changeObject(b.tx, b.tree.Size(), &release.Record{}, release.ObjectFormatGrant, name, func(*release.Object) ([]byte, error) {
		return json.Marshal(grant)
	})
}
