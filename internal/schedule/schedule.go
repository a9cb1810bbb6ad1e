// Package schedule does what is due: now and then, for as long as a broker runs, it
// asks each task to do what the store says is due. It keeps nothing itself, so that a
// restart, or a second broker on the store, changes nothing but the moment.
package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// Every is how often tasks are asked. What they do is dated in days.
const Every = time.Minute

// Task does what is due at this moment, and nothing twice.
type Task struct {
	Name string
	Do   func(ctx context.Context) error
}

// Run asks the tasks one after the other, at once and then each minute, until ctx
// ends; one that works then is let finish or stop by its context. A task that fails, or
// panics, is told to the operator and asked again; the others go on.
func Run(ctx context.Context, logger *slog.Logger, tasks ...Task) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		for _, t := range tasks {
			if ctx.Err() != nil {
				return
			}
			if err := t.once(ctx); err != nil && ctx.Err() == nil {
				logger.Error("a scheduled task failed, it is tried again", "task", t.Name, "every", Every.String(), "error", err.Error())
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (t Task) once(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return t.Do(ctx)
}
