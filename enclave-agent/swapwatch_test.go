package agent

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// urgent gives a descriptor with an event of the kind that /proc/swaps has (POLLPRI)
// whenever ring is called: a pseudoterminal in packet mode.
func urgent(t *testing.T) (fd int, ring, heard func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	must(err)
	t.Cleanup(func() { _ = unix.Close(master) })
	must(unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0))
	must(unix.IoctlSetPointerInt(master, unix.TIOCPKT, 1))
	slave, err := unix.IoctlRetInt(master, unix.TIOCGPTPEER)
	must(err)
	t.Cleanup(func() { _ = unix.Close(slave) })
	return master, func() { must(unix.IoctlSetInt(slave, unix.TCFLSH, unix.TCIFLUSH)) }, func() {
		_, err := unix.Read(master, make([]byte, 1)) // the event is over once it is read
		must(err)
	}
}

// TestSwapWatch: looks at the start and at each event, and no more often; ends with what
// is wrong, or in peace.
func TestSwapWatch(t *testing.T) {
	list, ring, heard := urgent(t)
	wrong := errors.New("plain swap")
	looks, answers := make(chan bool), make(chan error)
	check := func() error { looks <- true; return <-answers }
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- watch(ctx, list, check) }()
	<-looks
	answers <- nil
	ring()
	<-looks
	heard()
	answers <- nil
	ring()
	<-looks
	heard()
	answers <- wrong
	if err := <-ended; !errors.Is(err, wrong) {
		t.Error(err)
	}

	for _, fd := range []int{list, -1} { // a list, and none
		go func() { ended <- watch(ctx, fd, check) }()
		<-looks
		answers <- nil
	}
	stop()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := watch(ctx, list, check); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// TestSwapWatchAllowed: who takes the risk is not told of it again.
func TestSwapWatchAllowed(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := (Swap{Allowed: true, Notice: func(s string) { t.Error(s) }}).Watch(ctx); err != nil {
		t.Error(err)
	}
}
