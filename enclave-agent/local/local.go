// Package local is an API for the programs of this machine: keys, attestation and managed
// identities through the agent, for those that workload.json names and nobody else.
//
// The endpoints are those of Microsoft's SKR sidecar, with its shapes, so that its
// clients need no change but the address; what they ask for comes from the native
// release. A caller chooses among what its entry lists. Nothing that it sends is ever
// connected to: brokers are agent.json's, and names in a request are compared, not used.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/release/receipt"
)

// Agent is what the API asks: an [agent.Agent].
type Agent interface {
	Key(ctx context.Context, keyURL string) (*agent.Released, error)
	Token(ctx context.Context, vaultURL string) (*agent.Released, error)
	HardwareReport(ctx context.Context, runtimeData []byte) (*agent.HardwareReport, error)
	AttestationToken(ctx context.Context, broker string, runtimeData []byte) (string, error)
}

// Options of a Server. Every field but Timeout is required.
type Options struct {
	Agent   Agent
	Trust   *receipt.Trust // agent.json
	Log     *slog.Logger
	Timeout time.Duration // that the agent takes at most; 0: agent.DefaultTimeout
}

// Server answers. Listen, then Serve.
type Server struct {
	config  *Config
	opts    Options
	callers callers
	brokers map[string]string // URL by host, as requests name them

	socket, tcp, provider net.Listener
	identities            []*identity
}

// New looks up the callers, and gives all that is wrong with them at once. Errors wrap
// [agent.ErrConfig].
func New(c *Config, o Options) (*Server, error) {
	if o.Agent == nil || o.Trust == nil || o.Log == nil {
		return nil, fmt.Errorf("%w: local API: a part is missing", agent.ErrConfig)
	}
	if o.Timeout == 0 {
		o.Timeout = agent.DefaultTimeout
	}
	s := &Server{config: c, opts: o, brokers: map[string]string{}}
	for _, b := range o.Trust.URLs {
		u, err := url.Parse(b)
		if err != nil {
			return nil, fmt.Errorf("%w: broker %q: %w", agent.ErrConfig, b, err)
		}
		s.brokers[lower(u.Host)] = "https://" + u.Host
	}
	var err error
	if s.callers, err = newCallers(c, self()); err != nil {
		return nil, errors.Join(err, c.checkHosts(o.Trust))
	}
	return s, c.checkHosts(o.Trust)
}

// Listen takes the addresses and writes the files of managed identities, so that who
// waits for [Server.Serve] finds all of it. On an error nothing is left open.
func (s *Server) Listen() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	c := s.config
	if c.Socket != nil && c.Socket.Path != "" {
		s.socket, err = ListenUnix(c.Socket.Path, c.Socket.Group)
	} else if c.Socket != nil {
		s.socket, err = activated()
	}
	if err == nil && c.TCP != nil {
		s.tcp, err = listenTCP(c.TCP.Address)
	}
	if err == nil && c.KeyProvider != nil {
		s.provider, err = s.listenProvider()
	}
	for _, one := range s.callers {
		if err == nil && one.Identity != nil {
			err = s.listenIdentity(one)
		}
	}
	return err
}

// listenProvider listens for the key provider. On a socket, whoever is no caller that may
// use it is hung up on; on TCP every program of this machine may.
func (s *Server) listenProvider() (net.Listener, error) {
	k := s.config.KeyProvider
	p := k.SocketPath()
	if p == "" {
		return listenTCP(k.Address)
	}
	l, err := ListenUnix(p, k.Group)
	if err != nil {
		return nil, err
	}
	return &guarded{l, s}, nil
}

// Provider is the listener of the key provider, nil without one. Its owner closes it.
func (s *Server) Provider() net.Listener { return s.provider }

// Close gives up what Listen took.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.socket, s.tcp, s.provider} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	for _, i := range s.identities {
		errs = append(errs, i.Close())
	}
	return errors.Join(errs...)
}

// Serve answers until ctx ends, and closes all of it but the key provider's listener.
// Requests under way have a moment more.
func (s *Server) Serve(ctx context.Context) error {
	var servers []*http.Server
	ended := make(chan error, 2+len(s.identities))
	serve := func(l net.Listener, h http.Handler) {
		srv := s.server(h)
		servers = append(servers, srv)
		go func() { ended <- srv.Serve(l) }()
	}
	if s.socket != nil {
		serve(s.socket, s.handler(s.byPeer))
	}
	if s.tcp != nil {
		serve(s.tcp, s.handler(s.byToken))
	}
	for _, i := range s.identities {
		serve(i.listener, i.handler)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended: // one that cannot accept any more ends the others
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(last) != nil { // a request that does not end is ended
			err = errors.Join(err, srv.Close())
		}
	}
	for _, i := range s.identities {
		err = errors.Join(err, i.forget())
	}
	return err
}

const (
	stopLimit   = 5 * time.Second
	headerLimit = 5 * time.Second
	bodyLimit   = 10 * time.Second
	idleLimit   = time.Minute
	maxHeader   = 16 << 10 // bytes
)

func (s *Server) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerLimit, ReadTimeout: bodyLimit, WriteTimeout: bodyLimit + s.opts.Timeout + bodyLimit,
		IdleTimeout: idleLimit, MaxHeaderBytes: maxHeader, ConnContext: s.connected,
		ErrorLog: slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug), // strangers' nonsense
	}
}

// Notify tells systemd that the program is ready (sd_notify(3)); without a supervisor it
// does nothing.
func Notify() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.Dial("unixgram", path) // "@…" is an abstract name to net, too
	if err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	_, err = c.Write([]byte("READY=1"))
	return errors.Join(err, c.Close())
}
