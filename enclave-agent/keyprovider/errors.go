package keyprovider

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agent "github.com/openskr/openskr/enclave-agent"
)

// refusal is an error whose text a caller may read.
type refusal struct {
	code codes.Code
	err  error
}

func (r *refusal) Error() string { return r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

func refuse(code codes.Code, format string, args ...any) error {
	return &refusal{code, fmt.Errorf(format, args...)}
}

// status is what a caller is told of err: cause and next step. The whole of it goes
// to the service's log.
func (s *Service) status(err error) error {
	s.cfg.Notice(err.Error())
	code, text := explain(err)
	return status.Error(code, text)
}

func explain(err error) (codes.Code, string) {
	var own *refusal
	var refused *agent.Refused
	var invalid *agent.Invalid
	switch {
	case errors.As(err, &own):
		return own.code, own.Error()
	case errors.Is(err, agent.ErrPending):
		return codes.FailedPrecondition, "this machine waits for approval: the operator runs openskr machine approve"
	case errors.As(err, &refused):
		return codes.PermissionDenied, refused.Error() + ": the operator finds why with openskr log"
	case errors.As(err, &invalid):
		return codes.DataLoss, "the broker's answer does not check out (" + invalid.Check + ") and was not used: see the log of this service"
	case errors.Is(err, agent.ErrUnreachable):
		return codes.Unavailable, "no broker reached in time: see the log of this service"
	case errors.Is(err, agent.ErrNoHardware):
		return codes.FailedPrecondition, "no hardware to prove this machine with: see openskr-agent platform"
	case errors.Is(err, agent.ErrConfig):
		return codes.FailedPrecondition, "the configuration of this service is unusable: see its log"
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded, "the key was not released in time: see the log of this service"
	}
	return codes.Internal, "failed: see the log of this service"
}
