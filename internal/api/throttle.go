package api

import (
	"context"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// meter is a kind of requests that has a rate of its own.
type meter int

const (
	uses meter = iota
	keysMade
	secretsSet
	meters
)

// window is how long the rates of a meter are for, in seconds.
const window = 10

// perWindow is what Key Vault lets a vault do in that time (wire format: §7.4), in
// uses of an RSA key of 2048 bits, keys and secrets.
func (m meter) perWindow() float64 {
	switch m {
	case keysMade:
		return 20
	case secretsSet:
		return 300
	}
	return 4000
}

// meterOf says which meter a route runs on.
func meterOf(r *route.Route) meter {
	switch r.Name {
	case "keys/create", "keys/import", "keys/rotate":
		return keysMade
	case "secrets/set":
		return secretsSet
	}
	return uses
}

// defaultThrottle is how many times Key Vault's rates a principal has when nobody
// said: enough that nobody notices who means well.
const defaultThrottle = 10

// everywhere is how many times its rate in one vault a principal has in all of them
// together (Key Vault: in a subscription).
const everywhere = 5

// throttle bounds what a principal does in a vault, and in all together, since it could
// name a new one each time. Like that of limiter, the tables do not grow.
type throttle struct {
	mu      sync.Mutex
	seed    maphash.Seed
	scale   float64
	vaults  [buckets][meters]*rate.Limiter
	overall [buckets][meters]*rate.Limiter
}

func newThrottle(scale float64) *throttle {
	if scale == 0 {
		scale = defaultThrottle
	}
	return &throttle{seed: maphash.MakeSeed(), scale: scale}
}

// inVault is the rate of a principal in a vault.
func (t *throttle) inVault(caller, vault string, m meter) *rate.Limiter {
	return t.bucket(&t.vaults, caller+"\x00"+vault, m, t.scale)
}

// inAll is that in all vaults, and in what is in none.
func (t *throttle) inAll(caller string, m meter) *rate.Limiter {
	return t.bucket(&t.overall, caller, m, everywhere*t.scale)
}

func (t *throttle) bucket(table *[buckets][meters]*rate.Limiter, name string, m meter, scale float64) *rate.Limiter {
	i := maphash.String(t.seed, name) % buckets
	t.mu.Lock()
	defer t.mu.Unlock()
	if table[i][m] == nil {
		n := m.perWindow() * scale
		table[i][m] = rate.NewLimiter(rate.Limit(n/window), max(1, int(n)))
	}
	return table[i][m]
}

// take spends one unit of each rate, or says how many seconds to wait for it. What is
// refused spends nothing.
func take(now time.Time, rates []*rate.Limiter) (retry int, ok bool) {
	for _, r := range rates {
		if missing := 1 - r.TokensAt(now); missing > 0 {
			retry = max(retry, 1, int(math.Ceil(missing/float64(r.Limit()))))
		}
	}
	if retry > 0 {
		return retry, false
	}
	spend(now, rates, 1)
	return 0, true
}

// spend takes units that may have to come yet: the requests after this one wait for them.
func spend(now time.Time, rates []*rate.Limiter, units int) {
	for _, r := range rates {
		r.ReserveN(now, min(units, r.Burst()))
	}
}

// admitted lets a proven caller's request go on, or refuses it before anything is
// looked up or computed for it. What it costs beyond one unit is known only after the
// look-up, and is taken then (Spend).
func (f *funnel) admitted(caller *identity.Caller, r *route.Route, c *route.Call) error {
	m := meterOf(r)
	rates := []*rate.Limiter{f.throttle.inAll(caller.ID, m)}
	if r.InVault || r.Collection != "" {
		rates = append(rates, f.throttle.inVault(caller.ID, c.Vault, m))
	}
	if retry, ok := take(f.Now(), rates); !ok {
		err := release.Refuse(release.ReasonThrottled, "principal %s used up its rate for %s in vault %.24q; the setting throttle is %g", caller.ID, r.Name, c.Vault, f.throttle.scale)
		err.Retry = retry
		return err
	}
	c.Spend = func(units int) { spend(f.Now(), rates, units) }
	return nil
}

// Spend takes units more from the rate of the caller whose request ctx belongs to: for
// keyvault.Config.Spend.
func Spend(ctx context.Context, units int) {
	if c := route.From(ctx); c != nil && c.Spend != nil {
		c.Spend(units)
	}
}
