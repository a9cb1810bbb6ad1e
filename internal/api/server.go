package api

import (
	"crypto/tls"
	stdlog "log"
	"log/slog"
	"net/http"
	"time"
)

// maxHeader bounds the headers of a request: a token and the rest.
const maxHeader = 32 << 10

// Server makes the server of h with every timeout explicit: 5 s for headers, 10 s
// for a whole request, 30 s for its answer. TLS 1.3 unless config asks for less;
// HTTP/2 is on. Complaints of the HTTP library go to log, once a minute.
func Server(h http.Handler, config *tls.Config, log *slog.Logger) *http.Server {
	config = config.Clone()
	if config.MinVersion == 0 {
		config.MinVersion = tls.VersionTLS13
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler: h, TLSConfig: config, Protocols: protocols,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 40 * time.Second, IdleTimeout: 120 * time.Second,
		MaxHeaderBytes: maxHeader,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: 128, MaxReadFrameSize: 64 << 10, SendPingTimeout: 30 * time.Second},
		ErrorLog:       stdlog.New(&complaints{log: log.With("part", "http")}, "", 0),
	}
}
