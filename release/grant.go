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
	key *Key
	once
}

// once lets a committed record be acted on a single time, and soon.
type once struct {
	at    time.Time
	now   func() time.Time
	spent atomic.Bool
}

func (o *once) use() error {
	if o.spent.Swap(true) {
		return Refuse(ReasonInternal, "grant already used")
	}
	if age := o.now().Sub(o.at); age < 0 || age > GrantLife {
		return Refuse(ReasonStateChanged, "grant is %v old, limit %v", age, GrantLife)
	}
	return nil
}

// grant turns a committed entry into the permission to open key.
func grant(c *Committed, key *Key, now func() time.Time) (*Grant, error) {
	if c == nil || c.Receipt == nil || c.Record.Decision != receipt.Allow || c.Record.Kind != receipt.KindRelease ||
		c.Record.ObjectID != key.ObjectID || c.Record.Version != key.Ref.Version || c.Record.Policy != receipt.Digest(key.Policy.Digest) {
		return nil, Refuse(ReasonInternal, "no allow record for this key version")
	}
	if Formats(c.Record) && c.Record.Detail[DetailGrant] == "" {
		return nil, Refuse(ReasonInternal, "an allow record to format that spent no grant")
	}
	return &Grant{key: key, once: once{at: c.At, now: now}}, nil
}

// Use gives the key that may be opened, the first time and within GrantLife.
func (g *Grant) Use() (*Key, error) {
	if g == nil || g.key == nil {
		return nil, Refuse(ReasonInternal, "empty grant")
	}
	if err := g.use(); err != nil {
		return nil, err
	}
	return g.key, nil
}
