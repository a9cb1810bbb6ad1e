package policies

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
)

const maxMessages = 64 // deny messages that are kept

// outcome of one evaluation; err is nil or an *release.Error.
type outcome struct {
	decision     release.Decision
	err          error
	steps, bytes int64
}

// run evaluates in one goroutine. A tracer, when not nil, sees every step; rule
// indexing and early exit are then off, or skipped rules would not be seen.
func (e *Engine) run(ctx context.Context, p *program, doc *ast.Term, l limits, tracer topdown.QueryTracer) (out outcome) {
	m := newMeter(ctx, l, e.now)
	refs := e.references.Load()
	defer func() {
		if r := recover(); r != nil {
			out.decision, out.err = refused(release.Refuse(release.ReasonPolicyError, "release policy: the evaluator panicked: %v", r))
		}
		out.decision.References = refs.digest
		out.steps, out.bytes = m.used()
	}()
	e.fault()
	results, err := p.results(ctx, m, doc, refs, tracer)
	if err == nil {
		out.decision, err = p.decide(results)
	}
	if err != nil {
		out.decision, out.err = refused(classify(m, err))
	}
	return out
}

func (p *program) results(ctx context.Context, m *meter, doc *ast.Term, refs *references, tracer topdown.QueryTracer) (topdown.QueryResultSet, error) {
	q := topdown.NewQuery(p.query).WithCompiler(p.compiler).WithQueryCompiler(p.queries).WithStore(refs).WithTransaction(transaction{}).
		WithInput(doc).WithCancel(m).WithStrictBuiltinErrors(true).WithBuiltins(p.builtins).WithMetrics(metrics.NoOp()).
		WithIndexing(tracer == nil).WithEarlyExit(tracer == nil).
		WithTime(time.Unix(0, 1)) // nothing that is allowed reads it: keep OPA from asking the clock
	if tracer != nil {
		q = q.WithQueryTracer(tracer)
	}
	return q.Run(ctx)
}

func (p *program) decide(rs topdown.QueryResultSet) (release.Decision, error) {
	if len(rs) != 1 {
		return release.Decision{}, errors.New("allow is undefined: add `default allow := false`")
	}
	allow, ok := rs[0][ast.Var("allow")].Value.(ast.Boolean)
	if !ok {
		return release.Decision{}, fmt.Errorf("allow is a %s, not a boolean", ast.ValueName(rs[0][ast.Var("allow")].Value))
	}
	messages, err := p.messages(rs[0])
	if err != nil {
		return release.Decision{}, err
	}
	if bool(allow) && len(messages) == 0 {
		return release.Decision{Allow: true}, nil
	}
	return release.Decision{Reason: release.ReasonPolicyDenied, Messages: messages}, nil
}

// namesTCB says whether ref is the TCB status, as evidence or as a claim: of the
// hardware itself, or of the hardware below an Azure guest.
func namesTCB(ref ast.Ref) bool {
	switch ref.String() {
	case "input.evidence.tcb_status", "input.claims.attester_tcb_status", `input.claims["x-ms-isolation-tee"].attester_tcb_status`:
		return true
	}
	return false
}

// silentOnTCB refuses what p allows without a word about a platform whose TCB is not
// up to date: a policy that was written for good machines does not choose a worse
// one by leaving something out.
func (p *program) silentOnTCB(d release.Decision, status string) release.Decision {
	if !d.Allow || p.tcb || status == "" || status == attest.TCBUpToDate {
		return d
	}
	return release.Decision{
		References: d.References, Reason: release.ReasonTCBNotNamed,
		Messages: []string{"the TCB status is " + clean(status, maxMessage) + ", and the policy does not name input.evidence.tcb_status"},
	}
}

// messages gives the deny set in its order, sorted by bytes.
func (p *program) messages(r topdown.QueryResult) (out []string, err error) {
	if !p.deny {
		return nil, nil
	}
	set, ok := r[ast.Var("deny")].Value.(ast.Set)
	if !ok {
		return nil, fmt.Errorf("deny is a %s, not a set", ast.ValueName(r[ast.Var("deny")].Value))
	}
	for _, t := range set.Slice() {
		s, ok := t.Value.(ast.String)
		if !ok {
			return nil, fmt.Errorf("a deny message is a %s, not a string", ast.ValueName(t.Value))
		}
		if len(out) < maxMessages {
			out = append(out, clean(string(s), maxMessage))
		}
	}
	return out, nil
}

// classify gives an error of the evaluation its reason.
func classify(m *meter, err error) *release.Error {
	var s *stop
	switch {
	case m.why != nil:
		s = m.why
	case errors.As(err, &s):
	default:
		return release.Refuse(release.ReasonPolicyError, "release policy: %s", clean(err.Error(), maxMessage))
	}
	return release.Refuse(s.reason, "release policy: %s", clean(s.Error(), maxMessage))
}
