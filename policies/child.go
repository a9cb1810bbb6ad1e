package policies

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/release"
)

const (
	maxChildren = 2 // compilers at once
	maxCheckCPU = time.Second
	maxTestCPU  = 20 * time.Second
	checkWait   = 5 * time.Second // wall: CPU decides, except on a machine that is overloaded
	testWait    = 60 * time.Second
)

// Check is what an upload must pass: the policy is read, compiled and typed
// against the input schema in a child process that can be killed. nil means that
// Evaluate will take it. A policy that is refused gives ReasonPolicyInvalid with a
// *CheckError; a busy machine gives ReasonOverloaded, and a child that does not
// start ReasonInternal: neither is the policy's fault.
func (e *Engine) Check(ctx context.Context, p release.ReleasePolicy) error {
	_, err := e.Inspect(ctx, p)
	return err
}

// Inspect is Check that also gives the warnings of a policy that passes.
func (e *Engine) Inspect(ctx context.Context, p release.ReleasePolicy) ([]Diagnostic, error) {
	switch p.ContentType {
	case release.ContentTypeRego:
		return e.inspect(ctx, task{Claims: e.config.ClaimsSchema, Source: p.Data})
	case release.ContentTypeJSON:
		return e.inspectJSON(ctx, p.Data)
	}
	return nil, verdict(tidy([]Diagnostic{{Code: "policy_type", Message: fmt.Sprintf(
		"release policies of type %.64q are not known: upload Rego as %s, or Azure's JSON grammar as %s",
		p.ContentType, release.ContentTypeRego, release.ContentTypeJSON)}}))
}

// inspect has t compiled in a child.
func (e *Engine) inspect(ctx context.Context, t task) ([]Diagnostic, error) {
	if found := checkSource(t.Source); len(found) > 0 { // nothing to compile: no child
		return nil, verdict(tidy(found))
	}
	select {
	case e.children <- struct{}{}:
		defer func() { <-e.children }()
	case <-ctx.Done():
		return nil, release.Refuse(release.ReasonOverloaded, "policy compiler: %w", ctx.Err())
	}
	a, err := runChild(ctx, e.config.Compiler, t, checkWait)
	if err != nil {
		return nil, err
	}
	return a.Diagnostics, verdict(a.Diagnostics)
}

// runChild gives t to a fresh compiler process.
func runChild(ctx context.Context, argv []string, t task, wait time.Duration) (*answer, error) {
	if len(argv) == 0 {
		return nil, release.Refuse(release.ReasonInternal, "policies: no compiler process is configured, policies cannot be checked")
	}
	in, err := json.Marshal(t, json.Deterministic(true))
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "policy compiler: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out := &capped{left: maxAnswer}
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.WaitDelay = []string{}, "/", bytes.NewReader(in), out, time.Second
	orphan(cmd)
	runtime.LockOSThread() // the kernel watches the thread that forks, not the process
	err = cmd.Run()
	runtime.UnlockOSThread()
	if err != nil {
		return nil, blame(ctx, cmd, out.data, err)
	}
	a, err := readAnswer(out.data)
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "policy compiler: %w", err)
	}
	return a, nil
}

// blame finds out whose fault a dead child is.
func blame(ctx context.Context, cmd *exec.Cmd, out []byte, err error) error {
	if len(out) < len(ready) && ctx.Err() == nil {
		return release.Refuse(release.ReasonInternal, "%w: %q: %w", errNotReady, cmd.Args, err)
	}
	used := time.Duration(0)
	if s := cmd.ProcessState; s != nil {
		used = s.UserTime() + s.SystemTime()
	}
	if ctx.Err() != nil && used < maxCheckCPU/2 { // it was killed before it had its share
		return &release.Error{Reason: release.ReasonOverloaded, Retry: 1, Err: errors.Join(fmt.Errorf("policy compiler: stopped after %v of CPU", used), ctx.Err())}
	}
	return verdict(tidy([]Diagnostic{{Code: "policy_cost", Message: fmt.Sprintf(
		"the compiler did not survive this policy (%v, %v of CPU): split long rules and avoid nested comprehensions and doubled values",
		err, used.Round(10*time.Millisecond))}}))
}
