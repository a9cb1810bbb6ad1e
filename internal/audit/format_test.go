package audit

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// formatGrant keeps a grant to make a disk with k, open for an hour unless edited.
func (b *bench) formatGrant(k *release.Key, edit ...func(*release.FormatGrant)) *release.FormatGrant {
	b.t.Helper()
	g := &release.FormatGrant{
		Vault: "v", Key: k.Ref.Name, ObjectID: k.ObjectID, Version: k.Ref.Version, State: release.FormatOpen,
		Until: time.UnixMilli(b.now.Load()).Add(time.Hour).Unix(),
	}
	for _, e := range edit {
		e(g)
	}
	name := release.FormatGrantName(k.Ref.Vault, k.ObjectID, k.Ref.Version)
	_, err := b.log.ChangeObject(context.Background(), &release.Record{Operation: "keys/grantformat", ObjectID: k.ObjectID}, release.ObjectFormatGrant, name,
		func(*release.Object) ([]byte, error) { return json.Marshal(g) })
	if err != nil {
		b.t.Fatal(err)
	}
	return b.grantOf(k)
}

// grantOf reads the grant about k.
func (b *bench) grantOf(k *release.Key) *release.FormatGrant {
	b.t.Helper()
	o, err := b.log.Objects().Object(context.Background(), release.ObjectFormatGrant, release.FormatGrantName(k.Ref.Vault, k.ObjectID, k.Ref.Version))
	if err != nil {
		b.t.Fatal(err)
	}
	g, err := release.ReadFormatGrant(o)
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// format is the entry of a release to make a disk that nothing but a grant is needed for.
func (b *bench) format(k *release.Key, m *release.Machine) release.Entry {
	e := b.allow(k, m)
	e.Record.Detail, e.Guard.Format = map[string]string{release.DetailPurpose: "format"}, true
	return e
}

// BU-10: a release to make a disk needs an open grant, and spends it in its own append.
func TestBU10FormatSpendsAGrant(t *testing.T) {
	b := newBench(t)
	m := b.machine("m", release.MachineApproved)
	k := b.key("disk", "1", 1)
	if r := b.append(b.format(k, m)).Record; r.Reason != string(release.ReasonFormatNotGranted) || r.Detail[release.DetailGrant] != "" {
		t.Fatalf("without a grant: %+v", r)
	}
	g := b.formatGrant(k)
	if r := b.append(b.allow(k, m)).Record; r.Decision != receipt.Allow || b.grantOf(k).State != release.FormatOpen {
		t.Fatalf("a release to open a disk: %+v", r)
	}
	first := b.format(k, m)
	done := b.append(first)
	r := done.Record
	if r.Decision != receipt.Allow || r.Detail[release.DetailPurpose] != "format" || r.Detail[release.DetailGrant] != strconv.FormatInt(g.Index, 10) {
		t.Fatalf("with a grant: %+v", r)
	}
	if g := b.grantOf(k); g.State != release.FormatSpent || g.SpentBy != done.Receipt.Index || g.Index != done.Receipt.Index {
		t.Errorf("after it: %+v, entry %d", g, done.Receipt.Index)
	}
	if first.Record.Detail[release.DetailGrant] != "" {
		t.Error("the record that was proposed was changed")
	}
	if r := b.append(first).Record; r.Reason != string(release.ReasonNonceReplayed) {
		t.Errorf("the same request again: %+v", r)
	}
	if r := b.append(b.format(k, m)).Record; r.Reason != string(release.ReasonFormatNotGranted) {
		t.Errorf("a second one: %+v", r)
	}
}

// TestFormatGrantIsBound: a grant is for one version of one key, for one machine if it says
// so, and for a while; what it does not permit does not spend it.
func TestFormatGrantIsBound(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*release.FormatGrant)
		ask  func(b *bench, e *release.Entry)
	}{
		"another machine's": {func(g *release.FormatGrant) { g.Machine = "other" }, nil},
		"revoked":           {func(g *release.FormatGrant) { g.State = release.FormatRevoked }, nil},
		"spent":             {func(g *release.FormatGrant) { g.State = release.FormatSpent }, nil},
		"no state":          {func(g *release.FormatGrant) { g.State = "" }, nil},
		"another object's":  {func(g *release.FormatGrant) { g.ObjectID = "id-other" }, nil},
		"says another version": {
			func(g *release.FormatGrant) { g.Version = "2" },
			func(b *bench, _ *release.Entry) { b.now.Add(1000) },
		},
		"ended": {nil, func(b *bench, _ *release.Entry) { b.now.Add(time.Hour.Milliseconds()) }},
		"of another version": {nil, func(b *bench, e *release.Entry) {
			k := b.key("disk", "2", 2)
			e.Guard.Key, e.Record.Version = k, k.Ref.Version
		}},
		"of another key": {nil, func(b *bench, e *release.Entry) {
			k := b.key("other", "1", 1)
			e.Guard.Key, e.Record.Object, e.Record.ObjectID = k, k.Ref.Name, k.ObjectID
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			m := b.machine("m", release.MachineApproved)
			k := b.key("disk", "1", 1)
			var edits []func(*release.FormatGrant)
			if c.edit != nil {
				edits = append(edits, c.edit)
			}
			before := b.formatGrant(k, edits...)
			e := b.format(k, m)
			if c.ask != nil {
				c.ask(b, &e)
			}
			e.Guard.NonceExpires = time.UnixMilli(b.now.Load()).Add(time.Minute)
			if r := b.append(e).Record; r.Reason != string(release.ReasonFormatNotGranted) {
				t.Errorf("%s %s", r.Decision, r.Reason)
			}
			if after := b.grantOf(k); *after != *before {
				t.Errorf("the grant was %+v and is %+v", before, after)
			}
		})
	}
	b := newBench(t)
	m, k := b.machine("m", release.MachineApproved), b.key("disk", "1", 1)
	b.formatGrant(k, func(g *release.FormatGrant) { g.Machine = "m" })
	b.now.Add(time.Hour.Milliseconds() - 1)
	e := b.format(k, m)
	if r := b.append(e).Record; r.Decision != receipt.Allow {
		t.Errorf("its own machine in its last second: %s", r.Reason)
	}
}

