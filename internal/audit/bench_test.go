package audit

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// BenchmarkAppend measures one durable release record, its guards and its receipt,
// with 1, 16 and 64 in flight, one commit for all against one each, on this disk
// and on slower ones (P3).
func BenchmarkAppend(b *testing.B) {
	for _, delay := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond} {
		for _, mode := range []string{"group", "single"} {
			for _, flight := range []int{1, 16, 64} {
				b.Run(fmt.Sprintf("delay=%v/%s/inflight=%d", delay, mode, flight), func(b *testing.B) {
					benchAppend(b, flight, 1, func(c *Config) {
						c.Single = mode == "single"
						if delay > 0 {
							c.CommitDelay = func() { time.Sleep(delay) }
						}
					})
				})
			}
		}
	}
}

// BenchmarkGrowth appends to a log of 100 000 records with as many keys (P6).
func BenchmarkGrowth(b *testing.B) {
	for _, size := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("records=%d", size), func(b *testing.B) { benchAppend(b, 64, size) })
	}
}

func benchAppend(b *testing.B, flight, keys int, edit ...func(*Config)) {
	x := newBench(b, edit...)
	k := x.key("disk", "1", 1)
	m := x.machine("m", release.MachineApproved)
	x.grow(keys - 1)
	b.ResetTimer()
	work := make(chan struct{}, flight)
	done := make(chan error, flight)
	for range flight {
		go func() {
			var err error
			for range work {
				var c *release.Committed
				if c, err = x.log.Append(context.Background(), x.allow(k, m)); err == nil && c.Record.Decision != receipt.Allow {
					err = fmt.Errorf("%s", c.Record.Reason)
				}
				if err != nil {
					break
				}
			}
			for range work { // drain after a failure
			}
			done <- err
		}()
	}
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	for range flight {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rec/s")
}

// grow adds n keys, each with its record.
func (b *bench) grow(n int) {
	b.t.Helper()
	const flight = 512
	errs := make(chan error, flight)
	next := make(chan int, flight)
	for range flight {
		go func() {
			var err error
			for i := range next {
				r := keyRow(fmt.Sprintf("key%06d", i), "1", 1)
				if _, e := b.log.Change(context.Background(), &release.Record{Operation: "keys/create", ObjectID: r.ObjectID},
					func(tx Tx, _ int64) error { return tx.Insert(r) }); e != nil {
					err = e
				}
			}
			errs <- err
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	for range flight {
		if err := <-errs; err != nil {
			b.t.Fatal(err)
		}
	}
}

// BenchmarkOpen opens logs of different size (P8: no full replay).
func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("records=%d", size), func(b *testing.B) {
			x := newBench(b)
			x.grow(size)
			x.close()
			for b.Loop() {
				x.open()
				x.close()
			}
		})
	}
}
