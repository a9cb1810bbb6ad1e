package release

import (
	"sync/atomic"
	"time"

	"github.com/openskr/openskr/release/receipt"
)

// GrantLife is how long after the commit a Grant still opens its key.
const GrantLife = 5 * time.Second

// Grant is the permission to open one key version once. Only Broker makes one,
// and only from a committed ALLOW record; its zero value opens nothing.
type Grant struct {
	key   *Key
	at    time.Time
	now   func() time.Time
	spent atomic.Bool
}

// grant turns a committed entry into the permission to open key.
func grant(c *Committed, key *Key, now func() time.Time) (*Grant, error) {
	if c == nil || c.Receipt == nil || c.Record.Decision != receipt.Allow || c.Record.Kind != receipt.KindRelease ||
		c.Record.ObjectID != key.ObjectID || c.Record.Version != key.Ref.Version || c.Record.Policy != receipt.Digest(key.Policy.Digest) {
		return nil, Refuse(ReasonInternal, "no allow record for this key version")
	}
	return &Grant{key: key, at: c.At, now: now}, nil
}

// Use gives the key that may be opened, the first time and within GrantLife.
func (g *Grant) Use() (*Key, error) {
	if g == nil || g.key == nil {
		return nil, Refuse(ReasonInternal, "empty grant")
	}
	if g.spent.Swap(true) {
		return nil, Refuse(ReasonInternal, "grant already used")
	}
	if age := g.now().Sub(g.at); age < 0 || age > GrantLife {
		return nil, Refuse(ReasonStateChanged, "grant is %v old, limit %v", age, GrantLife)
	}
	return g.key, nil
}
