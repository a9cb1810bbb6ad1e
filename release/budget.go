package release

import (
	"sync"
	"time"
)

// What refusals of hardware may write in a minute. Anybody can rent a confidential
// machine and be refused as often as he likes, so that without a bound he fills the
// log, then the disk, and then nobody gets a key. What is beyond it is counted in
// folded records, as refusals of strangers are (docs/audit-record.md).
const (
	refusalsOfOne  = 30      // records of one identity
	refusalsOfAll  = 300     // records of all
	refusalInputs  = 2 << 20 // bytes of kept inputs
	refusalsMinute = int64(60)
)

// budget counts the present minute.
type budget struct {
	mu      sync.Mutex
	minute  int64
	records int
	inputs  int
	by      map[string]int
}

// record says whether a refusal of id may have a record of its own.
func (b *budget) record(now time.Time, id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := now.Unix() / refusalsMinute; m != b.minute || b.by == nil {
		b.minute, b.records, b.inputs, b.by = m, 0, 0, map[string]int{}
	}
	if b.records == refusalsOfAll || b.by[id] == refusalsOfOne {
		return false
	}
	b.records++
	b.by[id]++
	return true
}

// input says whether an input of n bytes may be kept beside a record that was granted.
func (b *budget) input(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inputs+n > refusalInputs {
		return false
	}
	b.inputs += n
	return true
}
