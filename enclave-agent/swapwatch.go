package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// again is how long a change of the swap may go unnoticed where no list of it can be
// watched, or where a cgroup may swap that could not before.
const again = time.Minute

// Watch checks now, and whenever swap is turned on or off while ctx is not done. It gives
// nil when ctx is, and else what [Swap.Check] says; with Allowed it has nothing to say.
func (s Swap) Watch(ctx context.Context) error {
	if s.Allowed {
		<-ctx.Done()
		return nil
	}
	// Opened before the first look: the kernel tells what changes from then on. Not by
	// package os, whose poller would be told in our place. A unit may hide the list.
	list, err := unix.Open("/proc/swaps", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		list = -1 // poll(2) passes over it
	} else {
		defer unix.Close(list)
	}
	return watch(ctx, list, s.Check)
}

// watch calls check, and calls it again when there is an event on list.
func watch(ctx context.Context, list int, check func() error) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watch the swap: %w", err)
	}
	defer unix.Close(wake)
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		_, _ = unix.Write(wake, []byte{0, 0, 0, 0, 0, 0, 0, 1}) // any number but 0; the counter has room
	})
	defer func() {
		if !stop() {
			<-told // wake is closed after that
		}
	}()
	for ctx.Err() == nil {
		if err := check(); err != nil {
			return err
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(list), Events: unix.POLLPRI}, {Fd: int32(wake), Events: unix.POLLIN}}, int(again.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch the swap: %w", err)
		}
	}
	return nil
}
