package audit

import (
	"testing"

	"github.com/openskr/openskr/internal/store/storetest"
)

func TestStoreSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *storetest.Subject { return newBench(t).subject() })
}

func (b *bench) subject() *storetest.Subject {
	return &storetest.Subject{
		Keys: b.log.Keys(), Objects: b.log.Objects(), Log: b.log, NonceSpent: b.st.NonceSpent, Now: b.log.cfg.Now,
		Origin: origin, VKey: b.vkey,
		Reopen: func(*testing.T) *storetest.Subject {
			b.close()
			b.open()
			return b.subject()
		},
	}
}
