package main

import (
	"context"
	"crypto/hpke"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/openskr/openskr/attest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// TestTEE releases to simulated machines of each kind through a broker in a process of
// its own, and refuses what must be refused.
func TestTEE(t *testing.T) {
	r := newTEERig(t)
	denied := r.denyList(t)
	kinds := slices.DeleteFunc(teeKinds(), func(k teeKind) bool { return k.kind == "azure" && r.tpm == nil })
	machines, claims, keys := map[string]agent.Hardware{}, map[string]attest.Claims{}, map[string]string{}
	for _, k := range kinds {
		machines[k.kind] = r.machine(t, k, simulate.Options{})
		claims[k.kind] = r.claims(t, machines[k.kind])
	}
	r.withBroker(func(ctx context.Context, b *broker) {
		for _, k := range kinds {
			keys[k.kind] = r.keyFor(ctx, t, b, k, claim(t, claims[k.kind], k.measured))
		}
	})
	r.start(servedBroker{})
	defer func() { _ = r.stop(syscall.SIGTERM) }()
	for _, k := range kinds {
		t.Run(k.kind, func(t *testing.T) {
			c := &teeRun{r, k, keys[k.kind], ""}
			c.released(t, machines[k.kind])
			c.strangers(t)
			c.proven(t)
			c.machineDenied(t, r.machine(t, k, simulate.Options{})) // Azure's vTPM knows one machine, the last
		})
	}
	if t.Failed() {
		return
	}
	t.Run("deny list", func(t *testing.T) { r.listed(t, kinds, claims, keys, denied) })
	t.Run("audit", func(t *testing.T) { r.audited(t) })
	if r.tpm == nil {
		t.Skip("without Azure: swtpm is not installed")
	}
}

// denyList names a list of hardware in the configuration, still empty.
func (r *teeRig) denyList(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "denied")
	write(t, path, []byte("# none yet\n"))
	r.configure(t, `platform_deny: ""`, "platform_deny: "+path)
	return path
}

// teeRun is the cases of one kind of machine.
type teeRun struct {
	*teeRig
	teeKind
	key     string
	machine string // id, from the first release
}

// released gets the key as openskr-agent does, which verifies receipt and record, and
// looks at what stands in the record.
func (c *teeRun) released(t *testing.T, h agent.Hardware) {
	t.Helper()
	got, err := c.get(t, h, c.key)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Material.Bytes()); n != 32 {
		t.Errorf("a key of %d bytes", n)
	}
	rec, err := got.Receipt.Verify(c.trust.Log.Origin, c.trust.Log.VKeys[0])
	if err != nil {
		t.Fatal(err)
	}
	c.machine = rec.Caller.ID
	if e := rec.Evidence; e.Type != string(c.typ) || e.Authority == "" || e.Anchors == (receipt.Digest{}) || e.Freshness != "nonce" {
		t.Errorf("evidence in the record: %+v", e)
	}
	if !rec.Simulation || rec.Decision != receipt.Allow || rec.Kind != receipt.KindRelease || !strings.HasPrefix(c.machine, string(c.typ)+"-") {
		t.Errorf("record: %+v", rec)
	}
	if err := got.Material.Close(); err != nil {
		t.Error(err)
	}
}

// strangers are refused before they proved who they are: no record of their own.
func (c *teeRun) strangers(t *testing.T) {
	t.Helper()
	collect := c.evidence(t, c.teeKind)
	good := c.attempt(t, c.key, collect)
	if err := c.send(t.Context(), good); err != nil || good.status != 200 {
		t.Fatalf("%v: %d %s", err, good.status, good.answer)
	}
	if _, key, err := good.open(&c.trust); err != nil || len(key) != 32 {
		t.Errorf("the answer does not open: %v", err)
	}
	replayed := c.decision(t, c.refusedAs(t, good, release.ReasonNonceReplayed))

	// Evidence over one recipient key, sent with another.
	stolen := c.attempt(t, c.key, collect)
	ev, err := collect(stolen.runtime)
	if err != nil {
		t.Fatal(err)
	}
	if stolen.private, err = hpke.MLKEM768P256().GenerateKey(); err == nil {
		err = errors.Join(stolen.write(c.trust.Deployment, c.key), stolen.with(ev))
	}
	if err != nil {
		t.Fatal(err)
	}
	rebound := c.decision(t, c.refusedAs(t, stolen, release.Reason(attest.CheckReportData)))

	// Evidence for one key, with the challenge of another.
	crossed := c.attempt(t, c.key, collect)
	unversioned := c.key[:strings.LastIndexByte(c.key, '/')]
	if err := crossed.write(c.trust.Deployment, unversioned); err != nil {
		t.Fatal(err)
	}
	if ev, err = collect(crossed.runtime); err == nil {
		err = crossed.with(ev)
	}
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := c.decision(t, c.refusedAs(t, crossed, release.ReasonNonceScope))
	for name, d := range map[string]decision{"replay": replayed, "rebound": rebound, "crossed": elsewhere} {
		if d.Stranger == nil || d.Record != nil {
			t.Errorf("%s: not counted as a stranger: %+v", name, d)
		}
	}
}

