package audit

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/openskr/openskr/release"
)

// A heartbeat is due when nothing was appended for this long; one that fails is
// tried again sooner. Both together stay below maxAhead. After a failed commit the
// log tries by itself, since a broker that is not ready may get no request to try with.
const (
	heartbeat      = 5 * time.Minute
	heartbeatAgain = time.Minute
	troubleAgain   = 5 * time.Second
)

// lookout is how often an idle log looks whether somebody else wrote to the database.
const lookout = time.Second

// write is the writing goroutine.
func (l *Log) write() {
	idle := time.NewTimer(heartbeat)
	defer idle.Stop()
	look := time.NewTicker(lookout)
	defer look.Stop()
	for {
		size := l.Size()
		select {
		case p := <-l.queue:
			l.round(p)
			if l.Trouble() != nil {
				idle.Reset(troubleAgain)
			} else if l.Size() != size {
				idle.Reset(heartbeat)
			}
		case <-look.C:
			l.look()
			l.intruded()
		case <-idle.C:
			l.shred = l.late
			l.scrub()
			if p := l.system("broker/heartbeat"); p != nil {
				l.round(p)
			}
			if l.Size() != size {
				idle.Reset(heartbeat)
			} else if l.Trouble() != nil {
				idle.Reset(troubleAgain)
			} else {
				idle.Reset(heartbeatAgain)
			}
		case <-l.stop:
			for {
				select {
				case p := <-l.queue:
					l.round(p)
				default:
					return
				}
			}
		}
	}
}

// look notices commits of others. What is wrong with the database, the next commit says.
func (l *Log) look() {
	if l.w != nil {
		_ = l.w.Look()
	}
}

// intruded puts on record that somebody else wrote to the database: by hand, or as a
// thief. What they wrote is believed only where its seal says that it is ours.
func (l *Log) intruded() {
	n := l.cfg.Store.Foreign()
	if n == l.foreign {
		return
	}
	if p := l.system("store/foreign"); p != nil {
		l.round(p)
	}
	if l.Trouble() != nil {
		return // again, once there is a log to say it in
	}
	if l.cfg.Intruded != nil {
		l.cfg.Intruded(n - l.foreign)
	}
	l.foreign = n
}

// round commits p and whatever else waits, or is about to: on a busy machine others
// stand ready to run whose records can share this commit, so they run first. No timer
// is in it, and where nobody else is ready it costs nothing.
func (l *Log) round(p *pending) {
	runtime.Gosched()
	var batch []*pending
	for more := true; more; {
		if p.state.CompareAndSwap(waiting, taken) {
			batch = append(batch, p)
		}
		more = false
		if len(batch) < l.cfg.MaxBatch {
			select {
			case p = <-l.queue:
				more = true
			default:
			}
		}
	}
	if len(batch) == 0 {
		return
	}
	began := time.Now()
	l.began.Store(&began)
	defer l.began.Store(nil)
	outcomes, err := l.commit(batch)
	if err != nil {
		l.trouble.Store(&err)
	} else {
		l.trouble.Store(nil)
	}
	l.answer(batch, outcomes, err)
	l.abort()
}

// commit writes a batch. An error is everyone's: the transaction failed, or its
// fate is unknown, and the state is read again before the next one. Outcomes beside
// an error are of the second kind.
func (l *Log) commit(batch []*pending) ([]outcome, error) {
	l.relieve()
	select {
	case <-l.failed:
		return nil, unavailable("not written: the disk failed, restart the broker")
	default:
	}
	if l.tree == nil {
		if err := l.load(context.Background()); err != nil {
			return nil, l.broken(err)
		}
		if err := l.landed(context.Background()); err != nil {
			return nil, l.broken(err)
		}
	}
	l.cfg.Fault("taken")
	b, err := l.begin()
	if err != nil {
		return nil, l.broken(err)
	}
	outcomes := make([]outcome, len(batch))
	for i, p := range batch {
		outcomes[i] = b.apply(p)
		if err := b.tx.Err(); err != nil {
			return nil, l.broken(err)
		}
	}
	if len(b.added) == 0 {
		if err := b.tx.Rollback(); err != nil {
			return nil, l.broken(err)
		}
		return outcomes, nil
	}
	start := time.Now()
	if err := b.finish(); err != nil {
		return outcomes, l.broken(err)
	}
	if l.cfg.Observe != nil {
		l.cfg.Observe(time.Since(start))
	}
	l.cfg.Fault("committed")
	b.publish(outcomes)
	l.scrub()
	return outcomes, nil
}

// broken forgets all state and connection, so that the next batch starts from
// what the database holds, and makes the error of everyone in flight.
func (l *Log) broken(err error) error {
	if l.w != nil {
		l.w.Discard()
	}
	l.w, l.tree = nil, nil
	l.judgeDisk(err)
	var r *release.Error
	if errors.As(err, &r) && r.Reason != release.ReasonInternal {
		return err
	}
	return unavailable("not committed: %w", err)
}

// relieve lets the checkpointer reach the end of the write-ahead log, when that has
// grown because steady writing kept it from there: the next commit begins it anew.
// Whoever waits for a commit waits no longer for that than reliefWait: neither a slow
// disk nor somebody who reads the whole log may cost a release.
func (l *Log) relieve() {
	if !l.unsafe.CompareAndSwap(true, false) {
		return
	}
	done, timer := make(chan struct{}), time.NewTimer(reliefWait)
	defer timer.Stop()
	select {
	case l.moved <- done:
	case <-timer.C:
		return
	}
	select {
	case <-done:
	case <-timer.C:
	}
}

// judgeDisk ends the log when err is a failed fsync.
func (l *Log) judgeDisk(err error) {
	if l.cfg.Store.Unsynced(err) {
		l.failing.Do(func() { close(l.failed) })
	}
}

// maxWAL is how many bytes of write-ahead log there may be before commits wait.
const maxWAL = 64 << 20

// reliefWait is how long they wait then.
const reliefWait = 250 * time.Millisecond

// scrubWait is how long they wait after something was removed.
const scrubWait = time.Second

// checkpoint is the goroutine that moves the write-ahead log into the database,
// beside the commits.
func (l *Log) checkpoint() {
	for {
		select {
		case <-l.stop:
			return
		case done := <-l.moved:
			length, err := l.cfg.Store.Checkpoint(context.Background(), false)
			l.judgeDisk(err)
			switch {
			case done != nil:
				close(done)
			case err == nil && length > maxWAL:
				// Once more: then the commits wait only for what came during this one.
				_, err = l.cfg.Store.Checkpoint(context.Background(), false)
				l.judgeDisk(err)
				l.unsafe.Store(true)
			}
		}
	}
}
