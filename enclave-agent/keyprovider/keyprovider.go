// Package keyprovider speaks the key provider protocol of ocicrypt: a container
// runtime, or skopeo, asks it over gRPC to wrap or to unwrap the key of an image's
// layer. It wraps with the public half of a Key Vault key and unwraps with the key
// itself, which it gets by attested release, once for each layer, and forgets.
//
// The annotation that it writes names the key. That name opens nothing by itself:
// only keys of the configuration are used, and only the brokers of agent.json asked.
package keyprovider

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	ocicrypt "github.com/containers/ocicrypt/utils/keyprovider"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"

	agent "github.com/openskr/openskr/enclave-agent"
)

// Provider is the name under which ocicrypt's configuration must list this service.
const Provider = "openskr"

const (
	// MaxOptions bounds the options of a layer, in bytes: its key, digest and nonce,
	// some 250 in practice.
	MaxOptions = 64 << 10
	// MaxRequest bounds a request, in bytes: options or annotation in base64, and what
	// else the caller's command line held.
	MaxRequest = 256 << 10
	// maxCalls are answered at once, of all callers; the hardware proves one at a time.
	maxCalls = 16
	// maxKeys of a configuration.
	maxKeys = 64
)

// Releaser gets a key by attested release; [*agent.Agent] is one.
type Releaser interface {
	Key(ctx context.Context, keyURL string) (*agent.Released, error)
}

// Config of a Service. Keys is required.
type Config struct {
	// Agent gets keys. nil, on a machine that builds images: only wraps, to public halves.
	Agent Releaser
	// Keys are the only ones that are ever used, 1 to 64.
	Keys []Key
	// Timeout bounds a call, waiting included; 0: agent.DefaultTimeout.
	Timeout time.Duration
	// Notice is told, in a sentence, why a call failed. nil: nobody.
	Notice func(string)
}

// Service answers WrapKey and UnWrapKey.
type Service struct {
	ocicrypt.UnimplementedKeyProviderServiceServer
	cfg   Config
	keys  []key
	calls chan struct{} // held by each call under way
	grpc  *grpc.Server
}

// New checks the configuration. Errors wrap [agent.ErrConfig].
func New(c Config) (*Service, error) {
	if c.Timeout == 0 {
		c.Timeout = agent.DefaultTimeout
	}
	if c.Notice == nil {
		c.Notice = func(string) {}
	}
	if len(c.Keys) == 0 || len(c.Keys) > maxKeys {
		return nil, fmt.Errorf("%w: key provider: %d keys, want 1 to %d", agent.ErrConfig, len(c.Keys), maxKeys)
	}
	s := &Service{cfg: c, calls: make(chan struct{}, maxCalls)}
	for _, k := range c.Keys {
		checked, err := newKey(k)
		if err != nil {
			return nil, fmt.Errorf("%w: key provider: key %.256q: %w", agent.ErrConfig, k.URL, err)
		}
		if c.Agent == nil && checked.public == nil {
			return nil, fmt.Errorf("%w: key provider: key %s: a machine that cannot prove itself needs its public half", agent.ErrConfig, k.URL)
		}
		s.keys = append(s.keys, checked)
	}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(MaxRequest+16), grpc.MaxSendMsgSize(MaxRequest), // 16: tag and length
		grpc.MaxConcurrentStreams(maxCalls), grpc.MaxHeaderListSize(8<<10),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: time.Minute}),
		grpc.UnaryInterceptor(s.bound),
		// No buffer but those that are erased.
		grpc.ForceServerCodecV2(newCodec()), experimental.BufferPool(erased{}), grpc.ReadBufferSize(0), grpc.WriteBufferSize(0),
	)
	ocicrypt.RegisterKeyProviderServiceServer(s.grpc, s)
	return s, nil
}

// Serve answers on l until [Service.Stop], and then gives nil. Who may connect is
// the listener's business. Several listeners may be served at once.
func (s *Service) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Stop closes listeners and connections and ends the calls under way.
func (s *Service) Stop() { s.grpc.Stop() }

// bound gives a call its turn and its deadline, and its caller a short error.
func (s *Service) bound(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	select {
	case s.calls <- struct{}{}:
		defer func() { <-s.calls }()
	case <-ctx.Done():
		return nil, s.status(refuse(codes.ResourceExhausted, "%d other calls are under way: try again", maxCalls))
	}
	out, err := handle(ctx, req)
	if err != nil {
		return nil, s.status(err)
	}
	return out, nil
}

// WrapKey implements the protocol over gRPC: options of a layer in, annotation out.
func (s *Service) WrapKey(ctx context.Context, in *ocicrypt.KeyProviderKeyWrapProtocolInput) (*ocicrypt.KeyProviderKeyWrapProtocolOutput, error) {
	return answer(in, func(doc *input) ([]byte, error) { return s.wrap(ctx, doc) })
}

// UnWrapKey implements the protocol over gRPC: annotation in, options of the layer out.
func (s *Service) UnWrapKey(ctx context.Context, in *ocicrypt.KeyProviderKeyWrapProtocolInput) (*ocicrypt.KeyProviderKeyWrapProtocolOutput, error) {
	return answer(in, func(doc *input) ([]byte, error) { return s.unwrap(ctx, doc) })
}

func answer(in *ocicrypt.KeyProviderKeyWrapProtocolInput, do func(*input) ([]byte, error)) (*ocicrypt.KeyProviderKeyWrapProtocolOutput, error) {
	var doc *input
	var err error
	agent.Erasing(func() { doc, err = parseInput(in.KeyProviderKeyWrapProtocolInput) })
	clear(in.KeyProviderKeyWrapProtocolInput) // it may hold private keys for other schemes
	if err != nil {
		return nil, err
	}
	out, err := do(doc)
	if err != nil {
		return nil, err
	}
	return &ocicrypt.KeyProviderKeyWrapProtocolOutput{KeyProviderKeyWrapProtocolOutput: out}, nil
}

// Answer is the protocol as ocicrypt speaks it to a command: one request on its standard
// input, of at most [MaxRequest] bytes, and the answer on its standard output.
func (s *Service) Answer(ctx context.Context, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	in, err := parseInput(request)
	if err != nil {
		return nil, err
	}
	if in.Op == opUnwrap {
		return s.unwrap(ctx, in)
	}
	return s.wrap(ctx, in)
}

func (s *Service) wrap(ctx context.Context, in *input) ([]byte, error) {
	url, err := in.wraps()
	if err != nil {
		return nil, err
	}
	defer clear(in.Wrap.Options)
	to, err := s.recipient(ctx, url)
	if err != nil {
		return nil, err
	}
	var a *annotation
	agent.Erasing(func() { a, err = to.seal(in.Wrap.Options) })
	if err := errors.Join(err, to.Close()); err != nil {
		return nil, err
	}
	return a.output()
}

func (s *Service) unwrap(ctx context.Context, in *input) ([]byte, error) {
	a, err := in.unwraps()
	if err != nil {
		return nil, err
	}
	if !s.allows(a.KID) {
		return nil, refuse(codes.PermissionDenied, "the image names key %.256q, which the configuration does not: add it there if images under it may run here", a.KID)
	}
	k, err := s.release(ctx, a.KID)
	if err != nil {
		return nil, err
	}
	var answer []byte
	agent.Erasing(func() {
		var options []byte
		options, err = k.open(a)
		answer = unwrapped(options)
		clear(options)
	})
	if err := errors.Join(err, k.Close()); err != nil {
		return nil, err
	}
	return answer, nil
}