// proven machines are refused with a record that names them.
func (c *teeRun) proven(t *testing.T) {
	t.Helper()
	other := simulate.Options{Measurement: []byte(strings.Repeat("\x5a", 48))}
	for _, try := range []struct {
		options simulate.Options
		reason  release.Reason
	}{{other, release.ReasonPolicyDenied}, {simulate.Options{Debug: true}, release.Reason(attest.CheckDebug)}} {
		_, err := c.get(t, c.teeRig.machine(t, c.teeKind, try.options), c.key)
		if try.options.Debug && c.kind == "azure" { // a debugged paravisor's word for its vTPM proves no machine
			c.unproven(t, err, try.reason)
			continue
		}
		d := c.refusal(t, err, try.reason)
		if try.reason != release.ReasonPolicyDenied {
			continue
		}
		want := "input.claims." + c.measured
		if d.Explanation == nil || len(d.Explanation.Failures) != 1 || !strings.Contains(d.Explanation.Failures[0].Text, want) {
			t.Errorf("explained as %+v, want %s", d.Explanation, want)
		}
	}
}

// refusal wants that err is one for that reason, recorded in full.
func (c *teeRun) refusal(t *testing.T, err error, reason release.Reason) decision {
	t.Helper()
	var refused *agent.Refused
	if !errors.As(err, &refused) || refused.Reason != string(reason) {
		t.Fatalf("%v: want %s", err, reason)
	}
	d := c.decision(t, refused.Correlation)
	rec := d.Record
	if rec == nil || rec.Decision != receipt.Deny || rec.Reason != string(reason) || rec.Caller.ID != c.machine || !rec.Simulation ||
		rec.Evidence.Type != string(c.typ) || rec.Evidence.Anchors == (receipt.Digest{}) {
		t.Fatalf("%s: recorded as %+v", reason, rec)
	}
	return d
}

// unproven wants that err is a refusal for that reason, which the operator finds though
// it has no record of its own.
func (c *teeRun) unproven(t *testing.T, err error, reason release.Reason) {
	t.Helper()
	var refused *agent.Refused
	if !errors.As(err, &refused) || refused.Reason != string(reason) {
		t.Fatalf("%v: want %s", err, reason)
	}
	if d := c.decision(t, refused.Correlation); d.Record != nil || d.Stranger == nil || d.Stranger.Check != reason {
		t.Errorf("%s: %+v", reason, d)
	}
}

// machineDenied: an operator's word stops the very next release, and ends it.
func (c *teeRun) machineDenied(t *testing.T, h agent.Hardware) {
	t.Helper()
	c.operator(t, "machine", "deny", c.machine)
	_, err := c.get(t, h, c.key)
	c.refusal(t, err, release.ReasonMachineDenied)
	c.operator(t, "machine", "approve", c.machine)
	c.released(t, h)
}

// listed is CC-23: hardware on the list gets nothing from the reload on.
func (r *teeRig) listed(t *testing.T, kinds []teeKind, claims map[string]attest.Claims, keys map[string]string, path string) {
	t.Helper()
	for _, k := range kinds {
		r.reload(t, path, "# none of "+k.kind+"\n")
		c := &teeRun{r, k, keys[k.kind], ""}
		h := r.machine(t, k, simulate.Options{})
		c.released(t, h)
		id := c.machine
		if k.id != "" {
			id = claim(t, claims[k.kind], k.id)
		}
		r.reload(t, path, id+" # seen at an auction\n")
		_, err := r.get(t, h, c.key)
		c.refusal(t, err, release.Reason(attest.CheckPlatformDenied))
	}
}

// reload writes the list and waits until the broker has recorded that it read it.
func (r *teeRig) reload(t *testing.T, path, list string) {
	t.Helper()
	count := func() int {
		return strings.Count(r.operator(t, "log", "tail", "--lines", "1000", "--json"), `"config/reload"`)
	}
	before := count()
	write(t, path, []byte(list))
	if err := r.child.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for range 1000 { // each try is a request to the broker
		if count() > before {
			return
		}
	}
	t.Fatal("the broker does not reload")
}

// audited: the whole log verifies offline, and says in every record what it is.
func (r *teeRig) audited(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	r.operator(t, "log", "export", "--out", dir)
	entries := filepath.Join(dir, "entries.jsonl")
	code, stdout, stderr := call(t, "log", "verify", "--log", entries, "--checkpoint", filepath.Join(dir, "checkpoint"), "--trust", filepath.Join(r.dir, agentFile))
	if code != codeDone {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	text, err := os.ReadFile(entries)
	if err != nil {
		t.Fatal(err)
	}
	if lines, stamped := strings.Count(string(text), "\n"), strings.Count(string(text), `"simulation":true`); lines == 0 || lines != stamped {
		t.Errorf("%d of %d records say that this is a simulation", stamped, lines)
	}
}
