package schedule_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/internal/schedule"
)

// TestRun: at once, then every minute; a task that fails or panics stops no other.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var bad, worse, good atomic.Int32 // the race detector sees no order in a sleep
		start, asked := time.Now(), []time.Duration(nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			schedule.Run(ctx, slog.New(slog.NewTextHandler(&log, nil)),
				schedule.Task{Name: "bad", Do: func(context.Context) error { bad.Add(1); return errors.New("no disk") }},
				schedule.Task{Name: "worse", Do: func(context.Context) error { worse.Add(1); panic("a bug") }},
				schedule.Task{Name: "good", Do: func(context.Context) error {
					good.Add(1)
					asked = append(asked, time.Since(start))
					return nil
				}},
			)
		}()
		synctest.Wait()
		if bad.Load() != 1 || worse.Load() != 1 || good.Load() != 1 {
			t.Errorf("at once: %d %d %d", bad.Load(), worse.Load(), good.Load())
		}
		time.Sleep(3*schedule.Every + time.Second)
		synctest.Wait()
		if bad.Load() != 4 || worse.Load() != 4 || good.Load() != 4 || asked[3] != 3*schedule.Every {
			t.Errorf("after three minutes: %d %d %d, %v", bad.Load(), worse.Load(), good.Load(), asked)
		}
		stop()
		<-done
		if text := log.String(); strings.Count(text, "no disk") != 4 || strings.Count(text, "a bug") != 4 || strings.Contains(text, "task=good") {
			t.Error(text)
		}
		time.Sleep(10 * schedule.Every)
		if good.Load() != 4 {
			t.Errorf("%d after the end", good.Load())
		}
	})
}

// TestStop: a task that works when the end comes is told, and Run waits for it.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var log bytes.Buffer
		ended, later := false, false
		done := make(chan struct{})
		go func() {
			defer close(done)
			schedule.Run(ctx, slog.New(slog.NewTextHandler(&log, nil)), schedule.Task{Name: "long", Do: func(ctx context.Context) error {
				<-ctx.Done()
				ended = true
				return ctx.Err()
			}}, schedule.Task{Name: "later", Do: func(context.Context) error { later = true; return nil }})
		}()
		synctest.Wait()
		stop()
		<-done
		if !ended || later || log.Len() != 0 {
			t.Errorf("ended %v, later %v: %s", ended, later, log.String())
		}
	})
}

// TestSlow: a task that takes longer than the pause is not asked twice at once.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		inside, most, times := 0, 0, 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			schedule.Run(ctx, slog.New(slog.DiscardHandler), schedule.Task{Name: "slow", Do: func(context.Context) error {
				inside++
				most, times = max(most, inside), times+1
				time.Sleep(5 * schedule.Every / 2)
				inside--
				return nil
			}})
		}()
		time.Sleep(10 * schedule.Every)
		stop()
		<-done
		if most != 1 || times < 3 || times > 5 {
			t.Errorf("%d at once, %d times", most, times)
		}
	})
}
