package route

import (
	"context"
	"errors"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Records gives the base of a record of an operation: base (deployment,
// configuration, binary), and caller, correlation and request of the call in ctx.
// Outside of a call the caller is the system itself.
func Records(base func() *release.Record) func(ctx context.Context, op string) *release.Record {
	return func(ctx context.Context, op string) *release.Record {
		r := base()
		r.V, r.Kind, r.Operation = 1, receipt.KindChange, op
		r.Caller = &receipt.Caller{Kind: "system", ID: "broker"}
		c := From(ctx)
		if c == nil {
			return r
		}
		r.Correlation, r.Request, r.Door = c.Correlation, c.Digest, string(c.Door)
		if c.Caller != nil {
			r.Caller = &receipt.Caller{Kind: c.Caller.Kind(), ID: c.Caller.ID, Roles: c.Caller.Roles()}
		}
		return r
	}
}

// Right gives the objects that the right of the caller in ctx rests on: what it may
// do was judged by them before, and is judged again by the append of what it did.
func Right(ctx context.Context) []release.ObjectState {
	if c := From(ctx); c != nil && c.Caller != nil {
		return c.Caller.State
	}
	return nil
}

// recorded marks an error whose refusal is in the log already.
type recorded struct{ error }

func (r recorded) Unwrap() error { return r.error }

// Recorded says that whoever returned err has recorded the refusal, so that the
// funnel does not count it twice.
func Recorded(err error) error {
	if err == nil {
		return nil
	}
	return recorded{err}
}

// IsRecorded tells whether err was marked by Recorded.
func IsRecorded(err error) bool {
	var r recorded
	return errors.As(err, &r)
}
