// Package policies evaluates release policies: Rego that a tenant wrote, or that
// Azure's JSON grammar became (json.go), run inside the broker. It is the only
// importer of OPA.
//
// A policy is untrusted code. Four fences stand around it:
//
//   - the text and the syntax tree are checked before anything is compiled
//     (source.go, check.go): a language smaller than Rego, docs/policies.md
//   - the first compilation happens in a child process that can be killed
//     (Engine.Check, CompilerMain), because OPA's compiler cannot be interrupted
//   - every evaluation has a budget of steps, bytes and value size (meter.go,
//     builtins.go, bound.go); a wall clock far above them is only a net
//   - what is not exactly `allow` true with no `deny` message is a denial or an
//     error, and both release nothing (evaluate.go)
//
// Decisions are deterministic: the same policy, input and references give the
// same decision, messages and number of steps, so a record can be replayed.
package policies

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/openskr/openskr/release"
)

// Config is what an Engine stands on.
type Config struct {
	// Compiler is the argv of the killable compiler child, normally
	// {"/proc/self/exe", "policy-compiler"}, which must call CompilerMain. Without
	// it Check refuses everything.
	Compiler []string
	// CacheSize is how many compiled policies are kept, about 80 kB each; default 300.
	CacheSize int
	// ClaimsSchema is the JSON Schema of input.claims. With it a misspelt claim is
	// an error at upload; nil leaves claims unchecked.
	ClaimsSchema map[string]any
}

// Engine evaluates release policies. It implements release.Policy and is safe
// for concurrent use.
type Engine struct {
	config     Config
	cache      *cache
	references atomic.Pointer[references]
	children   chan struct{} // one slot for each compiler child that may run
	limits     limits
	now        func() time.Time
	fault      func() // tests: called in the evaluation
}

var _ release.Policy = (*Engine)(nil)

// New makes an Engine without references. It bounds OPA's built-ins for the
// whole process, see install.
func New(c Config) (*Engine, error) {
	if err := install(); err != nil {
		return nil, err
	}
	if c.CacheSize == 0 {
		c.CacheSize = 300
	}
	if c.CacheSize < 0 {
		return nil, errors.New("policies: negative cache size")
	}
	e := &Engine{
		config: c, cache: newCache(c.CacheSize), children: make(chan struct{}, maxChildren),
		limits: defaultLimits, now: time.Now, fault: func() {},
	}
	if err := e.SetReferences(nil); err != nil {
		return nil, err
	}
	return e, nil
}

// SetReferences replaces data.references, for evaluations that start afterwards:
// set → kind → value → {"label", "until"}, keyed by value, so that a look-up is
// one step. At most a million values and 64 MiB; on an error the old ones stay.
func (e *Engine) SetReferences(refs map[string]any) error {
	if refs == nil {
		refs = map[string]any{}
	}
	r, err := newReferences(refs)
	if err != nil {
		return err
	}
	e.references.Store(r)
	return nil
}

// program gives the compiled policy. Its source passed Check when it was
// uploaded; nothing else is ever stored.
func (e *Engine) program(p release.ReleasePolicy) (*program, error) {
	if p.ContentType != release.ContentTypeRego && p.ContentType != release.ContentTypeJSON {
		return nil, fmt.Errorf("release policies of type %.64q cannot be evaluated, only %s and %s", p.ContentType, release.ContentTypeRego, release.ContentTypeJSON)
	}
	digest := sha256.Sum256(p.Data)
	if digest != p.Digest {
		return nil, fmt.Errorf("the policy's bytes have digest %x, its row says %x: the store was altered", digest, p.Digest)
	}
	return e.cache.get(cacheKey{p.ContentType, digest}, func() (prog *program, err error) {
		defer func() {
			if r := recover(); r != nil {
				prog, err = nil, fmt.Errorf("the compiler panicked: %v", r)
			}
		}()
		if p.ContentType == release.ContentTypeJSON {
			return compileJSON(p.Data)
		}
		prog, found := compile(p.Data, e.config.ClaimsSchema)
		if prog == nil {
			return nil, &CheckError{tidy(found)}
		}
		return prog, nil
	})
}

// Evaluate decides. Only `allow` exactly true and no deny message allow; every
// error is a refusal: ReasonPolicyError (undefined, conflict, failing built-in,
// wrong type, panic, unusable policy), ReasonPolicyResource (steps, bytes or value
// size) or ReasonPolicyTimeout (overloaded machine, request gone). The text of an
// error and the messages are the policy's own words: for the operator only.
func (e *Engine) Evaluate(ctx context.Context, p release.ReleasePolicy, in *release.Input) (release.Decision, error) {
	prog, err := e.program(p)
	if err != nil {
		return refused(release.Refuse(release.ReasonPolicyError, "release policy: %w", err))
	}
	doc, err := document(in)
	if err != nil {
		return refused(release.Refuse(release.ReasonPolicyError, "input of the release policy: %w", err))
	}
	r := e.run(ctx, prog, doc, e.limits, nil)
	return prog.silentOnTCB(r.decision, in.Evidence.TCBStatus), r.err
}

func refused(err *release.Error) (release.Decision, error) {
	return release.Decision{Reason: err.Reason}, err
}
