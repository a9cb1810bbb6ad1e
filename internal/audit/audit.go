// Package audit is the log: every decision and every change is a record in a
// Merkle tree (RFC 6962, C2SP tlog-tiles), made durable in the transaction of
// what it records, under a signed checkpoint.
//
// One goroutine writes. It takes whatever waits, up to Config.MaxBatch, and
// commits it at once: no timer, no linger, so one fsync serves all in flight.
// Nothing is acknowledged before its commit, and after a commit whose fate is
// unknown the state is read again from the database before anything else.
package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/attest/verified"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Config is what a Log stands on. Store, Deployment, Origin, Signers, VKeys, ObjectKey,
// Now and Settings are required.
type Config struct {
	Store      *store.Store
	Deployment string // id, in every record
	Origin     string // first line of every checkpoint
	Simulation bool
	// Signers are the log's keys, Ed25519 of package note: one, or two while a key is
	// replaced; all of them sign. VKeys are theirs, in the encoding of package note,
	// and every one of them is believed.
	Signers   []note.Signer
	VKeys     []string
	ObjectKey []byte // 32 bytes, HMAC key of object rows
	Now       func() time.Time
	Binary    string
	Settings  func() receipt.Digest // digest of the effective configuration
	// System, when set, makes a record of the broker itself: of "broker/heartbeat"
	// when nothing was appended for 5 minutes, so that the log shows that time passes
	// (design D19), and of "broker/stop" at Close. It must not call the log.
	System func(op string) *release.Record

	// Mark, when set, is the file of the high-water mark, on another disk than the store.
	// The log is not opened when it does not go on from it. Marked, when set, is told
	// how each writing of it ended; it must not call the log.
	Mark   string
	Marked func(error)

	// Intruded, when set, is told of commits to the database that are not this log's, and
	// are on record now. It must not call the log.
	Intruded func(commits int64)

	MaxBatch int           // entries of one commit; 0 means 256
	MaxQueue int           // entries that wait, more are refused as overloaded; 0 means 1024
	Wait     time.Duration // how long a caller waits for its commit; 0 means 2 s
	// Fault, when set, is called at each named step of a commit; tests stop there.
	Fault func(step string)
	// Observe, when set, is told how long each durable commit took.
	Observe func(took time.Duration)
	// CommitDelay, when set, is called after each commit: benchmarks emulate a slow fsync.
	CommitDelay func()
	// Single commits every entry by itself: benchmarks compare.
	Single bool
}

// Log implements [release.Log]; Keys and Objects give the other ports.
type Log struct {
	cfg   Config
	queue chan *pending
	stop  chan struct{}
	wait  sync.WaitGroup
	once  sync.Once

	signed  atomic.Pointer[signed] // what readers see
	clock   clock
	folded  *folder
	unsafe  atomic.Bool        // the write-ahead log has grown: checkpoint between batches
	moved   chan chan struct{} // wakes the checkpointer, which closes what it gets
	failed  chan struct{}      // closed when only a restart helps
	failing sync.Once
	trouble atomic.Pointer[error]
	began   atomic.Pointer[time.Time] // of the commit under way, nil: there is none
	objects *verified.Cache[keptObject]
	states  *verified.Cache[keptState] // of key versions

	interrupted bool    // found at start
	marker      *marker // nil: there is no mark

	// Of the writing goroutine alone.
	w         *store.Writer
	tree      *receipt.Tree // nil: state unknown, read it again
	pending   int           // entries since the checkpointer was woken
	unclaimed unclaimed
	shred     bool  // the write-ahead log may hold rows that this batch removed
	late      bool  // or an earlier one
	purged    int64 // time of the last purge of nonces, Unix ms
	foreign   int64 // commits of others that are on record
}

// signed is a consistent view of the log.
type signed struct {
	size int64
	root tlog.Hash
	note string
	last int64 // time of the last record, Unix ms
}

