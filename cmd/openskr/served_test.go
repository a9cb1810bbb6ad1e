package main

import (
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"runtime/pprof"
	"sync/atomic"
	"syscall"
	"time"

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
	tune := func(c *audit.Config) {
		c.Single = s.Single
		if s.Delay > 0 {
			c.CommitDelay = func() { time.Sleep(s.Delay) }
		}
	}
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
	err = a.serve(ctx, serveOptions{dir: s.Dir, cfg: cfg, fault: fault, tune: tune})
	if err != nil {
		a.complain(err)
	}
	return exitCode(err)
}
