package main

import (
	"context"

	"github.com/openskr/openskr/internal/schedule"
)

// tasks are what a running broker does by itself, when it is due.
func (b *broker) tasks() []schedule.Task {
	return []schedule.Task{
		{Name: "rotate keys", Do: func(ctx context.Context) error {
			if b.log.ClockDistrusted() != nil {
				return nil // the broker says so elsewhere
			}
			if err := b.log.ClockStepped(); err != nil {
				return err // or a clock that ran ahead would rotate all that is due by then
			}
			return b.keys.RotateDue(ctx)
		}},
		{Name: "purge what was deleted", Do: b.purgeDue},
	}
}

// purgeDue waits for the operator after the clock jumped: what is purged is gone, and
// what is purged a day later harms nobody.
func (b *broker) purgeDue(ctx context.Context) error {
	if b.log.ClockDistrusted() != nil {
		return nil
	}
	if err := b.log.ClockStepped(); err != nil {
		return err
	}
	n, err := b.keys.PurgeDue(ctx)
	if n > 0 {
		b.logger.Info("purged what was deleted and can no longer be recovered", "objects", n)
	}
	return err
}
