package local

import (
	"fmt"
	"net"
)

// guarded hands on only the connections of callers that may use the key provider: its
// protocol has no place for a refusal, so that others are hung up on.
type guarded struct {
	net.Listener
	server *Server
}

func (l *guarded) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err = l.judge(c); err == nil {
			return c, nil
		}
		l.server.opts.Log.Warn("refused", "endpoint", "keyprovider", "reason", err)
		_ = c.Close() // it is not theirs
	}
}

func (l *guarded) judge(c net.Conn) error {
	if b, ok := c.(*boundedConn); ok {
		c = b.Conn
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("%s is no socket in the file system", c.LocalAddr())
	}
	p, err := peerOf(u)
	if err != nil {
		return err
	}
	if _, ok := l.server.callers.peer(p).allow(func(c *caller) bool { return c.KeyProvider }); !ok {
		return fmt.Errorf("%w that may use the key provider: %v", errStranger, p)
	}
	return nil
}
