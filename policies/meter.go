package policies

import (
	"context"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/openskr/openskr/release"
)

// limits bounds one evaluation. Steps, bytes and value size decide and are the
// same on every machine; the wall clock is a net far above what the steps need,
// so that a busy machine does not change decisions.
type limits struct {
	steps int64         // expressions evaluated plus work charged by built-ins
	bytes int64         // sum of the sizes of everything built
	value int           // size of one value a built-in takes or gives
	wall  time.Duration // looked at every clockEvery steps
}

// An ordinary decision takes under 500 steps; a step is about half a microsecond.
var defaultLimits = limits{steps: 50_000, bytes: 2 << 20, value: 256 << 10, wall: 250 * time.Millisecond}

const clockEvery = 64

// meter is the budget of one evaluation. OPA asks its Cancel before every
// expression, which makes it an instruction counter at no cost, and built-ins
// find it again in their context. It is used by one goroutine.
type meter struct {
	ctx          context.Context
	now          func() time.Time
	until        time.Time
	limits       limits
	steps, bytes int64 // left
	tick         int64 // steps since the clock was read
	why          *stop
}

func newMeter(ctx context.Context, l limits, now func() time.Time) *meter {
	return &meter{ctx: ctx, now: now, until: now().Add(l.wall), limits: l, steps: l.steps, bytes: l.bytes}
}

// Cancel implements topdown.Cancel; nobody calls it, the context does its work.
func (m *meter) Cancel() {}

// Cancelled counts one step and says whether the budget is spent.
func (m *meter) Cancelled() bool {
	m.spend(1)
	return m.why != nil
}

func (m *meter) spend(steps int64) {
	m.steps -= steps
	m.tick += steps
	switch {
	case m.why != nil:
	case m.steps < 0:
		m.why = &stop{reason: release.ReasonPolicyResource, text: fmt.Sprintf("more than %d steps", m.limits.steps)}
	case m.tick >= clockEvery: // charges count too: a policy must not dodge the clock
		m.tick = 0
		if err := m.ctx.Err(); err != nil {
			m.why = &stop{reason: release.ReasonPolicyTimeout, text: "the request ended: " + err.Error()}
		} else if m.now().After(m.until) {
			m.why = &stop{reason: release.ReasonPolicyTimeout, text: fmt.Sprintf("not done in %v: the machine is overloaded", m.limits.wall)}
		}
	}
}

// charge pays for work and memory that one step did.
func (m *meter) charge(steps, bytes int64) *stop {
	if m.spend(steps); m.why == nil {
		if m.bytes -= bytes; m.bytes < 0 {
			m.why = &stop{reason: release.ReasonPolicyResource, text: fmt.Sprintf("more than %d bytes", m.limits.bytes)}
		}
	}
	return m.why
}

// used says what the evaluation cost.
func (m *meter) used() (steps, bytes int64) {
	return m.limits.steps - m.steps, m.limits.bytes - m.bytes
}

// stop ends an evaluation at once. It travels as topdown.Halt, which neither
// `not` nor a comprehension can hide.
type stop struct {
	reason release.Reason
	text   string
	at     *ast.Location
}

func (s *stop) Error() string {
	if s.at == nil {
		return s.text
	}
	return fmt.Sprintf("line %d, column %d: %s", s.at.Row, s.at.Col, s.text)
}

func halt(at *ast.Location, r release.Reason, format string, args ...any) error {
	return topdown.Halt{Err: &stop{reason: r, at: at, text: fmt.Sprintf(format, args...)}}
}
