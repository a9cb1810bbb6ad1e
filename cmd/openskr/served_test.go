package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/pprof"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/openskr/openskr/internal/api"
	"github.com/openskr/openskr/internal/audit"
)

// served is the child of a rig: the broker as serve runs it, which may kill
// itself at a named step of a release or of a commit.
func served(env string) int {
	var s servedBroker
	if err := json.Unmarshal([]byte(env), &s); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := loadConfig(s.Dir, "")
	if err != nil {
		return 2
	}
	cfg.RequestsPerSecond, cfg.Throttle = 1<<20, 1e6 // one client stands for many
	var seen atomic.Int64
	fault := func(step string) {
		if step == s.Step && seen.Add(1) > int64(s.After) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	if path := os.Getenv("OPENSKR_TEST_PROFILE"); path != "" { // docs/performance.md
		f, err := os.Create(path)
		if err != nil {
			return 1
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return 1
		}
		defer pprof.StopCPUProfile()
	}
	if s.Empty {
		err = empty(ctx, s.Dir, cfg)
	} else {
		err = a.serve(ctx, serveOptions{dir: s.Dir, cfg: cfg, now: s.now, acceptClock: s.Ahead > 0, fault: fault, tune: s.tune})
	}
	if err != nil {
		a.complain(err)
	}
	return exitCode(err)
}

// now is the child's clock.
func (s servedBroker) now() time.Time { return time.Now().Add(s.Ahead) }

// tune makes the log commit as the benchmark says.
func (s servedBroker) tune(c *audit.Config) {
	c.Single = s.Single
	if s.Delay > 0 {
		c.CommitDelay = func() { time.Sleep(s.Delay) }
	}
}

// empty is what the broker's door is measured against: the same server with the same
// certificate, in a process of its own, and a handler that does nothing.
func empty(ctx context.Context, dir string, cfg *Config) error {
	tuneMemory()
	logger := slog.New(slog.DiscardHandler)
	b, err := openBroker(ctx, brokerOptions{Dir: dir, Config: cfg, Logger: logger, Level: &slog.LevelVar{}, Now: time.Now})
	if err != nil {
		return err
	}
	leaf, err := b.leaf(nil)
	if err := errors.Join(err, b.close()); err != nil {
		return err
	}
	body := bytes.Repeat([]byte("x"), 600)
	server := api.Server(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }), &tls.Config{Certificates: []tls.Certificate{*leaf}}, logger)
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return err
	}
	go func() { <-ctx.Done(); _ = server.Close() }()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