// TestFormatGrantsOfTwoVersions: each version has a grant of its own.
func TestFormatGrantsOfTwoVersions(t *testing.T) {
	b := newBench(t)
	m := b.machine("m", release.MachineApproved)
	first, second := b.key("disk", "1", 1), b.key("disk", "2", 2)
	b.formatGrant(first)
	b.formatGrant(second)
	for _, k := range []*release.Key{first, second} {
		if r := b.append(b.format(k, m)).Record; r.Decision != receipt.Allow {
			t.Errorf("version %s: %s", k.Ref.Version, r.Reason)
		}
	}
}

// TestRefusedSpendsNoGrant: what the append refuses for another reason gives nothing away.
func TestRefusedSpendsNoGrant(t *testing.T) {
	b := newBench(t)
	m, k := b.machine("m", release.MachineApproved), b.key("disk", "1", 1)
	b.formatGrant(k)
	for name, spoil := range map[string]func(*release.Entry){
		"key changed":     func(e *release.Entry) { e.Guard.Key.Generation++ },
		"machine changed": func(e *release.Entry) { e.Guard.Machine.Epoch++ },
		"denied":          func(e *release.Entry) { e.Record.Decision, e.Record.Reason = receipt.Deny, "policy_denied" },
	} {
		key, machine := *k, *m
		e := b.format(&key, &machine)
		spoil(&e)
		if r := b.append(e).Record; r.Decision != receipt.Deny {
			t.Errorf("%s: %+v", name, r)
		}
	}
	b.append(b.format(k, m)) // raises the reset count to 7
	b.formatGrant(k)
	rolled := b.format(k, m)
	rolled.Guard.ResetCount = 6
	if r := b.append(rolled).Record; r.Reason != string(release.ReasonTPMRollback) {
		t.Errorf("%+v", r)
	}
	if g := b.grantOf(k); g.State != release.FormatOpen {
		t.Errorf("%+v", g)
	}
	ungranted := b.key("other", "1", 1)
	e := b.format(ungranted, m)
	e.Guard.ResetCount = 100
	b.append(e)
	if r := b.append(b.format(k, m)).Record; r.Decision != receipt.Allow {
		t.Errorf("a refusal for want of a grant raised the reset count: %s", r.Reason)
	}
}

