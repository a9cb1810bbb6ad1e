package agent

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// EndedBySignal ends with the signals that ask a program to end, a terminal's hangup among
// them, so that nothing half done stays behind. One that was ignored from the start, as
// nohup has it, stays so.
func EndedBySignal() (context.Context, context.CancelFunc) {
	asked := slices.DeleteFunc([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP}, signal.Ignored)
	if len(asked) == 0 { // none would mean all
		return context.WithCancel(context.Background())
	}
	return signal.NotifyContext(context.Background(), asked...)
}
