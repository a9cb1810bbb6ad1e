package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-eventlog/testdata"

	"github.com/openskr/openskr/internal/bench"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// TestReport is `make bench`: it measures a release over HTTPS with a durable
// record against M, the cryptography it cannot do without, in one run on one
// machine, and prints ratios. docs/performance.md has a run and what it means. It
// asserts nothing about time.
func TestReport(b *testing.T) {
	if os.Getenv("OPENSKR_BENCH") == "" {
		b.Skip("a measurement, not a test: make bench")
	}
	switch os.Getenv("OPENSKR_BENCH") {
	case "keyvault": // that door alone
		reportKeyVault(b)
		return
	case "paths":
		reportPaths(b)
		return
	case "growth":
		reportGrowth(b)
		return
	case "agent":
		reportAgent(b)
		return
	case "group":
		reportGroup(b, newRig(b, nil))
		return
	}
	m := reportM(b)
	r := newRig(b, nil)
	r.start(servedBroker{})
	fmt.Printf("\nP7 resident memory idle: %.0f MB (goal 60)\n", r.resident())
	fmt.Printf("\nTPM release over HTTPS, durable, full log facts (%d byte event log)\n", len(testdata.Rhel8EventLog))
	fmt.Printf("%8s %10s %9s %9s %12s %8s\n", "clients", "rel/s", "p50 ms", "p99 ms", "CPU us/rel", "x M")
	var loaded measured
	for _, clients := range []int{1, 16, 64} {
		loaded = r.measure(clients, 1200+clients*40)
		fmt.Printf("%8d %10.0f %9.2f %9.2f %12.0f %8.2f\n", clients, loaded.rate, loaded.p50, loaded.p99, loaded.cpu, loaded.cpu/m)
	}
	fmt.Printf("P1 CPU at 64 clients: %.2f x M (goal 5)\n", loaded.cpu/m)
	fmt.Printf("P4 p99 at 64 clients: %.2f x 64 x CPU / cores (goal 3.5)\n", loaded.p99*1000/(64*loaded.cpu/float64(cores())))
	fmt.Printf("P7 resident memory after the load: %.0f MB\n", r.resident())
	r.end()
	if os.Getenv("OPENSKR_TEST_PROFILE") != "" { // of the load above alone
		return
	}
	reportPaths(b)
	reportKeyVault(b)
	reportGroup(b, r)
	reportGrowth(b)
	reportAgent(b)
}

// cores is how many processors this process may use.
func cores() int { return runtime.NumCPU() }

func reportM(b testing.TB) float64 {
	b.Helper()
	fmt.Printf("\nM of the TPM path, standard library, us\n")
	sum := 0.0
	for _, m := range bench.TPM(len(testdata.Rhel8EventLog)) {
		us := m.Measure()
		sum += us * float64(m.Times)
		fmt.Printf("  %-55s %d x %8.1f\n", m.Name, m.Times, us)
	}
	fmt.Printf("  %-55s %12.1f\n", "M", sum)
	return sum
}

// measured is one load: releases a second, latencies in ms, server CPU in us.
type measured struct{ rate, p50, p99, cpu float64 }

// measure prepares total attempts, then sends them from clients at once.
func (r *rig) measure(clients, total int) measured {
	r.tb.Helper()
	ctx := r.tb.Context()
	attempts := make([]*attempt, total)
	r.parallel(16, total, func(i int) error {
		var err error
		attempts[i], err = r.prepare(ctx)
		return err
	})
	before, start := r.cpu(), time.Now()
	r.parallel(clients, total, func(i int) error { return r.send(ctx, attempts[i]) })
	took, used := time.Since(start), r.cpu()-before
	var ms []float64
	for _, a := range attempts {
		if a.status != http.StatusOK {
			r.tb.Fatalf("release refused under load: %d %s", a.status, a.answer)
		}
		ms = append(ms, float64(a.took.Microseconds())/1000)
	}
	if _, key, err := attempts[total-1].open(&r.trust); err != nil || len(key) == 0 {
		r.tb.Fatalf("the last answer does not open: %v", err)
	}
	slices.Sort(ms)
	return measured{float64(total) / took.Seconds(), ms[total/2], ms[total*99/100], float64(used.Microseconds()) / float64(total)}
}

func (r *rig) parallel(n, total int, do func(i int) error) {
	r.tb.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for range n {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= total || failed.Load() != nil {
					return
				}
				if err := do(i); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		r.tb.Fatal(*err)
	}
}

// cpu is the processor time of the child so far (proc(5), 10 ms ticks).
func (r *rig) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.child.Process.Pid))
	if err != nil {
		r.tb.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// resident is the child's resident memory in MB.
func (r *rig) resident() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.child.Process.Pid))
	if err != nil {
		r.tb.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kb, _ := strconv.Atoi(f[1])
			return float64(kb) / 1024
		}
	}
	return 0
}

func (r *rig) end() {
	if err := r.stop(syscall.SIGTERM); err != nil {
		r.tb.Fatal(err)
	}
}

// reportGrowth compares with 100 000 keys, 100 000 records and 10 000 references.
func reportGrowth(b testing.TB) {
	const keys, refs = 100_000, 10_000
	small := newRig(b, nil)
	empty, idle := small.ready()
	alone := small.measure(64, 3000)
	small.end()
	r := newRig(b, func(ctx context.Context, br *broker) {
		attested := true
		br.keys.Check = func(context.Context, release.ReleasePolicy) error { return nil } // the same policy each time
		var wg sync.WaitGroup
		for w := range 64 {
			wg.Go(func() {
				for i := w; i < keys; i += 64 {
					if _, err := br.keys.Create(ctx, keyvault.DefaultVault, fmt.Sprintf("k%06d", i), keyvault.CreateKey{
						Kty: keyvault.KtyOct, Size: 256, Settings: keyvault.Settings{
							AttestedOnly: &attested,
							Policy:       &release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: []byte("package release\n\ndefault allow := false\n")},
						},
					}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
	ready, loaded := r.ready()
	r.end()
	values := map[string]any{}
	for i := range refs {
		values[fmt.Sprintf("%064x", i)] = map[string]any{"label": "filler"}
	}
	raw, err := json.Marshal(map[string]any{"fleet": map[string]any{"pcr4": values}})
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "references.json")
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		b.Fatal(err)
	}
	cfg.References = file
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		b.Fatal(err)
	}
	if err := cfg.write(r.dir, "test"); err != nil {
		b.Fatal(err)
	}
	withRefs, _ := r.ready()
	full := r.measure(64, 3000)
	fmt.Printf("\nP6 with %d keys, as many records and %d reference values: %.0f us CPU a release, %.2f x the empty system (goal 1.25)\n", keys, refs, full.cpu, full.cpu/alone.cpu)
	r.end()
	fmt.Printf("P7 %d keys add %.0f MB resident idle (goal 25)\n", keys, loaded-idle)
	fmt.Printf("P8 exec to ready: %d ms empty (goal 150), %d ms with %d keys and records, %.2f x (goal 1.5); %d ms with %d reference values in a file\n",
		empty.Milliseconds(), ready.Milliseconds(), keys, float64(ready)/float64(empty), withRefs.Milliseconds(), refs)
}

// ready starts the broker five times and leaves it running: the median time until it
// answers, and what memory it has then.
func (r *rig) ready() (time.Duration, float64) {
	var took []time.Duration
	for i := range 5 {
		if i > 0 {
			r.end()
		}
		started := time.Now()
		r.start(servedBroker{})
		took = append(took, time.Since(started))
	}
	slices.Sort(took)
	return took[len(took)/2], r.resident()
}
