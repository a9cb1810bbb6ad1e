package audit

import (
	"fmt"
	"sync"
	"time"
)

// How long the marker rests after a write, how long it waits to try again after one
// that failed, and how long a stop waits for the last one.
const (
	markRest  = 100 * time.Millisecond
	markAgain = 5 * time.Second
	markEnd   = 10 * time.Second
)

// marker raises the high-water mark behind the commits: one goroutine, which takes the
// newest checkpoint each time. So no caller waits for the other disk, the mark is never
// ahead of what a power cut leaves of the store, and it lags by what is committed during
// one write and markRest.
type marker struct {
	path   string
	tell   func(error) // may be nil
	raised chan struct{}
	end    chan struct{} // closed when nothing is committed any more
	ended  chan error    // of the last write

	writing sync.Mutex
	mu      sync.Mutex
	next    *signed   // committed by this process and not under the mark, nil: none
	since   time.Time // when the first such was
	size    int64     // under the mark
}

func newMarker(path string, size int64, tell func(error)) *marker {
	return &marker{path: path, tell: tell, size: size, raised: make(chan struct{}, 1), end: make(chan struct{}), ended: make(chan error, 1)}
}

// raise says that s is durable. A state that was only read is not known to be: what a
// killed process had not synced may still be lost.
func (m *marker) raise(s *signed) {
	if m == nil {
		return
	}
	m.mu.Lock()
	if m.next == nil {
		m.since = time.Now()
	}
	m.next = s
	m.mu.Unlock()
	m.wake()
}

func (m *marker) run() {
	for {
		select {
		case <-m.raised:
		case <-m.end:
			m.ended <- m.write()
			return
		}
		rest := markRest
		if m.write() != nil {
			rest = markAgain
			m.wake()
		}
		select {
		case <-time.After(rest):
		case <-m.end:
			m.ended <- m.write()
			return
		}
	}
}

// wake has run write once more.
func (m *marker) wake() {
	select {
	case m.raised <- struct{}{}:
	default:
	}
}

// write raises the mark to the newest state, if it is not there.
func (m *marker) write() error {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	s := m.next
	m.mu.Unlock()
	if s == nil {
		return nil
	}
	err := WriteMark(m.path, s.note)
	if m.tell != nil {
		m.tell(err)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size, m.since = s.size, time.Now()
	if m.next == s {
		m.next = nil
	}
	return nil
}

// behind is how long there has been something to write.
func (m *marker) behind() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next == nil {
		return 0
	}
	return max(time.Since(m.since), 1)
}

// close writes the last state. A disk that hangs does not keep the broker from ending.
func (m *marker) close() error {
	if m == nil {
		return nil
	}
	close(m.end)
	select {
	case err := <-m.ended:
		return err
	case <-time.After(markEnd):
		return fmt.Errorf("high-water mark %s: not written in %v", m.path, markEnd)
	}
}

// MarkLag says how many entries are not under the high-water mark, and for how long
// there have been such. Without a mark there are none.
func (l *Log) MarkLag() (entries int64, lasted time.Duration) {
	if l.marker == nil {
		return 0, 0
	}
	lasted = l.marker.behind()
	l.marker.mu.Lock()
	defer l.marker.mu.Unlock()
	return max(l.Size()-l.marker.size, 0), lasted
}

// RaiseMark writes the high-water mark now, for a start that must know that it can.
func (l *Log) RaiseMark() error {
	if l.marker == nil {
		return nil
	}
	return l.marker.write()
}
