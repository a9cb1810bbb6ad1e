package keyvault

import (
	"sync/atomic"

	"github.com/openskr/openskr/release"
)

// lent are copies of secrets for a transaction. It may outlast the call that began it:
// when the caller's time is up, Change returns while the transaction may still run, and
// what was cleared under its hands would be sealed as zeros. And it may never come, so
// that nobody else would clear them.
type lent struct {
	taken   atomic.Bool
	secrets [][]byte
}

func lend(secrets ...[]byte) *lent { return &lent{secrets: secrets} }

// take lets the transaction have them, once; it clears them when it is over.
func (l *lent) take() error {
	if l.taken.Swap(true) {
		return release.Refuse(release.ReasonInternal, "a change ran twice, or after its caller had gone")
	}
	return nil
}

// recall is the caller's, when Change has returned: what no transaction has taken is
// cleared, and none takes it any more.
func (l *lent) recall() {
	if !l.taken.Swap(true) {
		l.clear()
	}
}

func (l *lent) clear() {
	for _, s := range l.secrets {
		clear(s)
	}
}
