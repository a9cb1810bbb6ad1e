package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
)

// reportGroup compares group commit with one commit a release. The goal of P3 was set
// on a release on a token in one process, without a network: that comes first. Over
// HTTPS the same processors also generate the load and bound the ratio.
func reportGroup(b *testing.T, r *rig) {
	fmt.Printf("\nP3 group commit against one commit a release, 64 at once, by added fsync latency\n")
	d := newDoorRig(b, apikeyvault.ES256)
	d.start(servedBroker{})
	bearer := d.adminToken(b)
	d.end()
	for _, g := range []struct {
		delay time.Duration
		goal  string
	}{{0, "1.3"}, {time.Millisecond, "4"}, {5 * time.Millisecond, "15"}} {
		single, one := d.inProcess(bearer, servedBroker{Single: true, Delay: g.delay}, 800)
		group, alone := d.inProcess(bearer, servedBroker{Delay: g.delay}, 4000)
		fmt.Printf("  token, in process   +%-4v %6.0f against %6.0f rel/s: %5.2f x (goal %s); one client %.2f x (goal 0.9)\n",
			g.delay, group, single, group/single, g.goal, alone/one)
	}
	for _, delay := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond} {
		r.start(servedBroker{Single: true, Delay: delay})
		single := r.measure(64, 800)
		r.end()
		r.start(servedBroker{Delay: delay})
		group := r.measure(64, 2000)
		r.end()
		fmt.Printf("  TPM, over HTTPS     +%-4v %6.0f against %6.0f rel/s: %5.2f x\n", delay, group.rate, single.rate, group.rate/single.rate)
	}
}

// inProcess gives the releases a second of a broker in this process: n by 64 at once,
// and then by one. Everything happens that happens behind the connection of a client.
func (d *doorRig) inProcess(bearer string, how servedBroker, n int) (rate, alone float64) {
	d.tb.Helper()
	cfg, err := loadConfig(d.dir, "")
	if err != nil {
		d.tb.Fatal(err)
	}
	cfg.RequestsPerSecond, cfg.Throttle = 1<<20, 1e6
	broker, err := openBroker(d.tb.Context(), brokerOptions{
		Dir: d.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: time.Now,
		Tune: how.tune,
	})
	if err != nil {
		d.tb.Fatal(err)
	}
	defer func() {
		if err := broker.close(); err != nil {
			d.tb.Error(err)
		}
	}()
	host := strings.TrimPrefix(d.url, "https://")
	send := func(calls []*doorCall) func(i int) error {
		return func(i int) error {
			req := httptest.NewRequestWithContext(d.tb.Context(), calls[i].method, calls[i].path, bytes.NewReader(calls[i].body))
			req.Host = host
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+bearer)
			w := httptest.NewRecorder()
			broker.handler.ServeHTTP(w, req)
			if w.Code != http.StatusOK {
				return fmt.Errorf("release: %d %s", w.Code, w.Body)
			}
			return nil
		}
	}
	timed := func(clients, n int) float64 {
		calls := d.releases(n)
		start := time.Now()
		d.parallel(clients, n, send(calls))
		return float64(n) / time.Since(start).Seconds()
	}
	timed(16, 100)
	return timed(64, n), timed(1, 200)
}

// quoteByTools is the shortest of twenty runs of tpm2_quote, its process with it, on a
// software TPM and a P-256 key: the unit that the goal of P9 was set in. 0 without
// tpm2-tools.
func quoteByTools(b testing.TB) (best time.Duration) {
	b.Helper()
	if _, err := exec.LookPath("tpm2_quote"); err != nil {
		return 0
	}
	dir := b.TempDir()
	host, port, _ := strings.Cut(freeAddress(b), ":")
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		b.Fatal(err)
	}
	tpm := exec.CommandContext(ctx, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--flags", "not-need-init,startup-clear",
		"--server", "type=tcp,bindaddr="+host+",port="+port, "--ctrl", fmt.Sprintf("type=tcp,bindaddr=%s,port=%d", host, number+1))
	if err := tpm.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { stop(); _ = tpm.Wait() }()
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir, cmd.Env = dir, append(cmd.Environ(), "TPM2TOOLS_TCTI=swtpm:host="+host+",port="+port)
		return cmd.Run()
	}
	deadline := time.Now().Add(10 * time.Second)
	for run("tpm2_createek", "-c", "ek.ctx", "-G", "ecc", "-u", filepath.Join(dir, "ek.pub")) != nil {
		if time.Now().After(deadline) {
			b.Fatal("the software TPM does not answer tpm2-tools")
		}
		time.Sleep(20 * time.Millisecond) // another process: nothing to wait on but its answer
	}
	for _, args := range [][]string{
		{"tpm2_flushcontext", "-t"},
		{"tpm2_createak", "-C", "ek.ctx", "-c", "ak.ctx", "-G", "ecc", "-g", "sha256", "-s", "ecdsa", "-u", "ak.pub"},
	} {
		if err := run(args...); err != nil {
			b.Fatalf("%v: %v", args, err)
		}
	}
	for range 20 {
		for _, what := range []string{"-t", "-s"} {
			if err := run("tpm2_flushcontext", what); err != nil {
				b.Fatal(err)
			}
		}
		start := time.Now()
		if err := run("tpm2_quote", "-c", "ak.ctx", "-l", "sha256:0,1,2,3,4,5,6,7", "-q", "c0ffee", "-m", "quote", "-s", "signature", "-g", "sha256"); err != nil {
			b.Fatalf("tpm2_quote: %v", err)
		}
		if took := time.Since(start); best == 0 || took < best {
			best = took
		}
	}
	return best
}
