package api

import (
	"hash/maphash"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// buckets is the size of the limiter's table. Its memory is bounded by being of
// fixed size: sources that fall on one bucket share it, which costs a stranger's
// neighbour some of its rate and nobody any memory.
const buckets = 4096

// limiter bounds what sources ask before they prove who they are.
type limiter struct {
	mu    sync.Mutex
	seed  maphash.Seed // random, so that nobody chooses whom to share a bucket with
	rate  Rate
	table [buckets]*rate.Limiter
}

func newLimiter(r Rate) *limiter { return &limiter{seed: maphash.MakeSeed(), rate: r} }

func (l *limiter) bucket(source string) *rate.Limiter {
	i := maphash.String(l.seed, source) % buckets
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.table[i] == nil {
		l.table[i] = rate.NewLimiter(l.rate.PerSecond, l.rate.Burst)
	}
	return l.table[i]
}

// take spends n of the source's rate; false: none left.
func (l *limiter) take(source string, n int, now time.Time) bool {
	return l.bucket(source).AllowN(now, n)
}

// spent tells whether the source has used its rate up, spending nothing.
func (l *limiter) spent(source string, now time.Time) bool {
	return l.bucket(source).TokensAt(now) < 1
}