// TestFormatsInParallel: however many want to make a disk at once, in one transaction or
// in several, one grant gives one key.
func TestFormatsInParallel(t *testing.T) {
	b := newBench(t)
	m, k := b.machine("m", release.MachineApproved), b.key("disk", "1", 1)
	const rounds, clients = 5, 16
	for round := range rounds {
		b.formatGrant(k)
		var wg sync.WaitGroup
		var mu sync.Mutex
		allowed := 0
		for range clients {
			e := b.format(k, m)
			wg.Go(func() {
				c, err := b.log.Append(context.Background(), e)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case c.Record.Decision == receipt.Allow:
					allowed++
				case c.Record.Reason != string(release.ReasonFormatNotGranted):
					t.Error(c.Record.Reason)
				}
			})
		}
		if wg.Wait(); allowed != 1 {
			t.Errorf("round %d: %d of %d were allowed", round, allowed, clients)
		}
	}
}

// TestFormatNeedsAGuard: the log writes no allow to make a disk that spends nothing, and
// none that spends a grant without saying so.
func TestFormatNeedsAGuard(t *testing.T) {
	b := newBench(t)
	m, k := b.machine("m", release.MachineApproved), b.key("disk", "1", 1)
	b.formatGrant(k)
	for name, spoil := range map[string]func(*release.Entry){
		"no grant is spent": func(e *release.Entry) { e.Guard.Format = false },
		"it is not said":    func(e *release.Entry) { e.Record.Detail = nil },
		"no machine":        func(e *release.Entry) { e.Guard.Machine = nil },
		"a token's use":     func(e *release.Entry) { e.Guard.Repeat = [32]byte{1} },
	} {
		e := b.format(k, m)
		spoil(&e)
		if _, err := b.log.Append(t.Context(), e); err == nil || release.ReasonOf(err) != release.ReasonInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEditedGrant: a row that was edited in the database is believed by nobody.
func TestEditedGrant(t *testing.T) {
	b := newBench(t)
	m, k := b.machine("m", release.MachineApproved), b.key("disk", "1", 1)
	b.formatGrant(k)
	b.append(b.format(k, m))
	b.close()
	b.edit(`UPDATE objects SET value = replace(value, 'spent', 'open') WHERE kind = 'format-grant'`)
	b.open()
	if r := b.append(b.format(k, m)).Record; r.Reason != string(release.ReasonIntegrity) {
		t.Errorf("%s %s", r.Decision, r.Reason)
	}
}

// TestFormatKilled kills a process with -9 at each step of making a disk: grant and ALLOW
// are both there or neither, and whoever comes after gets no more than what is left.
func TestFormatKilled(t *testing.T) {
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			b := newBench(t)
			m, k := b.machine("m", release.MachineApproved), b.key("disk", "1", 1)
			b.formatGrant(k)
			size := b.log.Size()
			b.close()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFormatChild$")
			cmd.Env = append(os.Environ(), envStore+"="+b.path, envFault+"="+step)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
				t.Fatalf("child ended by itself: %v\n%s", err, out)
			}
			b.open()
			committed := b.log.Size() > size
			if spent := b.grantOf(k).State == release.FormatSpent; spent != committed || committed != (step == "committed") {
				t.Errorf("spent: %v; %d entries, then %d", spent, size, b.log.Size())
			}
			allowed := 0
			for range 2 {
				if b.append(b.format(k, m)).Record.Decision == receipt.Allow {
					allowed++
				}
			}
			if allowed == 1 == committed {
				t.Errorf("the release was committed: %v; %d afterwards", committed, allowed)
			}
		})
	}
}

// TestFormatChild is the process that TestFormatKilled kills.
func TestFormatChild(t *testing.T) {
	path := os.Getenv(envStore)
	if path == "" {
		t.Skip("run by TestFormatKilled")
	}
	b := &bench{t: t, path: path}
	b.now.Store(1_790_000_000_000)
	b.nth.Store(int64(os.Getpid()) << 20)
	b.open(func(c *Config) {
		c.Fault = func(s string) {
			if s == os.Getenv(envFault) {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
	})
	row, err := b.st.Row(t.Context(), "v", keyvault.Keys, "disk", "1")
	if err != nil {
		t.Fatal(err)
	}
	m, err := release.EnrolledMachines{Objects: b.log.Objects()}.Machine(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	b.append(b.format(keyOf(row), m))
}