// Open reads the state of the log, in time that grows with the logarithm of its
// size: the entries of the last commit are hashed again and must give the signed
// checkpoint. Anything else is an integrity_error, and nothing is appended to it.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if cfg.Store == nil || cfg.Deployment == "" || cfg.Origin == "" || len(cfg.Signers) == 0 || len(cfg.VKeys) == 0 || len(cfg.ObjectKey) != 32 ||
		cfg.Now == nil || cfg.Settings == nil {
		return nil, errors.New("audit: a part of the log is missing")
	}
	if cfg.MaxBatch == 0 {
		cfg.MaxBatch = 256
	}
	if cfg.Single {
		cfg.MaxBatch = 1
	}
	if cfg.MaxQueue == 0 {
		cfg.MaxQueue = 1024
	}
	if cfg.Wait == 0 {
		cfg.Wait = 2 * time.Second
	}
	if cfg.Fault == nil {
		cfg.Fault = func(string) {}
	}
	l := &Log{
		late: true, // a process that ended early left its write-ahead log
		cfg:  cfg, queue: make(chan *pending, cfg.MaxQueue), stop: make(chan struct{}),
		moved: make(chan chan struct{}, 1), failed: make(chan struct{}), folded: newFolder(),
		objects: verified.NewWeighed(keptObjects, keptBytes, keptObject.weight), states: verified.NewCache[keptState](keptObjects),
	}
	if err := l.found(ctx); err != nil {
		if l.w != nil {
			err = errors.Join(err, l.w.Close())
		}
		return nil, err
	}
	if l.marker != nil {
		go l.marker.run()
	}
	l.clock.floor.Store(l.signed.Load().last)
	l.wait.Go(l.write)
	l.wait.Go(l.checkpoint)
	l.wait.Go(l.fold)
	return l, nil
}

// found reads what a log begins with, and refuses one that is not what it was.
func (l *Log) found(ctx context.Context) error {
	if err := l.load(ctx); err != nil {
		return err
	}
	if err := l.recallStep(ctx); err != nil {
		return err
	}
	if l.cfg.Mark == "" {
		return nil
	}
	j, err := l.JudgeMark(ctx, l.cfg.Mark)
	l.marker = newMarker(l.cfg.Mark, j.Marked, l.cfg.Marked)
	return err
}

// Close writes the folded refusals and the end of the broker, commits what waits
// and stops. The store stays open.
func (l *Log) Close() error {
	var err error
	l.once.Do(func() {
		err = errors.Join(l.flush(context.Background(), true), l.ended())
		close(l.stop)
		l.wait.Wait()
		err = errors.Join(err, l.marker.close())
		if l.w != nil {
			err = errors.Join(err, l.w.Close())
		}
	})
	return err
}

// ended records that the broker stops.
func (l *Log) ended() error {
	p := l.system("broker/stop")
	if p == nil {
		return nil
	}
	_, err := l.submit(context.Background(), p)
	return err
}

// system is an entry about the broker itself, nil when there is none to write.
func (l *Log) system(op string) *pending {
	if l.cfg.System == nil || l.Size() == 0 {
		return nil
	}
	return &pending{rec: l.cfg.System(op), change: func(*store.Tx, int64) error { return nil }, done: make(chan outcome, 1)}
}

// Failed is closed when the disk failed in a way that only a new process can
// judge (a failed fsync): the program must end with an error and be started again.
func (l *Log) Failed() <-chan struct{} { return l.failed }

// Checkpoint gives the signed checkpoint of the log; empty for an empty log.
func (l *Log) Checkpoint() string { return l.signed.Load().note }

// Size is the number of entries under the checkpoint.
func (l *Log) Size() int64 { return l.signed.Load().size }

// Trouble is why the last commit failed, or that the present one hangs; nil once one
// succeeded: nothing can be released while the log cannot be written.
func (l *Log) Trouble() error {
	if err := l.hanging(); err != nil {
		return err
	}
	if err := l.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// Refused implements [release.Log].
func (l *Log) Refused(why error, source, correlation string) {
	l.folded.add(l.cfg.Now(), why, source, correlation)
}

// unavailable is the refusal when an outcome is not known or nothing was written.
func unavailable(format string, args ...any) error {
	e := release.Refuse(release.ReasonLogUnavailable, format, args...)
	e.Retry = 2
	return e
}

func integrity(format string, args ...any) error {
	return release.Refuse(release.ReasonIntegrity, "the log does not verify, nothing is appended; "+
		"compare with a backup by `openskr log verify`: %w", fmt.Errorf(format, args...))
}
